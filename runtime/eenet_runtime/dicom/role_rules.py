"""The table of rules, and what a site adds to it: TOML, data and never code."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, replace
from enum import IntEnum
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from eenet_runtime.dicom.instance import Instance
from eenet_runtime.errors import DatasetError
from eenet_runtime.volumes.labels import Modality

NOTHING: Final = "none"
"""What a site's rule calls a series that is none of the four."""


class Confidence(IntEnum):
    """How far a decision can be trusted."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Physics:
    """One row of `[[physics]]`; ranges are milliseconds, ends included."""

    role: Modality
    why: str
    strong: bool
    te: tuple[float, float] | None = None
    tr: tuple[float, float] | None = None
    ti: tuple[float, float] | None = None
    no_ti: bool = False
    sequence: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    dimension: str = ""

    def matches(self, instance: Instance) -> bool:
        """Whether all that the row asks for is there."""
        kinds = set(instance.scanning_sequence)
        return (
            _within(instance.echo_time, self.te)
            and _within(instance.repetition_time, self.tr)
            and _within(instance.inversion_time, self.ti)
            and not (self.no_ti and instance.inversion_time is not None)
            and (not self.sequence or bool(kinds & self.sequence))
            and not kinds & self.without
            and (not self.dimension or instance.acquisition_type == self.dimension)
        )


@dataclass(frozen=True)
class SiteRule:
    """A rule of a site: globs without case, all that are given must match; the first that matches decides."""

    role: Modality | None
    station: str = "*"
    protocol: str = "*"
    description: str = "*"

    def matches(self, instance: Instance) -> bool:
        """Whether it speaks of this series."""
        found = [(instance.station, self.station), (instance.protocol, self.protocol)]
        found.append((instance.series_description, self.description))
        return all(fnmatchcase(text.casefold(), glob.casefold()) for text, glob in found)


@dataclass(frozen=True)
class RoleRules:
    """All rules (roles.toml says what each part is for)."""

    minimum_confidence: Confidence
    least_slices: int
    least_cover_mm: float
    not_image_type: tuple[tuple[str, frozenset[str]], ...]
    not_text: tuple[tuple[str, re.Pattern[str]], ...]
    text: tuple[tuple[Modality, str, re.Pattern[str]], ...]
    agent_text: tuple[tuple[bool, re.Pattern[str]], ...]
    no_agent: frozenset[str]
    physics: tuple[Physics, ...]
    site: tuple[SiteRule, ...] = field(default=())


def load_rules(site_file: Path | None = None) -> RoleRules:
    """The toolkit's rules, with a site's before them.

    A site's file may hold `minimum_confidence` and any number of `[[series]]` tables with `role` (t1, t1ce, t2, flair,
    none) and at least one of `station`, `protocol` and `description`, in which `*` and `?` stand for other characters.

    Raises:
        DatasetError: the site's file cannot be read or says something else.
    """
    table = tomllib.loads((files("eenet_runtime.dicom") / "roles.toml").read_text(encoding="utf-8"))
    rules = RoleRules(
        minimum_confidence=Confidence[table["minimum_confidence"].upper()],
        least_slices=table["least_slices"],
        least_cover_mm=table["least_cover_mm"],
        not_image_type=tuple((row["why"], frozenset(row["words"])) for row in table["not_image_type"]),
        not_text=tuple((row["why"], re.compile(row["pattern"])) for row in table["not_text"]),
        text=tuple((Modality(row["role"]), row["name"], re.compile(row["pattern"])) for row in table["text"]),
        agent_text=tuple((row["given"], re.compile(row["pattern"])) for row in table["agent_text"]),
        no_agent=frozenset(table["no_agent"]),
        physics=tuple(_physics(row) for row in table["physics"]),
    )
    return rules if site_file is None else _with_site(rules, site_file)


def _physics(row: dict[str, Any]) -> Physics:
    ranges = {name: (float(row[name][0]), float(row[name][1])) for name in ("te", "tr", "ti") if name in row}
    kinds = {name: frozenset(row[name]) for name in ("sequence", "without") if name in row}
    return Physics(
        Modality(row["role"]),
        row["why"],
        row["strong"],
        no_ti=row.get("no_ti", False),
        dimension=row.get("dimension", ""),
        te=ranges.get("te"),
        tr=ranges.get("tr"),
        ti=ranges.get("ti"),
        sequence=kinds.get("sequence", frozenset()),
        without=kinds.get("without", frozenset()),
    )


def _with_site(rules: RoleRules, path: Path) -> RoleRules:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DatasetError(f"{path}: not TOML ({error})") from error
    if unknown := sorted(set(table) - {"minimum_confidence", "series"}):
        raise DatasetError(f"{path}: {unknown[0]!r} found, expected minimum_confidence and [[series]]")
    wanted = str(table.get("minimum_confidence", str(rules.minimum_confidence))).upper()
    if wanted not in Confidence.__members__:
        raise DatasetError(f"{path}: minimum_confidence {wanted.lower()!r} found, expected low, medium or high")
    rows = table.get("series", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DatasetError(f"{path}: series found that is no list of tables, expected [[series]]")
    site = tuple(_site_rule(row, path) for row in rows)
    return replace(rules, minimum_confidence=Confidence[wanted], site=site)


def _site_rule(row: dict[str, Any], path: Path) -> SiteRule:
    globs = {"station", "protocol", "description"} & set(row)
    roles = [*Modality, NOTHING]
    if not globs or set(row) - globs - {"role"} or row.get("role") not in roles:
        raise DatasetError(
            f"{path}: a [[series]] with {', '.join(sorted(row)) or 'nothing'} found, expected role "
            f"({', '.join(roles)}) and at least one of station, protocol and description"
        )
    if not all(isinstance(row[name], str) for name in globs):
        raise DatasetError(f"{path}: a [[series]] whose station, protocol or description is no text")
    role = None if row["role"] == NOTHING else Modality(row["role"])
    return SiteRule(role, **{name: row[name] for name in globs})


def _within(value: float | None, limits: tuple[float, float] | None) -> bool:
    return limits is None or (value is not None and limits[0] <= value <= limits[1])
