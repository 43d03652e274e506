"""The DICOM port: C-ECHO and C-STORE of every storage class, for those who may."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final, cast

from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event
from pynetdicom.presentation import AllStoragePresentationContexts
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from eenet_gateway.config.settings import Peer, Receiver
from eenet_gateway.process.dicom_sockets import prepare_pynetdicom
from eenet_gateway.process.logs import LOGGER
from eenet_gateway.receive.guarded_server import GuardedHandler, GuardedServer, PortLimits, peer_address
from eenet_gateway.receive.peers import Peers, server_context
from eenet_gateway.receive.storing import Received, Status, Storing
from eenet_gateway.receive.syntaxes import put_preferred_first
from eenet_gateway.store.database import Database
from eenet_gateway.store.folders import Folders
from eenet_runtime.errors import GatewayError
from eenet_runtime.printable import printable

PDU_BYTES: Final = 1 << 17
_ASSOCIATE_S: Final = 10.0
_IDLE_S: Final = 60.0
_REJECTED: Final = 0x01
_REJECTED_FOR_NOW: Final = 0x02
_UNKNOWN_CALLING: Final = (_REJECTED, 0x01, 0x03)
_UNKNOWN_CALLED: Final = (_REJECTED, 0x01, 0x07)
_TOO_MANY: Final = (_REJECTED_FOR_NOW, 0x03, 0x02)
"""Reasons of a rejection (DICOM PS3.8, table 9-21)."""


class ReceivingPort:
    """Listens from `start` to `stop`, in threads of its own."""

    def __init__(
        self,
        settings: Receiver,
        peers: tuple[Peer, ...],
        db: Database,
        folders: Folders,
        least_free_bytes: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take everything; nothing listens yet.

        Raises:
            GatewayError: a certificate cannot be used.
        """
        self._settings = settings
        self._peers = Peers(peers, settings.anyone)
        self._storing = Storing(db, folders, least_free_bytes, clock)
        self._tls = None if settings.tls is None else server_context(settings.tls)
        self._server: GuardedServer | None = None
        self._entity: ApplicationEntity | None = None
        self._sending: dict[Association, set[str]] = {}
        self._sending_lock = threading.Lock()

    def start(self) -> None:
        """Listen.

        Raises:
            GatewayError: the port cannot be had.
        """
        prepare_pynetdicom()
        entity = ApplicationEntity(self._settings.ae_title)
        entity.maximum_pdu_size = PDU_BYTES
        entity.acse_timeout, entity.network_timeout, entity.dimse_timeout = _ASSOCIATE_S, _IDLE_S, _IDLE_S
        # Counted here, and without connections that have not said who they are.
        entity.maximum_associations = 1000
        entity.supported_contexts = AllStoragePresentationContexts
        entity.add_supported_context(Verification)
        where = (self._settings.host, self._settings.port)
        try:
            server = cast(
                GuardedServer,
                entity.make_server(
                    where,
                    evt_handlers=[
                        (evt.EVT_REQUESTED, self._on_requested),
                        (evt.EVT_C_ECHO, lambda event: Status.STORED),
                        (evt.EVT_C_STORE, self._on_store),
                    ],
                    server_class=GuardedServer,
                    request_handler=GuardedHandler,
                ),
            )
        except OSError as error:
            place = f"{self._settings.host}:{self._settings.port}"
            raise GatewayError(f"receiver: {place} cannot be listened on ({error.strerror or error})") from error
        limits = PortLimits(message_bytes=self._settings.instance_mb << 20, per_address=self._settings.per_address)
        server.guard(limits, self._tls, self._peers.welcome)
        self._entity, self._server = entity, server
        threading.Thread(target=server.serve_forever, args=(0.2,), name="port", daemon=True).start()

    def stop(self) -> None:
        """Close the port; associations are aborted, what they acknowledged stays."""
        server, self._server = self._server, None
        if server is None or self._entity is None:
            return
        self._entity._servers.append(server)
        server.shutdown()
        for association in server.active_associations:
            association.abort()

    @property
    def listening(self) -> bool:
        """Whether the port is open."""
        return self._server is not None

    def studies_being_received(self) -> set[str]:
        """Keys of studies of which an open association has sent something."""
        with self._sending_lock:
            self._sending = {one: keys for one, keys in self._sending.items() if one.is_alive()}
            return set().union(*self._sending.values())

    def associations(self) -> int:
        """How many stand."""
        server = self._server
        return 0 if server is None else sum(one.is_established for one in server.active_associations)

    def _on_requested(self, event: Event) -> None:
        association = event.assoc
        request: Any = association.requestor.primitive
        address = peer_address(association)
        calling, called = str(request.calling_ae_title), str(request.called_ae_title)
        if called.strip() != self._settings.ae_title:
            self._reject(association, _UNKNOWN_CALLED, "it calls another AE title")
        elif not self._peers.known(calling, address):
            self._reject(association, _UNKNOWN_CALLING, "its AE title and address are not among the peers")
        elif self.associations() >= self._settings.associations:
            self._reject(association, _TOO_MANY, "too many at a time")
        else:
            put_preferred_first(request.presentation_context_definition_list)

    def _reject(self, association: Association, reason: tuple[int, int, int], words: str) -> None:
        LOGGER.warning("an association from %s is rejected: %s", peer_address(association), words)
        association.acse.send_reject(*reason)
        association.kill()

    def _on_store(self, event: Event) -> int:
        request = cast(C_STORE, event.request)
        content = event.encoded_dataset()
        status, key = self._storing.store(
            Received(
                sop_class=str(request.AffectedSOPClassUID),
                sop_uid=str(request.AffectedSOPInstanceUID),
                syntax=str(event.context.transfer_syntax),
                calling_ae=printable(str(event.assoc.requestor.ae_title).strip()),
                content=content,
                dataset_at=len(content) - cast(Any, request.DataSet).getbuffer().nbytes,
            )
        )
        if key is not None:
            with self._sending_lock:
                self._sending.setdefault(event.assoc, set()).add(key)
        return status
