"""Who may send: an AE title is a name, not a proof, so it counts together with the address that it comes from."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Sequence
from pathlib import Path

from eenet_gateway.config.settings import Peer, ServerTls
from eenet_runtime.errors import GatewayError


class Peers:
    """The list of those who may send."""

    def __init__(self, peers: Sequence[Peer], anyone: bool) -> None:
        """Take the list; with `anyone` all may."""
        self._peers, self._anyone = peers, anyone

    def welcome(self, address: str) -> bool:
        """Whether anybody at that address may send."""
        return self._anyone or any(_within(peer, address) for peer in self._peers)

    def known(self, ae_title: str, address: str) -> bool:
        """Whether that AE title may send from that address."""
        named = (peer for peer in self._peers if peer.ae_title == ae_title.strip())
        return self._anyone or any(_within(peer, address) for peer in named)


def server_context(tls: ServerTls) -> ssl.SSLContext:
    """TLS 1.2 or later for the port.

    Raises:
        GatewayError: a certificate or key cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_chain(context, tls.certificate, tls.key)
    if tls.client_authority is not None:
        load_authority(context, tls.client_authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def load_chain(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Load this gateway's certificate.

    Raises:
        GatewayError: it or its key cannot be used.
    """
    try:
        # Without a callback, an encrypted key would ask at the terminal.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError) as error:
        raise GatewayError(f"{certificate}, {key}: no certificate with its key ({error})") from error


def load_authority(context: ssl.SSLContext, authority: Path) -> None:
    """Load whose certificates count.

    Raises:
        GatewayError: the file cannot be used.
    """
    try:
        context.load_verify_locations(authority)
    except (OSError, ValueError) as error:
        raise GatewayError(f"{authority}: no certificate of an authority ({error})") from error


def _within(peer: Peer, address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return any((mapped or found) in network for network in peer.networks)
