"""From a run folder to a bundle that the runtime serves, and every way that must not lead to one."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from eenet_export.bundle import package
from eenet_export.bundle.package import ExportSettings, export_model, oracle_of
from eenet_export.bundle.source import SourceModel, load_model, source_of, source_of_run
from eenet_export.gate import verify
from eenet_export.gate.gate import keras_forms, keras_function
from eenet_export.gate.parity import ParityLimits, Volume
from eenet_export.gate.verify import record, verify_bundle
from eenet_export.graph.graphs import load_graph, save_graph, write_fp32
from eenet_runtime.backends.native_backend import obstacle
from eenet_runtime.bundle.manifest import MANIFEST_NAME, Bundle, describe_files, open_bundle
from eenet_runtime.cases.discovery import find_cases
from eenet_runtime.errors import ExportError, ParityError, TrainingError
from eenet_runtime.segmenter.segmenter import Segmenter
from eenet_runtime.volumes.labels import CHANNEL_ORDER, Modality
from eenet_runtime.volumes.normalization import NORMALIZATION
from eenet_train.network.weights import WeightPrecision
from eenet_train.runs.run_folder import RegionScores, RunFolder, RunRecord, Versions, write_record
from tests.native_stand_in import install, uninstall
from tests.places import ROOT
from tests.synthetic import TINY_2MM, make_head, write_case

pytestmark = [pytest.mark.tf, pytest.mark.slow]

Oracles = Callable[[SourceModel], Callable[[Volume], Volume]]

PLANE = [] if obstacle() else ["plane.onnx"]
"""What an export makes where the native engine is here to prove it."""

FP16 = ExportSettings(
    weights=WeightPrecision.FP16,
    precisions=("fp32", "fp16"),
    max_cases=1,
    note="made by tests",
    # Random weights: many voxels are near ties, which half precision may order either way.
    limits=ParityLimits(
        min_agreement=0.98, min_inner_agreement=0.98, mean_dice=0.9, worst_dice=0.9, max_dice_change=0.1
    ),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a network of random weights."""
    import keras

    from eenet_train.network.network import build_eenet

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
        modality_dropout=0.02,
    )
    write_record(folder, record)
    return folder.path


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    write_case(folder, "Case_1", make_head())
    return folder


@pytest.fixture(scope="module")
def bundle(kept_conversions: Any, run: Path, cases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("bundles") / "small"
    export_model(source_of_run(run), output, cases, FP16)
    return output


@pytest.fixture(scope="module")
def converted(kept_conversions: Any, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `write_fp32` makes of the run; converting takes half of an export."""
    folder = tmp_path_factory.mktemp("converted")
    write_fp32(source_of_run(run).model, folder, WeightPrecision.FP32)
    return folder


@pytest.fixture(scope="module")
def oracle(run: Path) -> Callable[[SourceModel], Callable[[Volume], Volume]]:
    """The oracle of the run with its weights as they are, built once; what it said of a volume is kept."""
    made = oracle_of(source_of_run(run))
    said: dict[bytes, Volume] = {}

    def compute(volume: Volume) -> Volume:
        key = hashlib.sha256(volume.tobytes()).digest()
        if key not in said:
            said[key] = made(volume)
        return said[key].copy()

    return lambda source: compute


@pytest.fixture
def converted_before(converted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let exports of this run take the graph that is there already."""

    def copy(model: Any, folder: Path, precision: WeightPrecision) -> None:
        assert precision is WeightPrecision.FP32
        shutil.copytree(converted, folder, dirs_exist_ok=True)

    monkeypatch.setattr(package, "write_fp32", copy)


def test_the_bundle_holds_its_weights_once_for_all_graphs(bundle: Path) -> None:
    sizes = {path.name: path.stat().st_size for path in bundle.iterdir()}
    graphs = {"model.onnx", "model.fp16.onnx", *PLANE}
    assert set(sizes) == {"manifest.json", "weights.safetensors", "golden.npz", *graphs}
    assert 28e6 < sizes["weights.safetensors"] < 30e6
    assert sum(sizes[name] for name in graphs) + sizes["golden.npz"] < 2e6


def test_the_manifest_says_what_was_proved_and_where_the_weights_came_from(bundle: Path, cases: Path) -> None:
    manifest = open_bundle(bundle).manifest
    pairs = {(row.candidate, row.reference) for row in manifest.parity}
    forms = ("onnx-fp32", "onnx-fp16", *(["native-fp32"] if PLANE else []))
    engines = {(form + engine, "oracle") for form in forms for engine in ("", "-openvino")}
    assert pairs == {("keras", "oracle"), ("keras", "keras-fp32-weights"), *engines}
    exact = [row for row in manifest.parity if row.reference == "oracle" and "fp16" not in row.candidate]
    assert all(row.max_abs_difference is not None and row.max_abs_difference <= 1e-4 for row in exact)
    (case,) = find_cases(cases).cases
    t1 = hashlib.sha256(case.images[Modality.T1].path.read_bytes()).hexdigest()
    assert manifest.cases["Case_1"]["t1"] == t1
    assert manifest.modality_dropout == 0.02
    assert manifest.golden == "golden.npz"
    assert manifest.provenance["derived"]["fp16"]["clamped"] == 0
    assert manifest.provenance["derived"]["fp16"]["range"]["tensors"] > 300
    assert manifest.provenance["note"] == "made by tests"
    assert manifest.provenance["training_cases"] == 2
    assert manifest.provenance["weight_rounding"]["rounded"] > 0
    assert tuple(artifact.form for artifact in manifest.artifacts) == forms
    assert ("left_out" in manifest.provenance["derived"]["native"]) == (not PLANE)
    assert {artifact.weights_precision for artifact in manifest.artifacts} == {"fp16"}
    assert {"tensorflow", "keras", "tf2onnx", "onnx"} <= set(manifest.tools)


def test_no_path_of_this_machine_is_in_the_bundle(bundle: Path, run: Path, cases: Path) -> None:
    content = b"".join(path.read_bytes() for path in bundle.iterdir())
    for path in (str(run), str(cases), str(ROOT), str(Path.home())):
        assert path.encode() not in content or path == "/"


def test_the_runtime_serves_the_bundle(bundle: Path, cases: Path) -> None:
    (case,) = find_cases(cases).cases
    with Segmenter(bundle) as segmenter:
        first, second = segmenter.segment(case), segmenter.segment(case)
    assert first.labels.shape == make_head().shape
    assert np.array_equal(first.labels, second.labels)


@pytest.mark.parametrize("wrong", ["a weight", "modalities", "epsilon"])
def test_a_graph_that_computes_something_else_gets_no_name(
    run: Path,
    cases: Path,
    converted: Path,
    oracle: Oracles,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wrong: str,
) -> None:
    def write_another(model: Any, folder: Path, precision: WeightPrecision) -> None:
        shutil.copytree(converted, folder, dirs_exist_ok=True)
        path = folder / "model.onnx"
        graph = load_graph(path)
        spoil(graph, wrong)
        save_graph(graph, path)

    monkeypatch.setattr(package, "write_fp32", write_another)
    with pytest.raises(ParityError, match="onnx-fp32 against oracle"):
        export_model(source_of_run(run), tmp_path / "bundle", cases, ExportSettings(max_cases=1), make_oracle=oracle)
    assert list(tmp_path.iterdir()) == []


def spoil(model: Any, wrong: str) -> None:
    """Change one thing that no structural check would notice."""
    nodes = {node.name: node for node in model.graph}
    if wrong == "epsilon":
        norm = nodes["GroupNorm_1_Post_L3_Dec/GroupNormalization"]
        norm.attributes["epsilon"] = ir.AttrFloat32("epsilon", 0.1)
        return
    name = "Model_Outputs/bias" if wrong == "a weight" else "Input_L1/kernel"
    values = model.graph.initializers[name].const_value.numpy().copy()
    if wrong == "a weight":
        values[2] += 0.05
    else:
        values = values[:, [1, 0, 2, 3]]
    model.graph.initializers[name].const_value = ir.tensor(values, name=name)


def test_an_artefact_that_is_changed_later_fails_the_verification_and_is_not_recorded(
    bundle: Path, cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The weights file stays as it is: the network and its oracle, rebuilt from it, are the same both times.
    rebuilt: list[Any] = []

    def once(opened: Bundle) -> Any:
        rebuilt[:] = rebuilt or [keras_forms(opened)]
        return rebuilt[0]

    monkeypatch.setattr(verify, "keras_forms", once)
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    found = verify_bundle(copy, cases, max_cases=1, limits=FP16.limits)
    assert found.failed == {}
    assert {row.candidate for row in found.rows} >= {"keras", "onnx-fp32", "onnx-fp16-openvino"}
    recorded = record(copy, found)
    assert len(recorded.manifest.parity) == len(open_bundle(bundle).manifest.parity)
    graph = load_graph(copy / "model.onnx")
    spoil(graph, "modalities")
    save_graph(graph, copy / "model.onnx")
    files = describe_files(copy, tuple(entry.path for entry in recorded.manifest.files))
    (copy / MANIFEST_NAME).write_text(replace(recorded.manifest, files=files).to_json())
    found = verify_bundle(copy, cases, max_cases=1, limits=FP16.limits)
    assert set(found.failed) == {"onnx-fp32", "onnx-fp32-openvino"}
    with pytest.raises(ParityError):
        record(copy, found)


@pytest.mark.usefixtures("converted_before")
def test_int8_and_native_that_do_not_pass_are_left_out_and_the_manifest_says_why(
    run: Path, cases: Path, oracle: Oracles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch)
    settings = ExportSettings(precisions=("fp32", "int8"), max_cases=1)
    made = export_model(source_of_run(run), tmp_path / "bundle", cases, settings, make_oracle=oracle)
    derived = made.manifest.provenance["derived"]["int8"]
    passed = any(artifact.precision == "int8" for artifact in made.manifest.artifacts)
    assert passed != ("left_out" in derived)
    assert derived["quantised"]
    assert "native-fp32 against oracle" in made.manifest.provenance["derived"]["native"]["left_out"]
    assert "native-fp32" not in {artifact.form for artifact in made.manifest.artifacts}
    assert not (made.folder / "plane.onnx").exists()
    if not passed:
        assert "int8" in derived["left_out"]
        assert not (made.folder / "model.int8.onnx").exists()


@pytest.mark.usefixtures("converted_before")
def test_a_killed_export_leaves_no_bundle_and_the_next_one_goes_on(
    run: Path, cases: Path, oracle: Oracles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uninstall(monkeypatch)
    steps: list[str] = []

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    settings = replace(FP16, precisions=("fp32",), weights=WeightPrecision.FP32)
    with monkeypatch.context() as patch:
        patch.setattr(package, "make_golden", killed)
        with pytest.raises(KeyboardInterrupt):
            export_model(source_of_run(run), tmp_path / "bundle", cases, settings, steps.append, oracle)
    assert not (tmp_path / "bundle").exists()
    assert "converting to ONNX" in steps
    assert any(step.startswith("no native artefact is made: eenet_native is not installed") for step in steps)
    again: list[str] = []
    made = export_model(source_of_run(run), tmp_path / "bundle", cases, settings, again.append, oracle)
    assert "not installed" in made.manifest.provenance["derived"]["native"]["left_out"]
    assert again == ["making the golden case"]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_keras_file_is_exported_like_its_run(run: Path, bundle: Path) -> None:
    by_file = source_of(RunFolder(run).model, TINY_2MM)
    volume = np.random.default_rng(0).normal(size=(*TINY_2MM.shape, 4)).astype(np.float32)
    assert np.array_equal(keras_function(by_file.model)(volume), keras_function(source_of(run).model)(volume))
    assert by_file.provenance["weights_from"] == "model.keras"
    with pytest.raises(ExportError, match=r"input \(64, 64, 24, 4\) found; say which geometry it is with --preset"):
        source_of(RunFolder(run).model)


def test_the_model_before_rounding_is_the_same_function_until_it_is_rounded(run: Path) -> None:
    model = load_model(RunFolder(run).model, TINY_2MM)
    copy = package.clone_with_weights(model)
    volume = np.random.default_rng(0).normal(size=(*TINY_2MM.shape, 4)).astype(np.float32)
    assert np.array_equal(keras_function(model)(volume), keras_function(copy)(volume))


def test_a_folder_that_exists_is_not_replaced(run: Path, cases: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    with pytest.raises(ExportError, match="exists already"):
        export_model(source_of_run(run), tmp_path / "bundle", cases)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"run\.json"):
        source_of_run(tmp_path)


def test_a_model_of_another_geometry_is_refused(run: Path, tmp_path: Path) -> None:
    other = RunFolder(tmp_path / "run")
    other.path.mkdir()
    other.model.write_bytes(RunFolder(run).model.read_bytes())
    record = json.loads(RunFolder(run).record.read_text())
    record["preset"]["shape"], record["preset"]["depth_strides"] = [96, 64, 24], [2, 2, 2]
    other.record.write_text(json.dumps(record))
    with pytest.raises(ExportError, match=r"input \(64, 64, 24, 4\) found"):
        source_of_run(other.path)


def test_a_file_that_is_no_model_is_refused(run: Path, tmp_path: Path) -> None:
    broken = tmp_path / "model.keras"
    broken.write_bytes(b"nothing")
    with pytest.raises(ExportError, match=r"model\.keras: not a Keras model"):
        load_model(broken, TINY_2MM)
