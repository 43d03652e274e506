"""Associations to destinations, and C-ECHO."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from eenet_gateway.config.settings import ClientTls, Destination
from eenet_gateway.process.dicom_sockets import prepare_pynetdicom
from eenet_runtime.errors import GatewayError

_ECHO_SYNTAX: Final = "1.2.840.10008.1.2"


class NoAssociationError(Exception):
    """A destination takes no association now; in clean words why."""


class NothingAcceptedError(Exception):
    """A destination accepts nothing of what would be sent."""


def client_context(tls: ClientTls) -> ssl.SSLContext:
    """TLS 1.2 or later to a destination, whose certificate is checked.

    Raises:
        GatewayError: a certificate or key cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=str(tls.authority))
    except (OSError, ValueError) as error:
        raise GatewayError(f"{tls.authority}: no certificate of an authority ({error})") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.certificate is not None and tls.key is not None:
        try:
            # Without a callback, an encrypted key would ask at the terminal.
            context.load_cert_chain(tls.certificate, tls.key, password=lambda: "")
        except (OSError, ValueError) as error:
            raise GatewayError(f"{tls.certificate}, {tls.key}: no certificate with its key ({error})") from error
    return context


@contextmanager
def association_to(
    destination: Destination, offered: Iterable[tuple[str, str]], timeout_s: float
) -> Iterator[Association]:
    """An association that is released at the end, or aborted where something went wrong.

    Args:
        destination: whom to call.
        offered: SOP class and transfer syntax of what will be sent.
        timeout_s: for each step.

    Raises:
        NoAssociationError: there is nobody, or they refuse.
        NothingAcceptedError: they accept none of the classes.
        GatewayError: a certificate or key cannot be used.
    """
    prepare_pynetdicom()
    entity = ApplicationEntity(destination.calling_ae_title)
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = timeout_s
    for sop_class, syntax in sorted(set(offered)):
        entity.add_requested_context(sop_class, syntax)
    tls = destination.tls
    secured = None if tls is None else (client_context(tls), tls.server_name or destination.host)
    try:
        association = entity.associate(
            destination.host, destination.port, ae_title=destination.ae_title, tls_args=secured
        )
    except OSError as error:
        raise NoAssociationError(f"no association ({error.strerror or type(error).__name__})") from error
    if not association.is_established:
        if association.is_rejected:
            raise NoAssociationError("association rejected")
        if association.rejected_contexts:
            raise NothingAcceptedError("no presentation context accepted")
        raise NoAssociationError("no association")
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


@dataclass(frozen=True)
class Echo:
    """The answer to a C-ECHO; `words` says why there is none."""

    seconds: float | None
    words: str


def echo(destination: Destination, timeout_s: float) -> Echo:
    """Ask a destination whether it is there."""
    start = time.monotonic()
    try:
        with association_to(destination, [(str(Verification), _ECHO_SYNTAX)], timeout_s) as association:
            answer = association.send_c_echo()
            status = answer.Status if "Status" in answer else None
    except (NoAssociationError, NothingAcceptedError, GatewayError) as error:
        return Echo(None, str(error))
    if status != 0:
        return Echo(None, "no answer" if status is None else f"status {status:04X}")
    return Echo(time.monotonic() - start, "answered")
