"""The `dataset.json` of the Medical Segmentation Decathlon and of nnU-Net: channels and labels by name.

Positional channels without names are the documented cause of wrong masks in this field, so nothing is guessed: a
channel or label whose word is not known is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eenet_runtime.case_files import MODALITY_WORDS
from eenet_runtime.errors import DatasetError
from eenet_runtime.labels import MSD, LabelScheme, Modality


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
            named twice or not at all, or labels that cannot be told apart.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read as JSON ({error})") from error
    named = content.get("channel_names", content.get("modality")) if isinstance(content, dict) else None
    if not isinstance(named, dict):
        raise DatasetError(f'{path}: no "channel_names" (nnU-Net) or "modality" (Decathlon) found')
    return DatasetDescription(_channels(named, path), _scheme(content.get("labels"), path))


def _channels(named: Mapping[str, object], path: Path) -> tuple[Modality, ...]:
    channels = []
    for index in sorted(named, key=_as_number):
        word = str(named[index]).strip().lower().replace("-", "").replace("_", "")
        if word not in MODALITY_WORDS:
            raise DatasetError(
                f"{path}: channel {index} is {named[index]!r}, expected a word for T1, T1ce, T2 or FLAIR"
            )
        channels.append(MODALITY_WORDS[word])
    if sorted(channels) != sorted(Modality):
        found = ", ".join(modality.value for modality in channels)
        raise DatasetError(f"{path}: channels {found} found, expected each of T1, T1ce, T2 and FLAIR once")
    return tuple(channels)


def _as_number(text: str) -> int:
    return int(text) if text.isdigit() else -1


def _scheme(labels: object, path: Path) -> LabelScheme:
    """The values of the three classes, whichever way round the file maps them (the Decathlon: value to name)."""
    if not isinstance(labels, dict):
        return MSD
    values: dict[str, int] = {}
    for key, entry in labels.items():
        name, value = (str(entry), key) if str(key).isdigit() else (str(key), entry)
        kind = _class_of(name.lower())
        if kind is None:
            continue
        if kind in values or isinstance(value, list) or not str(value).isdigit():
            raise DatasetError(f"{path}: label {name!r} = {value!r} is not one value for one class")
        values[kind] = int(str(value))
    if sorted(values) != ["ed", "et", "ncr"] or len({0, *values.values()}) != 4 or max(values.values()) > 255:
        raise DatasetError(f"{path}: labels {labels} found, expected oedema, necrosis and enhancing tumour by name")
    return LabelScheme("dataset.json", ncr=values["ncr"], ed=values["ed"], et=values["et"])


def _class_of(name: str) -> str | None:
    if "edema" in name or name == "ed":
        return "ed"
    if "necro" in name or "non" in name or name in ("ncr", "net", "ncr/net"):
        return "ncr"
    return "et" if "enhanc" in name or name == "et" else None
