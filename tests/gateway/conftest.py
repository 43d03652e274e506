"""What all tests of the gateway share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from eenet_gateway.process.dicom_sockets import prepare_pynetdicom
from eenet_gateway.store.database import Database
from eenet_gateway.store.folders import Folders


@pytest.fixture(scope="session", autouse=True)
def _no_socket_stays_open() -> None:
    """pynetdicom as the gateway uses it: tests are peers, too, and a peer that was killed leaves them a socket."""
    prepare_pynetdicom()


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """A gateway's own folders, empty."""
    found = Folders(tmp_path / "data")
    found.make()
    return found


@pytest.fixture
def db(folders: Folders) -> Iterator[Database]:
    """Its database, open."""
    with Database(folders.database) as opened:
        yield opened
