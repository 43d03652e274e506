"""Engines in bundles: named last, kept if they are the same, and never a bundle that does not open."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import typer
from typer.testing import CliRunner

from eenet_export.commands.engine import engine
from eenet_export.engines import EngineSettings, add_engine, into_bundle
from eenet_export.engines import flavour as flavour_module
from eenet_export.engines.source import read_source
from eenet_runtime.bundle.engine_file import TENSORRT, TENSORRT_RTX, EngineSidecar, check_engine
from eenet_runtime.bundle.manifest import ParityRow, open_bundle
from eenet_runtime.errors import BundleError, ExportError
from tests.export.engines.engine_graphs import write_engine_bundle
from tests.synthetic import edit_manifest

trt_rtx = pytest.importorskip("tensorrt_rtx", reason='needs pip install "eenet[rtx]"')

AMPERE = EngineSettings(TENSORRT_RTX, compute_capabilities=("8.6",))
PLAN = f"model.cc86.trt{trt_rtx.__version__}.fp16.plan"
STRESS = PLAN.replace(".plan", ".norm-stress.plan")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_engine_bundle(tmp_path_factory.mktemp("bundles") / "plain", "fp32", "fp16")


@pytest.fixture
def bundle(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "bundle"))


def _rehash(bundle: Path, changed: Path) -> None:
    """Let the manifest name a file as it is now."""
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    entry = next(entry for entry in files if entry["path"] == changed.name)
    entry["sha256"], entry["bytes"] = hashlib.sha256(changed.read_bytes()).hexdigest(), changed.stat().st_size
    edit_manifest(bundle, {"files": files})


def test_an_engine_is_plan_sidecar_and_report_and_the_manifest_names_them(bundle: Path) -> None:
    before = {entry.path for entry in open_bundle(bundle).manifest.files}
    added = add_engine(bundle, AMPERE)
    assert added.built
    assert [path.name for path in added.paths] == [PLAN, f"{PLAN}.json", f"{PLAN}.layers.json", STRESS]
    manifest = open_bundle(bundle).manifest
    assert {entry.path for entry in manifest.files} - before == {path.name for path in added.paths}
    artifact = manifest.artifacts[-1]
    assert (artifact.kind, artifact.path, artifact.precision) == (TENSORRT_RTX, PLAN, "fp16")
    assert (artifact.labels_name, artifact.probabilities_name) == ("labels", "")
    assert [entry.kind for entry in manifest.artifacts] == ["onnx", "onnx", TENSORRT_RTX]


def test_the_sidecar_describes_the_plan_so_that_the_runtime_accepts_it(bundle: Path) -> None:
    added = add_engine(bundle, AMPERE)
    text = added.sidecar_path.read_text()
    sidecar = EngineSidecar.from_json(text, "sidecar")
    assert sidecar == added.sidecar
    check_engine(sidecar, added.plan.read_bytes(), TENSORRT_RTX, trt_rtx.__version__, "8.6")
    hashes = {entry.path: entry.sha256 for entry in open_bundle(bundle).manifest.files}
    assert [(entry.path, entry.sha256) for entry in sidecar.source] == [
        (name, hashes[name]) for name in ("model.fp16.onnx", "fp16.weights.data")
    ]
    assert sidecar.layers.sha256 == hashlib.sha256(added.report.read_bytes()).hexdigest()
    assert len(json.loads(added.report.read_text())["layers"]) == sidecar.layers.kernels


def test_an_engine_in_fp32_needs_no_norm_stress_test(bundle: Path) -> None:
    added = add_engine(bundle, replace(AMPERE, precision="fp32"))
    assert added.norm_stress is None
    assert list(bundle.glob("*.norm-stress.plan")) == []


def test_an_fp16_engine_without_its_norm_stress_test_is_built_again(bundle: Path) -> None:
    add_engine(bundle, AMPERE)
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    edit_manifest(bundle, {"files": [entry for entry in files if entry["path"] != STRESS]})
    (bundle / STRESS).unlink()
    assert add_engine(bundle, AMPERE).built
    assert (bundle / STRESS).is_file()


def test_the_same_engine_is_not_built_twice(bundle: Path) -> None:
    add_engine(bundle, AMPERE)
    files = {path.name: path.stat().st_mtime_ns for path in bundle.iterdir()}
    again = add_engine(bundle, AMPERE)
    assert not again.built
    assert {path.name: path.stat().st_mtime_ns for path in bundle.iterdir()} == files


@pytest.mark.parametrize("change", [{"opt_level": 5}, {"workspace_gb": 1.0}, {"with_probabilities": True}])
def test_other_settings_replace_an_engine_of_the_same_name(bundle: Path, change: dict[str, Any]) -> None:
    add_engine(bundle, AMPERE)
    other = add_engine(bundle, replace(AMPERE, **change))
    assert other.built
    assert other.plan.name == PLAN
    artifacts = [artifact for artifact in open_bundle(bundle).manifest.artifacts if artifact.path == PLAN]
    assert len(artifacts) == 1
    assert bool(artifacts[0].probabilities_name) == bool(change.get("with_probabilities"))


def test_what_was_measured_with_an_engine_goes_when_it_is_replaced(bundle: Path) -> None:
    add_engine(bundle, AMPERE)
    rows = [
        asdict(ParityRow("case", "keras", candidate, 0.0, {"WT": 1.0}))
        for candidate in ("onnx-fp16", "tensorrt-rtx-fp16", "tensorrt-rtx-fp32")
    ]
    edit_manifest(bundle, {"parity": rows})
    assert not add_engine(bundle, AMPERE).built
    assert len(open_bundle(bundle).manifest.parity) == 3
    assert add_engine(bundle, replace(AMPERE, opt_level=1)).built
    left = [row.candidate for row in open_bundle(bundle).manifest.parity]
    assert left == ["onnx-fp16", "tensorrt-rtx-fp32"]


def test_another_graph_replaces_an_engine(bundle: Path) -> None:
    first = add_engine(bundle, AMPERE)
    graph = bundle / "model.fp16.onnx"
    model = onnx.load(graph, load_external_data=False)
    model.producer_name = "somebody else"
    graph.write_bytes(model.SerializeToString())
    _rehash(bundle, graph)
    second = add_engine(bundle, AMPERE)
    assert second.built
    assert second.sidecar.source[0].sha256 != first.sidecar.source[0].sha256


def test_engines_for_several_places_and_precisions_live_in_one_bundle(bundle: Path) -> None:
    for settings in (AMPERE, replace(AMPERE, precision="fp32"), replace(AMPERE, compute_capabilities=("12.0", "8.9"))):
        add_engine(bundle, settings)
    version = trt_rtx.__version__
    assert [artifact.path for artifact in open_bundle(bundle).manifest.artifacts[2:]] == [
        PLAN,
        f"model.cc86.trt{version}.fp32.plan",
        f"model.cc89-120.trt{version}.fp16.plan",
    ]


@pytest.mark.parametrize("writes", range(6))
@pytest.mark.parametrize("existing", [False, True])
def test_killed_while_writing_a_bundle_still_opens_and_the_next_run_mends_it(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, writes: int, existing: bool
) -> None:
    if existing:
        add_engine(bundle, replace(AMPERE, opt_level=1))
    left = writes

    def write_until_killed(path: Path, content: bytes) -> None:
        nonlocal left
        if left == 0:
            raise SystemExit("killed")
        left -= 1
        path.write_bytes(content)

    with monkeypatch.context() as patch:
        patch.setattr(into_bundle, "write_atomically", write_until_killed)
        if writes == 5 and not existing:  # four files and the manifest: it got through
            add_engine(bundle, AMPERE)
        else:
            with pytest.raises(SystemExit):
                add_engine(bundle, AMPERE)
    open_bundle(bundle)
    add_engine(bundle, AMPERE)
    assert open_bundle(bundle).manifest.artifacts[-1].path == PLAN
    assert {path.name for path in bundle.glob("*.plan")} == {PLAN, STRESS}


def test_a_stopped_build_leaves_nothing(bundle: Path) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}

    def stop(fraction: float, phase: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add_engine(bundle, AMPERE, stop)
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before


def test_an_engine_that_came_in_meanwhile_is_kept(bundle: Path) -> None:
    other = replace(AMPERE, compute_capabilities=("8.9",))
    done: list[Path] = []

    def build_another(fraction: float, phase: str) -> None:
        if not done:
            done.append(add_engine(bundle, other).plan)

    added = add_engine(bundle, AMPERE, build_another)
    engines = {artifact.path for artifact in open_bundle(bundle).manifest.artifacts[2:]}
    assert engines == {added.plan.name, done[0].name}


def test_a_bundle_without_the_precision_says_which_it_has(tmp_path: Path) -> None:
    folder = write_engine_bundle(tmp_path / "bundle", "fp32")
    with pytest.raises(ExportError, match="ONNX artefacts in fp32 found, an engine in fp16 needs one in fp16"):
        add_engine(folder, AMPERE)


def test_the_model_for_the_parser_holds_its_weights(bundle: Path) -> None:
    source = read_source(open_bundle(bundle), "fp16")
    whole = onnx.load(bundle / "model.fp16.onnx")
    assert {tensor.name: tensor.raw_data for tensor in onnx.load_from_string(source.model).graph.initializer} == {
        tensor.name: tensor.raw_data for tensor in whole.graph.initializer
    }


def test_a_kernel_stored_in_half_precision_reaches_the_parser_as_a_constant(tmp_path: Path) -> None:
    folder = write_engine_bundle(tmp_path / "bundle", "fp32")
    graph = folder / "model.fp32.onnx"
    model = onnx.load(graph)
    kernel = next(tensor for tensor in model.graph.initializer if tensor.name == "w1")
    stored = onnx.numpy_helper.to_array(kernel).astype(np.float16)
    kernel.CopyFrom(onnx.numpy_helper.from_array(stored, "stored"))
    model.graph.node.insert(0, onnx.helper.make_node("Cast", ["stored"], ["w1"], to=onnx.TensorProto.FLOAT))
    graph.write_bytes(model.SerializeToString())
    _rehash(folder, graph)
    parsed = onnx.load_from_string(read_source(open_bundle(folder), "fp32").model)
    first = next(node for node in parsed.graph.node if node.name == "first")
    held = next(tensor for tensor in parsed.graph.initializer if tensor.name == first.input[1])
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(held), stored.astype(np.float32))
    assert add_engine(folder, replace(AMPERE, precision="fp32")).sidecar.layers.convolution_dtypes == ("float32",)


def test_weights_that_change_after_the_bundle_was_opened_are_not_parsed(bundle: Path) -> None:
    opened = open_bundle(bundle)
    weights = bundle / "fp16.weights.data"
    content = bytearray(weights.read_bytes())
    content[7] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(BundleError, match=r"fp16\.weights\.data: SHA-256 .* found, the manifest says"):
        read_source(opened, "fp16")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("location", "../secret", r"secret: the graph's weights should be there, the manifest knows no such file"),
        ("length", "999999", "should be at bytes"),
        ("offset", "-1", "should be at bytes"),
    ],
)
def test_a_graph_that_points_elsewhere_is_refused(bundle: Path, key: str, value: str, message: str) -> None:
    graph = bundle / "model.fp16.onnx"
    model = onnx.load(graph, load_external_data=False)
    next(entry for entry in model.graph.initializer[0].external_data if entry.key == key).value = value
    graph.write_bytes(model.SerializeToString())
    _rehash(bundle, graph)
    with pytest.raises(BundleError, match=message):
        read_source(open_bundle(bundle), "fp16")


def run(*arguments: str) -> Any:
    app = typer.Typer(add_completion=False)
    app.command()(engine)
    return CliRunner().invoke(app, list(arguments))


def test_the_command_says_what_it_built_and_then_that_it_kept_it(bundle: Path) -> None:
    arguments = (str(bundle), "--for", "tensorrt-rtx", "--compute-capability", "8.6", "--compute-capability", "12.0")
    first, second = run(*arguments), run(*arguments)
    assert first.exit_code == second.exit_code == 0
    assert f"model.cc86-120.trt{trt_rtx.__version__}.fp16.plan: built" in first.output
    assert "compute capability 8.6, 12.0; 7 kernels" in first.output
    assert "kept, it is what these settings would build" in second.output
    assert "\r" not in first.output
    assert "sign it again" not in first.output


def test_the_command_says_when_a_signature_must_be_made_again(bundle: Path) -> None:
    (bundle / "manifest.json.sig").write_text("of the manifest before")
    arguments = (str(bundle), "--for", "tensorrt-rtx", "--compute-capability", "8.6")
    assert "sign it again" in run(*arguments).output
    assert "sign it again" not in run(*arguments).output


@pytest.mark.parametrize(
    ("option", "names"), [("--probabilities", ["labels", "probabilities"]), ("--labels-only", ["labels"])]
)
def test_the_command_chooses_the_outputs(bundle: Path, option: str, names: list[str]) -> None:
    assert run(str(bundle), "--for", "tensorrt-rtx", "--precision", "fp32", option).exit_code == 0
    (sidecar,) = bundle.glob("*.plan.json")
    tensors = EngineSidecar.from_json(sidecar.read_text(), "sidecar").tensors
    assert [tensor.name for tensor in tensors if tensor.mode == "output"] == names


def test_an_engine_for_servers_without_its_package_names_the_extra(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(flavour_module._MODULES, TENSORRT, "tensorrt_that_nobody_has")
    result = run(str(bundle), "--for", "tensorrt")
    assert isinstance(result.exception, ExportError)
    assert 'pip install "eenet[tensorrt]"' in str(result.exception)
