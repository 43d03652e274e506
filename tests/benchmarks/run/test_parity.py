"""Parity on both grids: on functions that are known, and on a real bundle, right and deliberately wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from eenet_bench.run.parity import (
    BundleParityRow,
    compare_on_case,
    rebuilt_forms,
    require_bundle_parity,
)
from eenet_export.gate.gate import Form
from eenet_export.gate.parity import KERAS, ORACLE, ParityLimits
from eenet_runtime.backends import make_backend
from eenet_runtime.bundle.manifest import MANIFEST_NAME, Artifact, Bundle, Manifest, describe_files, open_bundle
from eenet_runtime.errors import ExportError, ParityError
from eenet_runtime.segmenter.segmenter import Segmenter
from eenet_runtime.volumes.labels import Label
from eenet_runtime.volumes.presets import GeometryPreset
from tests.synthetic import TINY_2MM, Head, case_files

Volume = NDArray[np.float32]

SMALLEST = GeometryPreset("smallest", (32, 32, 24), 2.0, (2, 2, 2))
"""The smallest network that there is; the synthetic head fits into it."""


def _biased(segmenter: Segmenter, bias: float) -> Callable[[Volume], Volume]:
    """The segmenter's model with more oedema everywhere."""

    def run(volume: Volume) -> Volume:
        moved = segmenter.backend(volume)
        moved[..., Label.ED] += np.float32(bias)
        normalised: Volume = moved / moved.sum(axis=-1, keepdims=True)
        return normalised

    return run


def test_equal_forms_agree_fully_on_both_grids(segmenter_2mm: Segmenter, head: Head, tmp_path: Path) -> None:
    run = segmenter_2mm.backend
    forms = [Form(name, run) for name in (ORACLE, KERAS, "onnx-fp32")]
    rows = compare_on_case(case_files(tmp_path, "A", head), TINY_2MM, forms)
    assert [(row.candidate, row.reference) for row in rows] == [(KERAS, ORACLE), ("onnx-fp32", ORACLE)]
    for row in rows:
        assert row.max_abs_difference == 0
        assert row.dice == row.patient_dice == {"ET": 1.0, "TC": 1.0, "WT": 1.0}
    require_bundle_parity(rows, ParityLimits())


def test_the_masks_are_compared_on_the_patients_grid_too(segmenter_2mm: Segmenter, head: Head, tmp_path: Path) -> None:
    files = case_files(tmp_path, "A", head)
    right, wrong = segmenter_2mm.backend, _biased(segmenter_2mm, 0.4)
    forms = [Form(ORACLE, right), Form(KERAS, right), Form("onnx-fp32", wrong)]
    row = next(row for row in compare_on_case(files, TINY_2MM, forms) if row.candidate == "onnx-fp32")
    # Eight times as many voxels: the two grids cannot give the same figure by accident.
    assert 0 < row.patient_dice["WT"] < 1
    assert row.patient_dice["WT"] != row.dice["WT"]


def _row(patient: float) -> BundleParityRow:
    same = {"ET": 1.0, "TC": 1.0, "WT": 1.0}
    return BundleParityRow(
        "A",
        ORACLE,
        "onnx-fp32",
        0.0,
        same,
        usual_difference=0.0,
        region_voxels={"WT": 1},
        patient_dice={**same, "ET": patient},
    )


def test_a_mask_that_differs_on_the_patients_grid_alone_is_stopped() -> None:
    require_bundle_parity([_row(0.9995)], ParityLimits())
    with pytest.raises(ParityError, match=r"A on the patient's grid: onnx-fp32 against oracle: Dice ET 0\.99000 found"):
        require_bundle_parity([_row(0.99)], ParityLimits())


def test_nothing_compared_is_nothing_proved() -> None:
    with pytest.raises(ParityError, match="no case was compared"):
        require_bundle_parity([], ParityLimits())


@pytest.mark.tf
def test_a_bundle_without_the_networks_weights_is_refused(tiny_bundle: Path) -> None:
    with pytest.raises(ExportError, match=r"weights\.safetensors: no such file"):
        rebuilt_forms(open_bundle(tiny_bundle))


@pytest.mark.tf
@pytest.mark.slow
def test_a_real_network_agrees_with_its_export_and_not_with_a_graph_that_computes_something_else(
    tmp_path: Path, head: Head
) -> None:
    import keras

    from eenet_train.network.network import build_eenet

    keras.utils.set_random_seed(1)
    right = open_bundle(_exported(build_eenet(SMALLEST), tmp_path / "right"))
    wrong = open_bundle(_sharpened(right, tmp_path / "wrong"))
    engines = {f"{name}-fp32": make_backend(bundle) for name, bundle in (("right", right), ("wrong", wrong))}
    forms = [*rebuilt_forms(right), *(Form(name, engine) for name, engine in engines.items())]
    rows = compare_on_case(case_files(tmp_path, "A", head), SMALLEST, forms)
    agreeing = [row for row in rows if row.candidate != "wrong-fp32"]
    assert [(row.candidate, row.reference) for row in agreeing] == [(KERAS, ORACLE), ("right-fp32", ORACLE)]
    require_bundle_parity(agreeing, ParityLimits())
    with pytest.raises(ParityError, match=r"case A: wrong-fp32 against oracle.*: probabilities that differ by"):
        require_bundle_parity(rows, ParityLimits())
    # On the network's grid its masks are right. Between voxels they are not, and patients get those masks.
    wrong_rows = [row for row in rows if row.candidate == "wrong-fp32"]
    assert all(value > 0.999 for row in wrong_rows for value in row.dice.values())
    assert all(min(row.patient_dice.values()) < 0.999 for row in wrong_rows)


def _exported(model: Any, folder: Path) -> Path:
    """A bundle of a network, without the gate of the export."""
    from eenet_export.graph.graphs import FP32_FILE, WEIGHTS_FILE, write_fp32
    from eenet_train.network.weights import WeightPrecision

    folder.mkdir()
    write_fp32(model, folder, WeightPrecision.FP32)
    artifact = Artifact("onnx", FP32_FILE, "fp32", "fp32")
    described = describe_files(folder, (FP32_FILE, WEIGHTS_FILE))
    (folder / MANIFEST_NAME).write_text(Manifest("random", SMALLEST, (artifact,), described).to_json())
    return folder


def _sharpened(bundle: Bundle, folder: Path) -> Path:
    """A copy whose graph multiplies the last logits by 1.5: other probabilities, the same largest class."""
    import onnx
    from onnx import helper, numpy_helper

    manifest = bundle.manifest
    shutil.copytree(bundle.folder, folder)
    path = folder / manifest.artifacts[0].path
    model = onnx.load(path, load_external_data=False)
    index = next(i for i, node in enumerate(model.graph.node) if node.op_type == "Softmax")
    softmax = model.graph.node[index]
    factor = numpy_helper.from_array(np.array(1.5, np.float32), "factor")
    model.graph.initializer.append(factor)
    model.graph.node.insert(index, helper.make_node("Mul", [softmax.input[0], "factor"], ["sharpened"]))
    softmax.input[0] = "sharpened"
    path.write_bytes(model.SerializeToString())
    names = tuple(entry.path for entry in manifest.files)
    (folder / MANIFEST_NAME).write_text(replace(manifest, files=describe_files(folder, names)).to_json())
    return folder
