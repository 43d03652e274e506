"""The `dataset.json` of the Medical Segmentation Decathlon and of nnU-Net: channels and labels by name.

Positional channels without names are the documented cause of wrong masks in this field, so nothing is guessed: a
channel or label whose word is not known is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eenet_runtime.cases.case_files import MODALITY_WORDS
from eenet_runtime.errors import CaseError, DatasetError
from eenet_runtime.files.input_file import ReadLimits, open_input
from eenet_runtime.volumes.labels import MSD, LabelScheme, Modality

_LIMITS: Final = ReadLimits(file_bytes=1 << 24)
"""nnU-Net's lists of training cases make a dataset.json grow, to a megabyte for ten thousand."""

_SHOWN: Final = 200
"""Characters of a foreign file that a message repeats."""

_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_WORDS: Final = {"ncr": "necrosis", "ed": "oedema", "et": "enhancing tumour"}


@dataclass(frozen=True)
class DatasetDescription:
    """What a dataset.json says.

    Attributes:
        channels: the modality of each channel, in order.
        scheme: the label values, or the Decathlon's where the file names none.
    """

    channels: tuple[Modality, ...]
    scheme: LabelScheme


def read_dataset_json(path: Path) -> DatasetDescription:
    """Read channels and labels.

    Raises:
        DatasetError: not JSON, no channel names, a channel that is not one of the four modalities, a modality that is
            named twice or not at all, channels that are not numbered from 0 on, or labels that cannot be told apart.
    """
    try:
        with open_input(path, _LIMITS) as file:
            text = file.read(file.size).decode("utf-8-sig")
        return _describe(json.loads(text), path)
    except CaseError as error:
        raise DatasetError(str(error)) from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, a number or a nesting without end
        raise DatasetError(f"{path}: cannot be read as JSON ({error})") from error


def _describe(content: object, path: Path) -> DatasetDescription:
    described = content if isinstance(content, dict) else {}
    named = described.get("channel_names", described.get("modality"))
    if not isinstance(named, dict):
        raise DatasetError(f'{path}: no "channel_names" (nnU-Net) or "modality" (Decathlon) found')
    return DatasetDescription(_channels(named, path), _scheme(described.get("labels"), path))


def _channels(named: Mapping[str, object], path: Path) -> tuple[Modality, ...]:
    channels = []
    if sorted(named) != [str(index) for index in range(len(named))]:
        raise DatasetError(
            f"{path}: channels {_shown(', '.join(named))} found, expected numbers from 0 on without a gap"
        )
    for index in sorted(named):
        word = str(named[index]).strip().lower().replace("-", "").replace("_", "")
        if word not in MODALITY_WORDS:
            raise DatasetError(
                f"{path}: channel {index} is {_shown(repr(named[index]))}, expected a word for T1, T1ce, T2 or FLAIR"
            )
        channels.append(MODALITY_WORDS[word])
    if sorted(channels) != sorted(Modality):
        found = ", ".join(modality.value for modality in channels)
        raise DatasetError(f"{path}: channels {found} found, expected each of T1, T1ce, T2 and FLAIR once")
    return tuple(channels)


def _scheme(labels: object, path: Path) -> LabelScheme:
    """The values of the three classes, whichever way round the file maps them (the Decathlon: value to name)."""
    if not isinstance(labels, dict):
        return MSD
    values: dict[str, int] = {}
    for name, found in _classes_of_regions(labels) or _classes_by_name(labels):
        if name in values or len(found) != 1:
            raise DatasetError(f"{path}: labels {_shown(repr(labels))} found, expected one value for {_WORDS[name]}")
        (values[name],) = found
    if sorted(values) != sorted(_WORDS) or len({0, *values.values()}) != 4 or max(values.values()) > 255:
        raise DatasetError(
            f"{path}: labels {_shown(repr(labels))} found, expected oedema, necrosis and enhancing tumour by name"
        )
    return LabelScheme("dataset.json", ncr=values["ncr"], ed=values["ed"], et=values["et"])


def _classes_by_name(labels: Mapping[str, object]) -> list[tuple[str, set[int]]]:
    """Classes that have a label each; labels that name none of the three are left out."""
    classes = []
    for key, entry in labels.items():
        name, value = (str(entry), key) if _NUMBER.fullmatch(str(key)) else (str(key), entry)
        kind = _class_of(name.lower())
        if kind is not None:
            classes.append((kind, _values(value)))
    return classes


def _classes_of_regions(labels: Mapping[str, object]) -> list[tuple[str, set[int]]]:
    """Classes out of nested regions, as nnU-Net's own BraTS conversion writes them; none if there are no regions.

    Whole tumour holds tumour core holds enhancing tumour, so what each adds to the next is one class.
    """
    regions = {str(name).lower(): _values(value) for name, value in labels.items()}
    whole, core, enhancing = (regions.get(name, set()) for name in ("whole tumor", "tumor core", "enhancing tumor"))
    if not enhancing < core < whole:
        return []
    return [("et", enhancing), ("ncr", core - enhancing), ("ed", whole - core)]


def _values(value: object) -> set[int]:
    """The label values of an entry, one or a list; empty where an entry is no whole number."""
    entries = value if isinstance(value, list) else [value]
    return {int(str(entry)) for entry in entries} if all(_NUMBER.fullmatch(str(entry)) for entry in entries) else set()


def _class_of(name: str) -> str | None:
    if "edema" in name or name == "ed":
        return "ed"
    if "necro" in name or "non" in name or name in ("ncr", "net", "ncr/net"):
        return "ncr"
    return "et" if "enhanc" in name or name == "et" else None


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
