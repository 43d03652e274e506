"""Everything that can be wrong before the first study comes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from eenet_gateway.config.settings import Destination, Model, Settings
from eenet_gateway.receive.peers import server_context
from eenet_gateway.send.associating import client_context, echo
from eenet_gateway.store.folders import Folders
from eenet_gateway.work.job import load_model
from eenet_runtime.dicom.role_rules import load_rules
from eenet_runtime.errors import EENetError
from eenet_runtime.files.atomic import prove_writable

_ECHO_S: Final = 10.0
_GIGABYTE: Final = 1e9


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    good: bool
    words: str


def check(settings: Settings) -> Iterator[Finding]:
    """Look at disk, port, certificates, model and destinations, one after the other."""
    yield _disk(settings)
    yield _port(settings)
    yield from _certificates(settings)
    yield _model(settings.model)
    for destination in settings.destinations:
        yield _destination(destination)


def _disk(settings: Settings) -> Finding:
    folders = Folders(settings.data)
    try:
        folders.make()
        prove_writable(folders.data)
        free = folders.free_bytes()
    except (OSError, EENetError) as error:
        return Finding(False, f"data: {settings.data} cannot be used ({error})")
    enough = free > settings.disk.least_free_mb << 20
    words = f"data: {settings.data}, {free / _GIGABYTE:.1f} GB free"
    return Finding(enough, words if enough else f"{words}, expected more than {settings.disk.least_free_mb} MiB")


def _port(settings: Settings) -> Finding:
    where = (settings.receiver.host, settings.receiver.port)
    words = f"receiver: {where[0]}:{where[1]}"
    try:
        family = socket.getaddrinfo(*where)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        return Finding(False, f"{words} cannot be listened on ({error.strerror or error})")
    return Finding(True, f"{words} as {settings.receiver.ae_title}")


def _certificates(settings: Settings) -> Iterator[Finding]:
    if settings.receiver.tls is not None:
        try:
            server_context(settings.receiver.tls)
            yield Finding(True, "receiver: certificate and key")
        except EENetError as error:
            yield Finding(False, f"receiver: {error}")
    for destination in settings.destinations:
        if destination.tls is not None:
            try:
                client_context(destination.tls)
                yield Finding(True, f"{destination.name}: certificates")
            except EENetError as error:
                yield Finding(False, f"{destination.name}: {error}")


def _model(model: Model) -> Finding:
    """The model as the worker loads it, and its golden case."""
    try:
        load_rules(model.site_rules)
        with load_model(model, selftest=True) as segmenter:
            verdict = segmenter.provenance.self_test
            return Finding(True, f"model: {segmenter.provenance.bundle_name}, {segmenter.why}; self-test: {verdict}")
    except EENetError as error:
        return Finding(False, f"model: {error}")


def _destination(destination: Destination) -> Finding:
    answer = echo(destination, _ECHO_S)
    where = f"{destination.name}: {destination.ae_title} at {destination.host}:{destination.port}"
    if answer.seconds is None:
        return Finding(False, f"{where}: {answer.words}")
    return Finding(True, f"{where} answered in {answer.seconds * 1000:.0f} ms")
