"""Channels and labels by name: understood in every spelling that data sets use, never guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eenet_runtime.cases.dataset_json import DatasetDescription, read_dataset_json
from eenet_runtime.errors import DatasetError
from eenet_runtime.volumes.labels import MSD, Modality

CHANNELS = {"0": "T1", "1": "T1ce", "2": "T2", "3": "Flair"}
DECATHLON_LABELS = {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"}


def read(tmp_path: Path, content: Any) -> DatasetDescription:
    path = tmp_path / "dataset.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_dataset_json(path)


def refusal(tmp_path: Path, content: Any) -> str:
    with pytest.raises(DatasetError) as caught:
        read(tmp_path, content)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "dataset.json"))
    assert "\n" not in message
    return message


def values(description: DatasetDescription) -> tuple[int, int, int]:
    """NCR, ED, ET as stored."""
    return description.scheme.ncr, description.scheme.ed, description.scheme.et


def test_the_decathlon_names_values(tmp_path: Path) -> None:
    content = {"modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}, "labels": DECATHLON_LABELS}
    description = read(tmp_path, content)
    assert description.channels == (Modality.FLAIR, Modality.T1, Modality.T1CE, Modality.T2)
    assert values(description) == (2, 1, 3)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"background": 0, "edema": 1, "necrosis": 2, "enhancing tumor": 3}, (2, 1, 3)),
        ({"background": 0, "NCR": 1, "ED": 2, "ET": 4}, (1, 2, 4)),
        ({"background": 0, "necrotic and non-enhancing tumor core": 1, "oedema": 2, "enhancing": 3}, (1, 2, 3)),
        ({"background": 0, "NET": "1", "peritumoral edema": "2", "ET": "3"}, (1, 2, 3)),
    ],
)
def test_nnunet_names_classes(tmp_path: Path, labels: dict[str, Any], expected: tuple[int, int, int]) -> None:
    assert values(read(tmp_path, {"channel_names": CHANNELS, "labels": labels})) == expected


def test_nnunet_names_nested_regions(tmp_path: Path) -> None:
    # As nnU-Net's own conversion of BraTS 2021 writes them.
    labels = {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]}
    assert values(read(tmp_path, {"channel_names": CHANNELS, "labels": labels})) == (2, 1, 3)


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0, "whole tumor": [1, 2, 3, 4], "tumor core": [2, 3], "enhancing tumor": [3]},
        {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [1, 2], "enhancing tumor": [3]},
        {"background": 0, "tumor core": [2, 3], "enhancing tumor": [3]},
        {"background": 0, "whole tumor": [2, 3], "tumor core": [3], "enhancing tumor": [3]},
        {"background": 0, "whole tumor": [2, 3], "tumor core": [2, 3], "enhancing tumor": [3]},
    ],
)
def test_regions_that_do_not_tell_the_classes_apart_are_refused(tmp_path: Path, labels: dict[str, Any]) -> None:
    said = refusal(tmp_path, {"channel_names": CHANNELS, "labels": labels})
    # Four classes in the outermost region are one too many; of the others some class has no name.
    many = len(labels.get("whole tumor", ())) == 4
    assert ("expected one value for" if many else "oedema, necrosis and enhancing tumour by name") in said


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0, "tumor": 1},
        {"background": 0, "edema": 1, "necrosis": 2},
        {"background": 0, "edema": 1, "necrosis": 2, "enhancing": 2},
        {"background": 0, "edema": 0, "necrosis": 2, "enhancing": 3},
        {"background": 0, "edema": 1, "oedema": 2, "necrosis": 3, "enhancing": 4},
        {"background": 0, "edema": 1.5, "necrosis": 2, "enhancing": 3},
        {"background": 0, "edema": -1, "necrosis": 2, "enhancing": 3},
        {"background": 0, "edema": 1, "necrosis": 2, "enhancing": 300},
        {"background": 0, "edema": None, "necrosis": True, "enhancing": {}},
        {},
    ],
)
def test_labels_that_do_not_tell_the_classes_apart_are_refused(tmp_path: Path, labels: dict[str, Any]) -> None:
    assert "labels" in refusal(tmp_path, {"channel_names": CHANNELS, "labels": labels})


def test_without_labels_the_decathlons_are_taken(tmp_path: Path) -> None:
    assert read(tmp_path, {"channel_names": CHANNELS}).scheme == MSD


@pytest.mark.parametrize("word", ["T1-CE", "t1_gd", " T1c ", "T1Gd"])
def test_spellings_of_a_channel_are_understood(tmp_path: Path, word: str) -> None:
    assert read(tmp_path, {"channel_names": {**CHANNELS, "1": word}}).channels[1] is Modality.T1CE


def test_the_order_of_the_file_does_not_matter(tmp_path: Path) -> None:
    content = {"channel_names": dict(reversed(CHANNELS.items()))}
    assert read(tmp_path, content).channels == (Modality.T1, Modality.T1CE, Modality.T2, Modality.FLAIR)


@pytest.mark.parametrize(
    ("channels", "words"),
    [
        ({**CHANNELS, "3": "DWI"}, "channel 3 is 'DWI'"),
        ({**CHANNELS, "3": "T2"}, "channels t1, t1ce, t2, t2 found"),
        ({"0": "T1", "1": "T1ce", "2": "T2"}, "channels t1, t1ce, t2 found"),
        ({**CHANNELS, "4": "T2w"}, "channels t1, t1ce, t2, flair, t2 found"),
        ({"1": "T1", "2": "T1ce", "3": "T2", "4": "Flair"}, "channels 1, 2, 3, 4 found, expected numbers from 0 on"),
        ({"a": "T1", "b": "T1ce", "c": "T2", "d": "Flair"}, "expected numbers from 0 on"),
        ({**CHANNELS, "3": None}, "channel 3 is None"),
    ],
)
def test_channels_that_are_not_the_four_modalities_are_refused(
    tmp_path: Path, channels: dict[str, Any], words: str
) -> None:
    assert words in refusal(tmp_path, {"channel_names": channels})


@pytest.mark.parametrize("content", ["", "not JSON", "[1, 2]", "{}", '{"channel_names": ["T1"]}', "\x00\x01"])
def test_something_that_is_no_description_is_refused(tmp_path: Path, content: str) -> None:
    refusal(tmp_path, content)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    # Editors of some systems put one before every file that they save.
    content = json.dumps({"modality": CHANNELS, "labels": DECATHLON_LABELS})
    (tmp_path / "dataset.json").write_bytes(content.encode("utf-8-sig"))
    assert read_dataset_json(tmp_path / "dataset.json") == read(tmp_path, content)
