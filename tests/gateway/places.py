"""Free ports, and peers as a hospital has them: sending by pynetdicom, which the gateway's own port is held against."""

from __future__ import annotations

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


def send(
    port: int,
    datasets: Iterable[Dataset],
    calling: str = "PACS",
    called: str = "EENET",
) -> list[int]:
    """Send objects on one association; the status of each, -1 for one without an answer."""
    found = list(datasets)
    entity = ApplicationEntity(calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
    offered = {(str(one.SOPClassUID), str(one.file_meta.TransferSyntaxUID)) for one in found}
    for sop_class, syntax in sorted(offered):
        entity.add_requested_context(sop_class, syntax)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    assert association.is_established
    try:
        answers = [association.send_c_store(one) for one in found]
        return [int(answer.Status) if "Status" in answer else -1 for answer in answers]
    finally:
        association.release()


def echo_seconds(port: int, calling: str = "PACS", called: str = "EENET") -> float:
    """How long a C-ECHO takes, association included; fails where it is not answered."""
    start = time.perf_counter()
    entity = ApplicationEntity(calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = 5
    entity.add_requested_context(Verification)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    assert association.is_established
    assert association.send_c_echo().Status == 0
    association.release()
    return time.perf_counter() - start
