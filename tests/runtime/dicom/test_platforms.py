"""What mercure and MONAI's application packages ask for, and what is said of a request that cannot be met."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eenet_runtime.dicom.platforms import call_from
from eenet_runtime.errors import DatasetError
from eenet_runtime.volumes.labels import Modality


def mercure(folder: Path, task: object) -> dict[str, str]:
    (folder / "in").mkdir()
    (folder / "in" / "task.json").write_text(task if isinstance(task, str) else json.dumps(task))
    return {"MERCURE_IN_DIR": str(folder / "in"), "MERCURE_OUT_DIR": str(folder / "out")}


def test_mercure_names_two_folders_and_its_task_the_settings(tmp_path: Path) -> None:
    settings = {"series": {"t1ce": 5, "FLAIR": "1.2.3"}, "allow_missing": ["t2"], "seg": "labelmap"}
    call = call_from("mercure", mercure(tmp_path, {"process": {"module_name": "x", "settings": settings}}))
    assert (call.study, call.output) == (tmp_path / "in", tmp_path / "out")
    assert call.series == {Modality.T1CE: "5", Modality.FLAIR: "1.2.3"}
    assert (call.allow_missing, call.seg) == (("t2",), "labelmap")


@pytest.mark.parametrize("task", [{}, {"process": {}}, {"process": {"settings": {}}}, {"process": [{}]}])
def test_a_task_without_settings_is_one_with_the_defaults(tmp_path: Path, task: object) -> None:
    call = call_from("mercure", mercure(tmp_path, task))
    assert (call.series, call.allow_missing, call.seg) == ({}, (), None)


def test_no_task_is_a_task_without_settings(tmp_path: Path) -> None:
    environment = mercure(tmp_path, {})
    (tmp_path / "in" / "task.json").unlink()
    assert call_from("mercure", environment).series == {}


def test_an_application_package_names_two_folders(tmp_path: Path) -> None:
    call = call_from("map", {"HOLOSCAN_INPUT_PATH": str(tmp_path), "HOLOSCAN_OUTPUT_PATH": str(tmp_path / "out")})
    assert (call.study, call.output, call.series) == (tmp_path, tmp_path / "out", {})


@pytest.mark.parametrize("platform", ["mercure", "map"])
def test_a_variable_that_is_not_set_is_named(platform: str) -> None:
    with pytest.raises(DatasetError, match=r"^(mercure|map): \w+_IN\w+ and \w+_OUT\w+ not set"):
        call_from(platform, {})


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("{", "no JSON object"),
        ("[" * 100_000, "no JSON object"),
        ("[1]", "no JSON object"),
        ({"process": [{}, {}]}, "2 processing steps found"),
        ({"process": {"settings": 3}}, "settings that are no object"),
        ({"process": {"settings": {"serie": {}}}}, "setting 'serie' found"),
        ({"process": {"settings": {"series": ["t1"]}}}, "series that is no object"),
        ({"process": {"settings": {"series": {"t9": "5"}}}}, "series of 't9' found"),
        ({"process": {"settings": {"allow_missing": "t2"}}}, "allow_missing that is no list"),
        ({"process": {"settings": {"seg": "surface"}}}, "seg 'surface' found"),
    ],
)
def test_unusable_settings_are_refused_by_name(tmp_path: Path, task: object, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        call_from("mercure", mercure(tmp_path, task))
