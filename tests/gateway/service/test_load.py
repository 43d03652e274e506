"""Many images at once, and hostile peers among the good ones: nothing is lost, and the process stays small."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eenet_gateway.store.images import images_of
from tests.debian_parts import require
from tests.dicom_studies import FakeSeries, write_series
from tests.gateway.gateway_process import GatewayProcess, running
from tests.gateway.places import echo_seconds

ASSOCIATIONS = 4
IMAGES = 200
"""On each association."""
MOST_MS_AN_IMAGE = 15
MOST_MB = 150


@pytest.mark.alone
def test_800_images_on_4_associations_are_stored_for_good_by_a_process_that_stays_small(tmp_path: Path) -> None:
    storescu = require("storescu", "dcmtk")
    for number in range(ASSOCIATIONS):
        write_series(tmp_path / f"series{number}", FakeSeries(number + 1, shape=(IMAGES, 64, 64)))
    with running(GatewayProcess(tmp_path / "gateway", {"pacs": 9}, quiet=300, study_quiet=400)) as gateway:
        assert gateway.process is not None
        pid = gateway.process.pid
        seconds, start = _cpu_seconds(pid), time.perf_counter()
        senders = [
            subprocess.Popen(
                [storescu, "-aet", "PACS", "-aec", "EENET", "+sd", "127.0.0.1", str(gateway.port),
                 str(tmp_path / f"series{number}")],
                env={**os.environ, "TCP_NODELAY": "1"},
            )
            for number in range(ASSOCIATIONS)
        ]  # fmt: skip
        with _hostile_peers(gateway.port):
            assert echo_seconds(gateway.port) < 20
            assert [sender.wait(300) for sender in senders] == [0] * ASSOCIATIONS
        # Of the processor, not of the wall: a busy machine is no slow program.
        spent_ms = (_cpu_seconds(pid) - seconds) * 1000 / (ASSOCIATIONS * IMAGES)
        wall_ms = (time.perf_counter() - start) * 1000 / (ASSOCIATIONS * IMAGES)
        (row,) = gateway.studies()
        with gateway.store() as db:
            assert len(images_of(db, row.key)) == ASSOCIATIONS * IMAGES
        assert spent_ms < MOST_MS_AN_IMAGE, f"{spent_ms:.1f} ms of the processor, {wall_ms:.1f} ms an image"
        assert _resident_mb(pid) < MOST_MB


@contextmanager
def _hostile_peers(port: int) -> Iterator[None]:
    """Silent connections, a PDU of 4 GB that really comes, and HTTP, again and again."""
    ended = threading.Event()

    def greedy() -> None:
        while not ended.wait(0.2):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as peer:
                peer.sendall(struct.pack(">BBL", 1, 0, 0xFFFF_FFF0))
                for _ in range(100):
                    peer.sendall(bytes(1 << 16))
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as peer:
                peer.sendall(b"GET / HTTP/1.1\r\n\r\n")

    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
    thread = threading.Thread(target=greedy)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        for one in silent:
            one.close()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
