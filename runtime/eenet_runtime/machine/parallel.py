"""The same work on a few volumes, in threads: NumPy and decompression let go of the interpreter's lock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from eenet_runtime.machine.threads import usable_cpus

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def map_in_threads(
    function: Callable[[ItemT], ResultT], items: Iterable[ItemT], threads: int | None = None
) -> list[ResultT]:
    """Results of a function for some items, in their order.

    Args:
        function: called once for each item, in any thread.
        items: what to call it with.
        threads: how many at a time; by default as many as this process may use.

    Raises:
        Whatever the function raises for the first item, in their order, for which it raises; items that have not
        been started by then are left out.
    """
    todo = list(items)
    workers = min(len(todo), threads or usable_cpus())
    if workers <= 1:
        return [function(item) for item in todo]
    pool = ThreadPoolExecutor(workers)
    try:
        return list(pool.map(function, todo))
    finally:
        pool.shutdown(cancel_futures=True)
