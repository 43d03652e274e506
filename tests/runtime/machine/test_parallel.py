"""The same work in threads."""

from __future__ import annotations

import threading

import pytest

from eenet_runtime.machine.parallel import map_in_threads


@pytest.mark.parametrize("threads", [None, 1, 2, 9])
def test_results_come_in_the_order_of_the_items(threads: int | None) -> None:
    assert map_in_threads(lambda item: item * item, range(5), threads) == [0, 1, 4, 9, 16]
    assert map_in_threads(str, [], threads) == []


def test_items_are_worked_on_at_the_same_time() -> None:
    # Each waits for the other: one after the other they would wait for ever.
    together = threading.Barrier(2, timeout=30)
    assert sorted(map_in_threads(lambda _: together.wait(), range(2), 2)) == [0, 1]


def test_the_error_of_the_first_item_is_raised_and_no_thread_is_left() -> None:
    def refuse(item: int) -> int:
        if item:
            raise ValueError(f"item {item}")
        return item

    before = threading.active_count()
    for threads in (1, 2):
        with pytest.raises(ValueError, match="item 1"):
            map_in_threads(refuse, [0, 1, 2, 3], threads)
    assert threading.active_count() == before
