"""From a TOML file to settings; every mistake in it is one plain line."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from eenet_gateway.config.settings import Settings
from eenet_runtime.errors import GatewayError

_MOST_BYTES: Final = 1 << 20
_ADAPTER: Final = TypeAdapter(Settings)


def read_settings(path: Path) -> Settings:
    """Read a gateway's configuration; relative paths in it are relative to its folder.

    Raises:
        GatewayError: it cannot be read, is no TOML, or has a value or a name that is not expected; all mistakes on one
            line.
    """
    mistakes, settings = _read(path)
    if settings is None:
        raise GatewayError("; ".join(mistakes))
    return settings


def mistakes_in(path: Path) -> list[str]:
    """Every mistake of a configuration, one line each; none if it can be used."""
    return _read(path)[0]


def _read(path: Path) -> tuple[list[str], Settings | None]:
    try:
        with path.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            return [f"{path}: more than {_MOST_BYTES} bytes, expected a configuration"], None
        table = tomllib.loads(content.decode())
    except OSError as error:
        return [f"{path}: cannot be read ({error.strerror or error})"], None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return [f"{path}: no TOML ({error})"], None
    try:
        settings = _ADAPTER.validate_python(table)
    except ValidationError as error:
        return [f"{path}: {_line(one)}" for one in _first_causes(error.errors())], None
    problems = [f"{path}: {problem}" for problem in settings.problems()]
    return (problems, None) if problems else ([], _with_absolute_paths(settings, path.absolute().parent))


def _first_causes(mistakes: Sequence[Any]) -> list[Any]:
    """Without those of a table or list that only follow from a mistake inside it."""
    places = [mistake["loc"] for mistake in mistakes]
    return [
        one
        for one in mistakes
        if not any(len(place) > len(one["loc"]) and place[: len(one["loc"])] == one["loc"] for place in places)
    ]


def _line(mistake: Any) -> str:
    place = ".".join(str(part) for part in mistake["loc"])
    message = mistake["msg"].removeprefix("Value error, ")
    if mistake["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{place}: no such setting"
    if mistake["type"] in ("missing", "missing_argument"):
        return f"{place}: missing"
    message = message[:1].lower() + message[1:]
    return f"{place}: {mistake['input']!r} found: {message}"


def _with_absolute_paths(settings: Any, folder: Path) -> Any:
    """The same dataclass with each path in it put below the configuration's folder."""
    if isinstance(settings, Path):
        return folder / settings
    if isinstance(settings, tuple):
        return tuple(_with_absolute_paths(one, folder) for one in settings)
    if not dataclasses.is_dataclass(settings) or isinstance(settings, type):
        return settings
    changed = {
        one.name: _with_absolute_paths(getattr(settings, one.name), folder) for one in dataclasses.fields(settings)
    }
    return dataclasses.replace(settings, **changed)
