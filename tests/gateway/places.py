"""Free ports, and peers as a hospital has them: sending by pynetdicom, which the gateway's own port is held against."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable, Iterable

from pydicom.dataset import Dataset
from pynetdicom.ae import ApplicationEntity
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until something holds; fail where it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)


def send(port: int, datasets: Iterable[Dataset], calling: str = "PACS", called: str = "EENET") -> list[int]:
    """Send objects as a PACS does; the status of each, -1 for one that has no answer after three associations.

    On a busy machine pynetdicom's client now and then takes an answer away from whoever waits for it.
    """
    waiting = list(datasets)
    found: list[int] = []
    for _ in range(3):
        answers = _send_once(port, waiting[len(found) :], calling, called)
        found += answers
        if len(found) == len(waiting):
            return found
    return found + [-1] * (len(waiting) - len(found))


def _send_once(port: int, datasets: list[Dataset], calling: str, called: str) -> list[int]:
    """The statuses, up to the first object without an answer."""
    entity = ApplicationEntity(calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
    offered = {(str(one.SOPClassUID), str(one.file_meta.TransferSyntaxUID)) for one in datasets}
    for sop_class, syntax in sorted(offered):
        entity.add_requested_context(sop_class, syntax)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    assert association.is_established
    found: list[int] = []
    try:
        for one in datasets:
            answer = association.send_c_store(one)
            if "Status" not in answer:
                break
            found.append(int(answer.Status))
    finally:
        association.release() if association.is_established else association.abort()
    return found


def echo_seconds(port: int, calling: str = "PACS", called: str = "EENET") -> float:
    """How long a C-ECHO takes, association included: the quickest of three, for the machine may be busy with others.

    A port that somebody keeps busy is slow each time; without an answer it is as good as infinite.
    """
    quickest = math.inf
    for _ in range(3):
        quickest = min(quickest, _echo_once(port, calling, called))
        if quickest < 1:
            break
    return quickest


def _echo_once(port: int, calling: str, called: str) -> float:
    start = time.perf_counter()
    entity = ApplicationEntity(calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = 5
    entity.add_requested_context(Verification)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    if not association.is_established:
        return math.inf
    answer = association.send_c_echo()
    taken = time.perf_counter() - start
    association.release() if association.is_established else association.abort()
    return taken if "Status" in answer and answer.Status == 0 else math.inf
