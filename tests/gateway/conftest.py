"""What all tests of the gateway share."""

from __future__ import annotations

import pytest

from eenet_gateway.process.dicom_sockets import prepare_pynetdicom


@pytest.fixture(scope="session", autouse=True)
def _no_socket_stays_open() -> None:
    """pynetdicom as the gateway uses it: tests are peers, too, and a peer that was killed leaves them a socket."""
    prepare_pynetdicom()
