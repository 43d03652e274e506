"""`eenet-gateway status`, `study`, `retry`, `release` and `drop`."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Annotated, Any

import typer

from eenet_gateway.commands.options import ConfigOption, JsonOption, StudyArgument, store_of
from eenet_runtime.errors import GatewayError

_CONTRASTS = ("t1", "t1ce", "t2", "flair")


def status(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Show how many studies are in which state, what waits for somebody, and the destinations."""
    from eenet_gateway.store.folders import Folders
    from eenet_gateway.store.report import report

    with store_of(config) as (settings, db):
        names = [destination.name for destination in settings.destinations]
        found = report(db, Folders(settings.data), names, time.time())
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found), indent=2))
        return
    typer.echo("  ".join(f"{state} {count}" for state, count in found.studies.items()))
    typer.echo(f"oldest waiting {found.oldest_s:.0f} s, {found.done_last_hour} done in the last hour, "
               f"{found.free_bytes / 1e9:.1f} GB free")  # fmt: skip
    for one in found.destinations:
        answered = one.words if one.answered_s is None else f"answered in {one.answered_s * 1000:.0f} ms"
        asked = "" if one.asked is None else f", {found.time - one.asked:.0f} s ago"
        typer.echo(f"{one.name}: {answered}{asked}; {one.pending} waiting, {one.refused} refused")
    for trouble in found.troubles:
        typer.echo(f"{trouble['study']} {trouble['state']}: {trouble['reason']}")


def study(study: StudyArgument, config: ConfigOption, as_json: JsonOption = False) -> None:
    """Show one study: its state, its deliveries, and what happened to it."""
    from eenet_gateway.store.report import study_report
    from eenet_gateway.store.studies import named_study

    with store_of(config) as (_, db):
        found = study_report(db, named_study(db, study))
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    reason = f": {found['reason']}" if found["reason"] else ""
    typer.echo(f"{found['study']} {found['state']}{reason}")
    typer.echo(f"{found['images']} images in {found['series']} series, {found['bytes'] / 1e6:.1f} MB")
    for one in found["deliveries"]:
        typer.echo(f"{one['kind']} to {one['destination']}: {one['state']} {one['last_status']}".rstrip())
    for event in found["events"]:
        typer.echo(f"{_stamp(event)} {event['what']} {event['detail']}".rstrip())


def retry(study: StudyArgument, config: ConfigOption) -> None:
    """Decide a study again that is held, failed or ignored: compute or deliver what was given up."""
    from eenet_gateway.store.operator import retry as ask

    with store_of(config) as (_, db):
        typer.echo(f"{study}: {ask(db, study, time.time())}")


def release(
    study: StudyArgument,
    config: ConfigOption,
    choose: Annotated[
        list[str] | None,
        typer.Option(
            "--choose", metavar="<contrast=series>", help="t1=5, flair=7: a series number or UID; repeatable."
        ),
    ] = None,
) -> None:
    """Let a study that is held go on, with series chosen by hand where the toolkit could not tell them."""
    from eenet_gateway.store.operator import release as ask

    choices = dict(_choice(text) for text in choose or [])
    with store_of(config) as (_, db):
        typer.echo(f"{study}: {ask(db, study, choices, time.time())}")


def drop(study: StudyArgument, config: ConfigOption) -> None:
    """Delete a study's images and results; sent again, it is a new one."""
    from eenet_gateway.store.folders import Folders
    from eenet_gateway.store.operator import drop as ask

    with store_of(config) as (settings, db):
        typer.echo(f"{study}: {ask(db, Folders(settings.data), study, time.time())}")


def _choice(text: str) -> tuple[str, str]:
    contrast, equals, series = text.partition("=")
    if contrast not in _CONTRASTS or not equals or not series:
        raise GatewayError(f"--choose {text}: expected one of {', '.join(_CONTRASTS)}, then = and a series")
    return contrast, series


def _stamp(event: dict[str, Any]) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(event["time"]))
