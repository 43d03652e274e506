"""How this process uses pynetdicom: quietly, for every class of object, and without sockets left open."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from pynetdicom import _config
from pynetdicom.transport import AssociationSocket


def prepare_pynetdicom() -> None:
    """Set what pynetdicom has for the whole process only. Cheap, and the same however often it is called."""
    # Classes that nobody has heard of are storage, too.
    _config.UNRESTRICTED_STORAGE_SERVICE = True
    # Files go out as they are.
    _config.STORE_SEND_CHUNKED_DATASET = True
    # No handlers that put every message into words for a log.
    _config.LOG_HANDLER_LEVEL = "none"
    setattr(AssociationSocket, "_shutdown_socket", _shut_and_close)  # noqa: B010


def _shut_and_close(self: Any) -> None:
    """As pynetdicom does it, but where the peer has left before, too: there it would leave the socket open."""
    connection = self.socket
    if connection is None:
        return
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        connection.close()
