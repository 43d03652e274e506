"""Work on several items at once, each stage in a thread of its own, in order and with bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_WAKE_UP_S: Final = 0.1


class _Handoff(Generic[T]):
    """From one thread to the next, with no shelf in between: `give` returns when the other side takes."""

    def __init__(self) -> None:
        self._wanted = threading.Semaphore(0)
        self._items: SimpleQueue[T | None] = SimpleQueue()
        self._ended = False

    def give(self, item: T) -> None:
        self._wanted.acquire()
        self._items.put(item)

    def end(self) -> None:
        self._items.put(None)

    def __iter__(self) -> Iterator[T]:
        """The items up to the end; beginning again goes on where somebody stopped."""
        while not self._ended:
            self._wanted.release()
            item = self._next_item()
            if item is None:
                self._ended = True
                return
            yield item
            del item

    def _next_item(self) -> T | None:
        # Not for ever at once: the system may hand a signal to any thread, and Python runs its handler in the main
        # thread, which may be this one, only when that wakes up.
        while True:
            try:
                return self._items.get(timeout=_WAKE_UP_S)
            except Empty:
                continue


class _Halt:
    """Tells all threads to let their items pass, and keeps the first reason."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._event = threading.Event()

    def because_of(self, error: BaseException | None) -> None:
        if not self:
            self.error = error
        self._event.set()

    def __bool__(self) -> bool:
        return self._event.is_set()


def overlapped(source: Iterable[T], stages: Sequence[Callable[[T], None]]) -> Generator[T]:
    """Send every item through every stage, each stage in its own thread, and yield the items in order.

    One item is in each stage at most, and none waits between two of them: a stage that is done with its item keeps it
    until the next one is free. With three stages three items are in memory, and the one that was just yielded.

    Args:
        source: the items; read in the first stage's thread, one at a time, when that stage is free.
        stages: what to do with an item. They change it in place; an item's own errors belong into the item.

    Raises:
        Whatever the source or a stage raises. Items in hand are then dropped; all threads have ended.
    """
    handoffs: list[_Handoff[T]] = [_Handoff() for _ in stages]
    halt = _Halt()
    threads = []
    for index, stage in enumerate(stages):
        items = source if index == 0 else handoffs[index - 1]
        work = (items, stage, handoffs[index], halt)
        threads.append(threading.Thread(target=_run_stage, args=work, name=f"eenet-stage-{index + 1}", daemon=True))
    for thread in threads:
        thread.start()
    last = handoffs[-1]
    try:
        yield from last
    finally:
        # Whoever reads may leave before the last item; every thread still goes on until it has passed the end on.
        halt.because_of(None)
        for _ in last:
            pass
        for thread in threads:
            thread.join()
    if halt.error is not None:
        raise halt.error


def _run_stage(items: Iterable[T], stage: Callable[[T], None], output: _Handoff[T], halt: _Halt) -> None:
    try:
        for item in items:
            if halt:
                break
            stage(item)
            output.give(item)
            del item  # while this stage waits for the next one it must not hold on to the last
    except BaseException as error:
        halt.because_of(error)
    if isinstance(items, _Handoff):
        for _ in items:
            pass
    output.end()
