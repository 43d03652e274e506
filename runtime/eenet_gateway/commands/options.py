"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from eenet_gateway.config.settings import Settings
    from eenet_gateway.store.database import Database

ConfigOption = Annotated[Path, typer.Option("--config", metavar="<file>", help="The gateway's configuration (TOML).")]
StudyArgument = Annotated[
    str,
    typer.Argument(metavar="STUDY", help="Study Instance UID, or the key (or its begin) that logs and status show."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def store_of(config: Path) -> Iterator[tuple[Settings, Database]]:
    """The settings, and the database that a gateway made; it may be running or not."""
    from eenet_gateway.config.reading import read_settings
    from eenet_gateway.store.database import Database
    from eenet_gateway.store.folders import Folders

    settings = read_settings(config)
    with Database(Folders(settings.data).database, create=False) as db:
        yield settings, db
