"""From a run folder to a bundle that the runtime serves, and every way that must not lead to one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eenet_export import package
from eenet_export.package import ExportSettings, export_run
from eenet_runtime.bundle import open_bundle
from eenet_runtime.discovery import find_cases
from eenet_runtime.errors import ExportError, ParityError, TrainingError
from eenet_runtime.labels import CHANNEL_ORDER
from eenet_runtime.normalization import NORMALIZATION
from eenet_runtime.segmenter import Segmenter
from eenet_train.run_folder import RegionScores, RunFolder, RunRecord, Versions, write_record
from eenet_train.weights import WeightPrecision
from tests.synthetic import TINY_2MM, make_head, write_case

pytestmark = [pytest.mark.tf, pytest.mark.slow]

FP16 = ExportSettings(weights=WeightPrecision.FP16, max_cases=1, note="made by tests")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a network of random weights."""
    import keras

    from eenet_train.network import build_eenet

    keras.utils.set_random_seed(1)
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    build_eenet(TINY_2MM).save(folder.model)
    record = RunRecord(
        preset=TINY_2MM,
        modalities=CHANNEL_ORDER,
        normalization=NORMALIZATION,
        training_cases=("a", "b"),
        validation_cases=("c",),
        steps_done=3,
        steps_planned=3,
        loss=1.0,
        validation_dice=RegionScores(0.1, 0.2, 0.3),
        encoder_weights="none",
        versions=Versions.installed(),
    )
    write_record(folder, record)
    return folder.path


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    write_case(folder, "Case_1", make_head())
    return folder


@pytest.fixture(scope="module")
def bundle(run: Path, cases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("bundles") / "small"
    export_run(run, output, cases, FP16)
    return output


def test_the_bundle_holds_its_weights_once(bundle: Path) -> None:
    sizes = {path.name: path.stat().st_size for path in bundle.iterdir()}
    assert set(sizes) == {"manifest.json", "model.onnx", "weights.safetensors"}
    assert 28e6 < sizes["weights.safetensors"] < 30e6
    assert sizes["model.onnx"] < 1e6


def test_the_manifest_says_what_was_proved_and_where_the_weights_came_from(bundle: Path) -> None:
    manifest = open_bundle(bundle).manifest
    pairs = {(row.candidate, row.reference) for row in manifest.parity}
    assert {("onnx-fp32", "keras"), ("onnx-fp32", "oracle"), ("keras", "oracle")} <= pairs
    assert all(row.max_abs_difference <= 1e-3 for row in manifest.parity if row.reference != "keras-fp32-weights")
    assert manifest.provenance["note"] == "made by tests"
    assert manifest.provenance["training_cases"] == 2
    assert manifest.provenance["weight_rounding"]["rounded"] > 0
    assert manifest.artifacts[0].weights_precision == "fp16"
    assert {"tensorflow", "keras", "tf2onnx", "onnx"} <= set(manifest.tools)


def test_no_path_of_this_machine_is_in_the_bundle(bundle: Path, run: Path, cases: Path) -> None:
    content = b"".join(path.read_bytes() for path in bundle.iterdir())
    for path in (str(run), str(cases), str(Path(__file__).parents[2]), str(Path.home())):
        assert path.encode() not in content or path == "/"


def test_the_runtime_serves_the_bundle(bundle: Path, cases: Path) -> None:
    (case,) = find_cases(cases).cases
    with Segmenter(bundle) as segmenter:
        first, second = segmenter.segment(case), segmenter.segment(case)
    assert first.labels.shape == make_head().shape
    assert np.array_equal(first.labels, second.labels)


def test_an_artefact_with_other_weights_gets_no_name(
    run: Path, cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eenet_export import convert

    true_write = convert.write_model

    def write_another(model: Any, folder: Path, precision: WeightPrecision) -> Any:
        layer = model.get_layer("Model_Outputs")
        kernel, bias = layer.get_weights()
        layer.set_weights([kernel, bias + np.array([0, 0, 0.05, 0], np.float32)])
        written = true_write(model, folder, precision)
        layer.set_weights([kernel, bias])
        return written

    monkeypatch.setattr(convert, "write_model", write_another)
    with pytest.raises(ParityError, match="onnx-fp32 against keras"):
        export_run(run, tmp_path / "bundle", cases, ExportSettings(max_cases=1))
    assert list(tmp_path.iterdir()) == []


def test_the_model_before_rounding_is_the_same_function_until_it_is_rounded(run: Path) -> None:
    model = package.load_model(RunFolder(run).model, TINY_2MM)
    copy = package.clone_with_weights(model)
    volume = np.random.default_rng(0).normal(size=(*TINY_2MM.shape, 4)).astype(np.float32)
    assert np.array_equal(package.keras_function(model)(volume), package.keras_function(copy)(volume))


def test_a_folder_that_exists_is_not_replaced(run: Path, cases: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    with pytest.raises(ExportError, match="exists already"):
        export_run(run, tmp_path / "bundle", cases)


def test_a_folder_that_is_no_run_is_refused(cases: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"run\.json"):
        export_run(tmp_path, tmp_path / "bundle", cases)


def test_a_model_of_another_geometry_is_refused(run: Path, cases: Path, tmp_path: Path) -> None:
    other = RunFolder(tmp_path / "run")
    other.path.mkdir()
    other.model.write_bytes(RunFolder(run).model.read_bytes())
    record = json.loads(RunFolder(run).record.read_text())
    record["preset"]["shape"], record["preset"]["depth_strides"] = [96, 64, 24], [2, 2, 2]
    other.record.write_text(json.dumps(record))
    with pytest.raises(ExportError, match=r"input \(64, 64, 24, 4\) found"):
        export_run(other.path, tmp_path / "bundle", cases)


def test_a_file_that_is_no_model_is_refused(run: Path, tmp_path: Path) -> None:
    broken = tmp_path / "model.keras"
    broken.write_bytes(b"nothing")
    with pytest.raises(ExportError, match=r"model\.keras: not a Keras model"):
        package.load_model(broken, TINY_2MM)
