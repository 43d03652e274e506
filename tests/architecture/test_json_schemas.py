"""The schemas in the wheel are those of the dataclasses, and tell a right file from a wrong one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from eenet_runtime.folders.folder import FolderSettings, segment_folder
from eenet_runtime.segmenter.segmenter import Segmenter
from tests.architecture.json_schemas import FOLDER, schemas, text_of
from tests.places import ROOT
from tests.schema_checks import problems
from tests.synthetic import Head, write_case


@pytest.mark.parametrize("name", sorted(schemas()))
def test_a_schema_is_current_and_one_of_its_dialect(name: str) -> None:
    schema = schemas()[name]
    Draft202012Validator.check_schema(schema)
    assert (FOLDER / name).read_text(encoding="utf-8") == text_of(schema), (
        "runtime/eenet_runtime/schemas is out of date: python -m tests.architecture.json_schemas"
    )


def test_what_a_run_writes_follows_the_schemas(segmenter: Segmenter, head: Head, tmp_path: Path) -> None:
    write_case(tmp_path / "in", "A", head)
    write_case(tmp_path / "in", "B", head)
    (tmp_path / "in" / "B" / "B_t2.nii.gz").unlink()
    segment_folder(segmenter, tmp_path / "in", tmp_path / "out", FolderSettings(probabilities=True))
    assert problems("report", (tmp_path / "out" / "A.json").read_bytes()) == []
    assert problems("summary", (tmp_path / "out" / "summary.json").read_bytes()) == []
    assert problems("manifest", (segmenter.bundle.folder / "manifest.json").read_bytes()) == []


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("components", "three", "$.components"),
        ("inputs", {"t1": {"file": "a.nii.gz"}}, "$.inputs.t1"),
        ("warnings", "odd", "$.warnings"),
        ("schema_version", 1, "$.schema_version"),
        ("volumes_ml", {"ET": None}, "$.volumes_ml.ET"),
    ],
)
def test_a_report_with_a_wrong_field_is_told(
    segmenter: Segmenter, head: Head, tmp_path: Path, field: str, value: object, said: str
) -> None:
    write_case(tmp_path / "in", "A", head)
    (outcome,) = segment_folder(segmenter, tmp_path / "in", tmp_path / "out", FolderSettings(preview=False)).outcomes
    assert outcome.report is not None
    right = json.loads(outcome.report.to_json())
    assert problems("report", json.dumps(right)) == []
    assert {found.split(":")[0] for found in problems("report", json.dumps({**right, field: value}))} == {said}
    del right[field]
    assert problems("report", json.dumps(right))


def test_the_demo_models_manifest_follows_its_schema() -> None:
    text = (ROOT / "models" / "eenet-fast-phantom" / "manifest.json").read_bytes()
    assert problems("manifest", text) == []
