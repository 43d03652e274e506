"""A manifest says which regions no measured case holds: there two masks agree whoever computed them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

from eenet_runtime.bundle.manifest import ParityRow, open_bundle
from eenet_runtime.bundle.proof import not_proven_in_words, regions_not_proven
from eenet_runtime.commands.machine_info import bundle_as_dict, describe_bundle
from tests.places import DEMO_BUNDLE
from tests.synthetic import edit_manifest, write_bundle

SAME = {"ET": 1.0, "TC": 1.0, "WT": 1.0}
ROW = ParityRow("A", "oracle", "onnx-fp32", 0.0, SAME, region_voxels={"ET": 0, "TC": 0, "WT": 7})
OTHER_CASE = replace(ROW, case_id="B", region_voxels={"ET": 0, "TC": 3, "WT": 0})


def test_a_region_is_proven_by_one_case_that_holds_it_and_for_each_form_alone() -> None:
    engine = replace(OTHER_CASE, candidate="tensorrt-fp16")
    assert regions_not_proven([ROW, OTHER_CASE, engine]) == {"onnx-fp32": ["ET"], "tensorrt-fp16": ["ET", "WT"]}
    assert regions_not_proven([replace(ROW, region_voxels=dict.fromkeys(SAME, 1))]) == {}


def test_forms_with_the_same_gaps_share_a_line() -> None:
    rows = [ROW, OTHER_CASE, replace(ROW, candidate="keras"), replace(OTHER_CASE, candidate="keras")]
    assert not_proven_in_words(rows) == [
        "not proven: ET: no voxel of it in any case that onnx-fp32, keras was measured on"
    ]


def test_the_manifest_and_info_say_it(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", parity=(ROW, OTHER_CASE))
    assert json.loads((folder / "manifest.json").read_text())["not_proven"] == {"onnx-fp32": ["ET"]}
    bundle = open_bundle(folder)
    assert bundle_as_dict(bundle)["not_proven"] == {"onnx-fp32": ["ET"]}
    text = describe_bundle(bundle)
    assert "Dice ET 1.00000 (no voxel), TC 1.00000 (no voxel), WT 1.00000\n" in text
    assert "not proven: ET: no voxel of it in any case that onnx-fp32 was measured on" in text


def test_a_bundle_of_before_these_voxels_were_counted_opens_and_says_that_nobody_counted(tmp_path: Path) -> None:
    row = asdict(ROW)
    del row["region_voxels"]
    folder = write_bundle(tmp_path / "bundle", parity=(ROW,))
    edit_manifest(folder, {"parity": [row]})
    content = json.loads((folder / "manifest.json").read_text())
    del content["not_proven"]
    (folder / "manifest.json").write_text(json.dumps(content))
    edit_manifest(folder, {})
    bundle = open_bundle(folder)
    assert bundle.manifest.not_proven == {}
    assert "not counted: voxels of the regions in the measured cases" in describe_bundle(bundle)


def test_the_demo_bundle_opens() -> None:
    assert open_bundle(DEMO_BUNDLE).manifest.not_proven == {}
