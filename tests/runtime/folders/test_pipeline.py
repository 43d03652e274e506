"""Stages in threads: every item through every stage, in order, three at a time, and no thread left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eenet_runtime.folders.pipeline import overlapped


@dataclass
class Item:
    number: int
    done: list[str] = field(default_factory=list)


def stage(name: str, seconds: float = 0.0) -> Callable[[Item], None]:
    def work(item: Item) -> None:
        time.sleep(seconds)
        item.done.append(name)

    return work


def threads_of_stages() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("eenet-stage")]


@given(count=st.integers(0, 12), stages=st.integers(1, 4))
def test_every_item_goes_through_every_stage_in_order(count: int, stages: int) -> None:
    names = [str(index) for index in range(stages)]
    items = list(overlapped(map(Item, range(count)), [stage(name) for name in names]))
    assert [item.number for item in items] == list(range(count))
    assert all(item.done == names for item in items)
    assert threads_of_stages() == []


@pytest.mark.alone
def test_stages_run_side_by_side() -> None:
    started = time.monotonic()
    stages = [stage("read", 0.02), stage("compute", 0.05), stage("write", 0.02)]
    assert len(list(overlapped(map(Item, range(10)), stages))) == 10
    # One after the other they would sleep for 0.9 s; side by side the slowest stage alone counts, 0.54 s.
    assert time.monotonic() - started < 0.8


def test_no_more_items_are_in_hand_than_there_are_stages() -> None:
    alive = most = 0
    lock = threading.Lock()

    def come(item: Item) -> None:
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)

    def go(item: Item) -> None:
        nonlocal alive
        with lock:
            alive -= 1

    def slow(item: Item) -> None:
        time.sleep(0.01)

    assert len(list(overlapped(map(Item, range(12)), [come, slow, go]))) == 12
    assert most <= 3


def test_the_source_is_read_no_further_than_needed() -> None:
    given_out = 0

    def source() -> Iterator[Item]:
        nonlocal given_out
        for number in range(100):
            given_out += 1
            yield Item(number)

    run = overlapped(source(), [stage("a"), stage("b"), stage("c")])
    next(run)
    time.sleep(0.05)
    assert given_out <= 5
    run.close()
    assert given_out <= 5
    assert threads_of_stages() == []


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_an_exception_in_a_stage_ends_the_run_and_reaches_the_caller(broken: int) -> None:
    def fail(item: Item) -> None:
        if item.number == 3:
            raise RuntimeError("out of order")

    stages = [stage("a"), stage("b"), stage("c")]
    stages[broken] = fail
    got: list[int] = []
    with pytest.raises(RuntimeError, match="out of order"):
        got.extend(item.number for item in overlapped(map(Item, range(50)), stages))
    assert got == list(range(len(got)))
    assert len(got) <= 3
    assert threads_of_stages() == []


def test_an_exception_in_the_source_reaches_the_caller_after_the_items_before_it() -> None:
    def source() -> Iterator[Item]:
        yield Item(0)
        raise OSError("the drive is gone")

    with pytest.raises(OSError, match="the drive is gone"):
        list(overlapped(source(), [stage("a"), stage("b")]))
    assert threads_of_stages() == []


def test_a_caller_that_leaves_early_waits_for_what_is_in_hand_and_no_longer() -> None:
    numbers: list[int] = []
    run = overlapped(map(Item, range(1000)), [lambda item: numbers.append(item.number), stage("b", 0.01)])
    next(run)
    run.close()
    assert threads_of_stages() == []
    assert numbers == list(range(len(numbers)))
    assert len(numbers) <= 4
