"""A port that strangers cannot block or fill: pynetdicom's server with its two holes closed.

pynetdicom shakes hands for TLS in the thread that accepts connections, so that one silent peer keeps everybody out, and
it believes the length that a PDU announces before it knows who sends it. Here every connection shakes hands in a thread
of its own and within seconds; a PDU is read only if its length is possible, and within a time; connections are counted
by address, silent ones, too.
"""

from __future__ import annotations

import errno
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from select import select
from typing import Any, Final, cast

from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

_HEADER_BYTES: Final = 6
"""Of a PDU: its type and its length."""
_PIECE_BYTES: Final = 1 << 16


@dataclass(frozen=True)
class PortLimits:
    """What a peer may cost.

    Attributes:
        handshake_s: for TLS.
        pdu_s: for one PDU, from its first byte to its last.
        associate_bytes: longest PDU before an association stands.
        data_bytes: longest PDU afterwards.
        message_bytes: largest object.
        waiting: most messages of one association that wait; DICOM has one at a time.
        connections: most at a time, and `per_address` from one address.
    """

    handshake_s: float = 5.0
    pdu_s: float = 30.0
    associate_bytes: int = 1 << 20
    data_bytes: int = (1 << 17) + _PIECE_BYTES
    message_bytes: int = 256 << 20
    waiting: int = 8
    connections: int = 200
    per_address: int = 10


class GuardedServer(ThreadedAssociationServer):
    """The server; `guard` must be called before it serves."""

    daemon_threads = True
    limits = PortLimits()
    tls: ssl.SSLContext | None = None

    def guard(self, limits: PortLimits, tls: ssl.SSLContext | None, welcome: Callable[[str], bool]) -> None:
        """Say what a peer may cost, and which addresses may connect at all."""
        self.limits, self.tls, self._welcome = limits, tls, welcome
        self._shaking: Counter[str] = Counter()
        self._shaking_lock = threading.Lock()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether a connection may stay; runs in the thread that accepts, so it must not wait."""
        address = str(client_address[0])
        if not self._welcome(address):
            return False
        held = Counter(peer_address(association) for association in self.active_associations)
        with self._shaking_lock:
            held.update(self._shaking)
            if held[address] >= self.limits.per_address or held.total() >= self.limits.connections:
                return False
            self._shaking[address] += 1
        return True

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection, in a thread of its own."""
        try:
            # A socket that is accepted waits for ever by itself.
            request.settimeout(self.limits.pdu_s)
            if self.tls is not None:
                request = _shake_hands(request, self.tls, self.limits.handshake_s)
            self.finish_request(request, client_address)
        except Exception:
            # A stranger's bytes, or a peer that left: nothing to tell anybody.
            self.shutdown_request(request)
        finally:
            with self._shaking_lock:
                self._shaking[str(client_address[0])] -= 1
                self._shaking += Counter()


def peer_address(association: Association) -> str:
    """Where an association comes from."""
    known = association.requestor.address_info
    return "" if known is None else known.address


class GuardedHandler(RequestHandler):
    """Gives each association a socket that reads within limits."""

    def _create_association(self) -> Association:
        association = super()._create_association()
        connection = cast(AssociationSocket, association.dul.socket)
        setattr(connection, "recv", _BoundedReader(association, connection, cast(GuardedServer, self.server).limits))  # noqa: B010
        return association


class _BoundedReader:
    """Stands for `AssociationSocket.recv`: what is not possible ends the connection before it is read."""

    def __init__(self, association: Association, connection: AssociationSocket, limits: PortLimits) -> None:
        self._association, self._connection, self._limits = association, connection, limits
        self._deadline = 0.0

    def __call__(self, count: int) -> bytearray:
        if count == _HEADER_BYTES:
            self._check_message()
            self._deadline = time.monotonic() + self._limits.pdu_s
        elif count > self._longest():
            raise OSError(errno.EMSGSIZE, "a PDU longer than any that was agreed on")
        connection = self._connection.socket
        if connection is None:
            raise OSError(errno.ENOTCONN, "closed")
        received = bytearray()
        while len(received) < count:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
            piece = connection.recv(min(count - len(received), _PIECE_BYTES))
            if not piece:
                break
            received += piece
        connection.settimeout(self._limits.pdu_s)
        return received

    def _longest(self) -> int:
        return self._limits.data_bytes if self._association.is_established else self._limits.associate_bytes

    def _check_message(self) -> None:
        """End the association of a message that grows without end, or of messages that do not wait for answers."""
        dimse = self._association.dimse
        message = dimse.message
        if message is not None:
            data = message.data_set
            sizes = (0 if data is None else cast(Any, data).tell(), message.encoded_command_set.tell())
            if sizes[0] > self._limits.message_bytes or sizes[1] > self._limits.associate_bytes:
                raise OSError(errno.EMSGSIZE, "an object larger than allowed")
        if dimse.msg_queue.qsize() > self._limits.waiting:
            raise OSError(errno.EMSGSIZE, "messages that do not wait for answers")


def _shake_hands(plain: socket.socket, tls: ssl.SSLContext, seconds: float) -> ssl.SSLSocket:
    """TLS from its first byte to its last within a time, however slowly a peer sends.

    Raises:
        OSError: it did not work; the connection is closed.
    """
    deadline = time.monotonic() + seconds
    before = plain.gettimeout()
    secured = tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
    try:
        secured.setblocking(False)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            try:
                secured.do_handshake()
                break
            except ssl.SSLWantReadError:
                select([secured], [], [], left)
            except ssl.SSLWantWriteError:
                select([], [secured], [], left)
        secured.settimeout(before)
    except BaseException:
        secured.close()
        raise
    return secured
