"""What a study consists of, by its headers. Runs in a child process: headers are strangers' bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eenet_runtime.errors import DatasetError

if TYPE_CHECKING:
    from eenet_runtime.dicom.studies import FoundStudies


@dataclass(frozen=True)
class LookRequest:
    """A study's images in a folder, and what somebody chose by hand: contrast -> series."""

    folder: Path
    site_rules: Path | None
    choices: Mapping[str, str]


@dataclass(frozen=True)
class Look:
    """What was seen.

    Attributes:
        roles: contrast -> Series Instance UID, where all four were found; else empty.
        reason: why not all four were found; "" if they were.
        ours: whether anything in it looks like one of the four.
    """

    roles: Mapping[str, str]
    reason: str
    ours: bool = True

    @property
    def complete(self) -> bool:
        """Whether all four were found."""
        return not self.reason


def look(request: LookRequest) -> Look:
    """Look at the one study in a folder.

    Raises:
        DatasetError: the site's rules are unusable.
    """
    # The process that receives imports this module, too, and shall stay small.
    from eenet_runtime.dicom.studies import Answer, find_studies
    from eenet_runtime.volumes.labels import Modality

    found = find_studies(request.folder, request.site_rules, threads=1)
    if len(found.studies) != 1:
        return Look({}, f"{len(found.studies)} studies among its images, expected one")
    study = found.studies[0]
    if study.problem:
        return Look({}, study.problem)
    try:
        answers = study.settled({Modality(name): series for name, series in request.choices.items()}).answers
    except DatasetError as error:
        return Look({}, str(error))
    missing = [f"{one.role}: {one.answer} ({one.why})" for one in answers if one.answer is not Answer.FOUND]
    if missing:
        return Look({}, "; ".join(missing + _unreadable(found)), any(one.candidates for one in answers))
    return Look({str(one.role): one.chosen.series.uid for one in answers if one.chosen is not None}, "")


def _unreadable(found: FoundStudies) -> list[str]:
    return [f"{count} images cannot be read: {why}" for why, count in sorted(found.unreadable.items())[:3]]
