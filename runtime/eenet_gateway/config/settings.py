"""Everything that a site decides, as frozen dataclasses. `reading.py` makes them of a TOML file."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field

_STRICT = ConfigDict(extra="forbid")

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Megabytes = Annotated[int, Field(ge=1)]


def _title(text: str) -> str:
    if not 1 <= len(text.strip()) <= 16 or not text.isascii() or not text.isprintable() or "\\" in text:
        raise ValueError("expected 1 to 16 printable ASCII characters without a backslash")
    return text.strip()


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError("expected an address or a network such as 10.1.0.0/16") from error
    return text


def _name(text: str) -> str:
    if not text or not all(letter.isalnum() or letter in "-_" for letter in text):
        raise ValueError("expected letters, digits, - and _")
    return text


AeTitle = Annotated[str, AfterValidator(_title)]
Network = Annotated[str, AfterValidator(_network)]
Name = Annotated[str, AfterValidator(_name)]
Kind = Literal["seg", "sr", "sc"]


@dataclass(frozen=True)
class ServerTls:
    """TLS of the receiver.

    Attributes:
        certificate, key: PEM files of this gateway.
        client_authority: PEM file; given, only peers with a certificate that it signed may connect.
    """

    __pydantic_config__ = _STRICT
    certificate: Path
    key: Path
    client_authority: Path | None = None


@dataclass(frozen=True)
class ClientTls:
    """TLS to a destination.

    Attributes:
        authority: PEM file that signed the destination's certificate.
        certificate, key: PEM files of this gateway, where the destination asks for them.
        server_name: the name in the destination's certificate; by default the host.
    """

    __pydantic_config__ = _STRICT
    authority: Path
    certificate: Path | None = None
    key: Path | None = None
    server_name: str | None = None


@dataclass(frozen=True)
class Receiver:
    """The DICOM port.

    Attributes:
        anyone: let every address and AE title in; without it `peers` must be given.
        associations: most associations at a time, and `per_address` from one address, silent connections included.
        instance_mb: largest object, in MiB.
    """

    __pydantic_config__ = _STRICT
    ae_title: AeTitle = "EENET"
    host: str = "127.0.0.1"
    port: Port = 11112
    anyone: bool = False
    associations: Annotated[int, Field(ge=1, le=200)] = 20
    per_address: Annotated[int, Field(ge=1, le=200)] = 10
    instance_mb: Annotated[int, Field(ge=1, le=2000)] = 256
    tls: ServerTls | None = None


@dataclass(frozen=True)
class Peer:
    """Who may send: an AE title, and the addresses or networks from which it may be used."""

    __pydantic_config__ = _STRICT
    ae_title: AeTitle
    addresses: Annotated[tuple[Network, ...], Field(min_length=1)]

    @cached_property
    def networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """The addresses, parsed."""
        return tuple(ipaddress.ip_network(text) for text in self.addresses)


@dataclass(frozen=True)
class Readiness:
    """When a study is taken as complete (docs/gateway.md).

    Attributes:
        series_quiet_s: no image of the four series for so long, none of the study being received: computed if all four
            contrasts are found.
        study_quiet_s: no image of the study for so long: computed or held.
        give_up_s: still images after so long: computed or held all the same.
    """

    __pydantic_config__ = _STRICT
    series_quiet_s: Seconds = 15.0
    study_quiet_s: Seconds = 120.0
    give_up_s: Seconds = 1800.0


@dataclass(frozen=True)
class Model:
    """What computes.

    Attributes:
        bundle: the model's folder.
        public_key: PEM file with the key that must have signed it.
        site_rules: TOML with a site's own rules for series (docs/dicom.md).
        stripped: heads come without skull.
    """

    __pydantic_config__ = _STRICT
    bundle: Path
    public_key: Path | None = None
    site_rules: Path | None = None
    backend: str = "auto"
    device: str = "auto"
    precision: str | None = None
    threads: Annotated[int, Field(ge=1)] | None = None
    stripped: bool = False


@dataclass(frozen=True)
class Worker:
    """Limits of a computation.

    Attributes:
        time_limit_s: for one study; then its process is killed.
        memory_mb: most address space of the process that computes, in MiB.
        attempts: tries of a study before it is failed.
        retry_s: pause after the first try that went wrong; it doubles.
        replace_after: studies that one process computes before a fresh one takes over.
        replace_above_mb: resident memory above which that happens earlier, in MiB.
    """

    __pydantic_config__ = _STRICT
    time_limit_s: Seconds = 1800.0
    memory_mb: Megabytes = 24_000
    attempts: Annotated[int, Field(ge=1)] = 3
    retry_s: Annotated[float, Field(ge=0)] = 30.0
    replace_after: Annotated[int, Field(ge=1)] = 50
    replace_above_mb: Megabytes = 8000


@dataclass(frozen=True)
class Destination:
    """Where results go by C-STORE.

    Attributes:
        name: what messages call it.
        ae_title: its own, and `calling_ae_title` by which this gateway calls.
        kinds: which results it gets.
    """

    __pydantic_config__ = _STRICT
    name: Name
    ae_title: AeTitle
    host: str
    port: Port
    calling_ae_title: AeTitle = "EENET"
    kinds: Annotated[tuple[Kind, ...], Field(min_length=1)] = ("seg", "sr", "sc")
    tls: ClientTls | None = None


@dataclass(frozen=True)
class Delivery:
    """How a delivery that did not work is tried again.

    Attributes:
        first_retry_s: pause after the first try; it doubles up to `longest_retry_s`, with some chance in it.
        give_up_h: hours from the first try on after which it is given up.
        timeout_s: for a connection, an association and an answer.
    """

    __pydantic_config__ = _STRICT
    first_retry_s: Seconds = 1.0
    longest_retry_s: Seconds = 900.0
    give_up_h: Annotated[float, Field(gt=0)] = 24.0
    timeout_s: Seconds = 30.0


@dataclass(frozen=True)
class Disk:
    """What is kept.

    Attributes:
        least_free_mb: below so much free space, in MiB, images are refused (A700) and what was delivered goes first.
        keep_h: hours for which images and results stay after they were delivered.
        remember_days: days for which the gateway knows what it has done, so that a study sent again is not computed
            again.
    """

    __pydantic_config__ = _STRICT
    least_free_mb: Annotated[int, Field(ge=0)] = 2048
    keep_h: Annotated[float, Field(ge=0)] = 72.0
    remember_days: Annotated[float, Field(ge=1)] = 180.0


@dataclass(frozen=True)
class Page:
    """The status page; without a password, so for loopback alone. Port 0 is no page."""

    __pydantic_config__ = _STRICT
    port: Annotated[int, Field(ge=0, le=65535)] = 8043


@dataclass(frozen=True)
class Settings:
    """One gateway."""

    __pydantic_config__ = _STRICT
    data: Path
    model: Model
    destinations: Annotated[tuple[Destination, ...], Field(min_length=1)]
    receiver: Receiver = field(default_factory=Receiver)
    peers: tuple[Peer, ...] = ()
    readiness: Readiness = field(default_factory=Readiness)
    worker: Worker = field(default_factory=Worker)
    delivery: Delivery = field(default_factory=Delivery)
    disk: Disk = field(default_factory=Disk)
    page: Page = field(default_factory=Page)
    log: Literal["text", "json"] = "text"

    def problems(self) -> list[str]:
        """What no single value shows: settings that contradict each other."""
        found = []
        names = [destination.name for destination in self.destinations]
        found += [f"destinations: {name} is there twice" for name in sorted(set(names)) if names.count(name) > 1]
        if not self.peers and not self.receiver.anyone:
            found.append("peers: nobody may send, expected a [[peers]] table or anyone = true in [receiver]")
        if self.peers and self.receiver.anyone:
            found.append("receiver.anyone: true, and yet there are [[peers]]: expected one of the two")
        quiet = self.readiness
        if not quiet.series_quiet_s <= quiet.study_quiet_s <= quiet.give_up_s:
            found.append("readiness: expected series_quiet_s <= study_quiet_s <= give_up_s")
        for destination in self.destinations:
            tls = destination.tls
            if tls is not None and (tls.certificate is None) != (tls.key is None):
                found.append(f"destinations.{destination.name}.tls: certificate and key go together")
        return found
