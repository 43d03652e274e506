"""A Triton repository is checked against Triton's own definition of a configuration, and against what is served."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from eenet_export.bundle.triton import write_repository
from eenet_export.commands.triton import triton
from eenet_runtime.bundle.engine_file import (
    AMPERE_PLUS,
    EngineFlags,
    EngineSidecar,
    EngineTensor,
    LayerSummary,
    sidecar_name,
)
from eenet_runtime.bundle.manifest import MANIFEST_NAME, Artifact, Bundle, BundleFile, describe_files, open_bundle
from eenet_runtime.errors import BundleError, ExportError, OutputError
from tests.synthetic import MODEL_NAME, TINY, WEIGHTS_NAME


def _load_definition() -> Any:
    """Triton's `ModelConfig`, from its client's wheel.

    The module is loaded by its file: importing its package would want gRPC, which nothing here needs.
    """
    package = find_spec("tritonclient")
    assert package is not None, "install the development dependencies: tritonclient is missing"
    assert package.submodule_search_locations is not None
    path = Path(package.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = spec_from_file_location("triton_model_config", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DEFINITION = _load_definition()


def config_of(folder: Path) -> Any:
    """A model's configuration, as Triton would parse it; an unknown field or a wrong type is an error."""
    text = (folder / "config.pbtxt").read_text(encoding="utf-8")
    return import_module("google.protobuf.text_format").Parse(text, DEFINITION.ModelConfig())


def kind_of(tensor: Any) -> str:
    return str(DEFINITION.DataType.Name(tensor.data_type))


@pytest.fixture
def folder(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def add_plan(folder: Path, name: str, capabilities: tuple[str, ...], **changes: Any) -> Artifact:
    """Put something that passes for an engine into a bundle, with its sidecar."""
    sidecar_changes = changes.pop("sidecar", {})
    artifact = replace(Artifact("tensorrt", name, "fp16", "fp16", input_dtype="float16"), **changes)
    content = f"plan {name}".encode()
    (folder / name).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    sidecar = EngineSidecar(
        flavour="tensorrt",
        tensorrt_version="11.4.0",
        precision="fp16",
        plan=BundleFile(name, digest, len(content)),
        source=(BundleFile(MODEL_NAME, digest, 1),),
        tensors=(
            EngineTensor("volume", "input", (1, 4, *TINY.shape), "float16"),
            EngineTensor("labels", "output", (1, *TINY.shape), "uint8"),
        ),
        compute_capabilities=capabilities,
        gpu=None,
        flags=EngineFlags(3, 1 << 30),
        activation_bytes=1,
        weights_bytes=1,
        layers=LayerSummary(1, 1, ("Half",), digest),
    )
    (folder / sidecar_name(name)).write_text(replace(sidecar, **sidecar_changes).to_json())
    manifest = open_bundle(folder).manifest
    files = (*manifest.files, *describe_files(folder, (name, sidecar_name(name))))
    manifest = replace(manifest, artifacts=(*manifest.artifacts, artifact), files=files)
    (folder / MANIFEST_NAME).write_text(manifest.to_json())
    return artifact


def only_plans(folder: Path) -> Bundle:
    bundle = open_bundle(folder)
    plans = tuple(artifact for artifact in bundle.manifest.artifacts if artifact.kind != "onnx")
    return replace(bundle, manifest=replace(bundle.manifest, artifacts=plans))


def test_an_onnx_bundle_becomes_one_model_with_its_weights_beside_it(folder: Path, tmp_path: Path) -> None:
    written = write_repository(open_bundle(folder), tmp_path / "repository")
    assert written.models == (tmp_path / "repository" / "tiny",)
    assert written.left_out == ()
    found = {str(path.relative_to(tmp_path / "repository")) for path in (tmp_path / "repository").rglob("*")}
    assert found == {"tiny", "tiny/config.pbtxt", "tiny/1", "tiny/1/model.onnx", f"tiny/1/{WEIGHTS_NAME}"}


def test_the_configuration_is_one_that_triton_knows(folder: Path, tmp_path: Path) -> None:
    (model,) = write_repository(open_bundle(folder), tmp_path / "repository").models
    config = config_of(model)
    assert config.name == "tiny"
    assert (config.platform, config.backend) == ("onnxruntime_onnx", "onnxruntime")
    assert config.max_batch_size == 0
    assert config.default_model_filename == "model.onnx"
    (volume,) = config.input
    assert (volume.name, kind_of(volume), list(volume.dims)) == ("volume", "TYPE_FP32", [1, 4, *TINY.shape])
    labels, probabilities = config.output
    assert (labels.name, kind_of(labels), list(labels.dims)) == ("labels", "TYPE_UINT8", [1, *TINY.shape])
    assert (probabilities.name, kind_of(probabilities)) == ("probabilities", "TYPE_FP32")
    assert list(probabilities.dims) == [1, 4, *TINY.shape]
    assert config.version_policy.latest.num_versions == 1
    (group,) = config.instance_group
    assert (group.count, group.kind) == (1, DEFINITION.ModelInstanceGroup.KIND_CPU)
    (warm,) = config.model_warmup
    assert warm.batch_size == 1
    assert warm.inputs["volume"].zero_data
    assert (kind_of(warm.inputs["volume"]), list(warm.inputs["volume"].dims)) == ("TYPE_FP32", list(volume.dims))
    assert config.parameters["eenet_modalities"].string_value == "t1,t1ce,t2,flair"


def test_the_copied_graph_runs_and_has_the_tensors_of_the_configuration(folder: Path, tmp_path: Path) -> None:
    import onnxruntime

    (model,) = write_repository(open_bundle(folder), tmp_path / "repository").models
    session = onnxruntime.InferenceSession(str(model / "1" / "model.onnx"), providers=["CPUExecutionProvider"])
    config = config_of(model)
    types = {"TYPE_FP32": "tensor(float)", "TYPE_UINT8": "tensor(uint8)"}
    for announced, real in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        wanted = {tensor.name: (list(tensor.dims), types[kind_of(tensor)]) for tensor in announced}
        assert {tensor.name: (tensor.shape, tensor.type) for tensor in real} == wanted
    labels, _ = session.run(None, {"volume": np.zeros((1, 4, *TINY.shape), np.float32)})
    assert labels.shape == (1, *TINY.shape)


def test_plans_of_one_precision_become_one_model_that_chooses_by_the_gpu(folder: Path, tmp_path: Path) -> None:
    add_plan(folder, "model.cc86.trt11.4.0.fp16.plan", ("8.6",))
    add_plan(folder, "model.cc90.trt11.4.0.fp16.plan", ("9.0",))
    written = write_repository(open_bundle(folder), tmp_path / "repository", "eenet")
    assert [model.name for model in written.models] == ["eenet-onnx-fp32", "eenet-tensorrt-fp16"]
    config = config_of(written.models[1])
    assert (config.platform, config.backend) == ("tensorrt_plan", "tensorrt")
    assert dict(config.cc_model_filenames) == {
        "8.6": "model.cc86.trt11.4.0.fp16.plan",
        "9.0": "model.cc90.trt11.4.0.fp16.plan",
    }
    assert config.default_model_filename == "", "a GPU without a plan gets none"
    assert config.instance_group[0].kind == DEFINITION.ModelInstanceGroup.KIND_GPU
    assert kind_of(config.input[0]) == "TYPE_FP16"
    for file in config.cc_model_filenames.values():
        assert (written.models[1] / "1" / file).read_bytes() == (folder / file).read_bytes()
    assert not (written.models[1] / "1" / sidecar_name(file)).exists()


def test_a_plan_with_labels_only_is_a_model_of_its_own(folder: Path, tmp_path: Path) -> None:
    add_plan(folder, "a.plan", ("8.6",))
    add_plan(folder, "b.plan", ("8.6",), probabilities_name="")
    written = write_repository(only_plans(folder), tmp_path / "repository", "eenet")
    assert [model.name for model in written.models] == ["eenet-tensorrt-fp16", "eenet-tensorrt-fp16-labels"]
    assert [tensor.name for tensor in config_of(written.models[1]).output] == ["labels"]


def test_a_plan_that_runs_on_any_newer_gpu_is_the_default(folder: Path, tmp_path: Path) -> None:
    flags = EngineFlags(3, 1 << 30, hardware_compatibility=AMPERE_PLUS)
    add_plan(folder, "any.plan", ("8.0",), sidecar={"flags": flags})
    (model,) = write_repository(only_plans(folder), tmp_path / "repository", "eenet").models
    assert model.name == "eenet"
    assert config_of(model).default_model_filename == "any.plan"


def test_what_triton_cannot_serve_is_left_out_and_said(folder: Path, tmp_path: Path) -> None:
    add_plan(folder, "rtx.plan", ("8.6",), kind="tensorrt-rtx")
    add_plan(folder, "vino.xml", ("8.6",), kind="openvino")
    add_plan(folder, "a.plan", ("8.6",))
    add_plan(folder, "again.plan", ("8.6",))
    written = write_repository(open_bundle(folder), tmp_path / "repository")
    assert [sentence.partition(":")[0] for sentence in written.left_out] == ["rtx.plan", "vino.xml", "again.plan"]
    assert "RTX" in written.left_out[0]
    names = {path.name for path in (tmp_path / "repository").rglob("*.plan")}
    assert names == {"a.plan"}


def test_a_bundle_of_rtx_plans_alone_is_refused_with_the_reason(folder: Path, tmp_path: Path) -> None:
    add_plan(folder, "rtx.plan", ("8.6",), kind="tensorrt-rtx")
    with pytest.raises(ExportError, match=r"nothing found that Triton can serve \(rtx\.plan: Triton's tensorrt"):
        write_repository(only_plans(folder), tmp_path / "repository")
    assert not (tmp_path / "repository").exists()


def test_a_plan_without_its_description_is_refused(folder: Path, tmp_path: Path) -> None:
    add_plan(folder, "a.plan", ("8.6",))
    bundle = open_bundle(folder)
    files = tuple(entry for entry in bundle.manifest.files if entry.path != "a.plan.json")
    bundle = replace(bundle, manifest=replace(bundle.manifest, files=files))
    with pytest.raises(BundleError, match=r"a\.plan\.json is not among the hashed files"):
        write_repository(bundle, tmp_path / "repository")


def test_weights_outside_the_bundle_are_refused(folder: Path, tmp_path: Path) -> None:
    import onnx

    proto = onnx.load(folder / MODEL_NAME, load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../secret"
    (folder / MODEL_NAME).write_bytes(proto.SerializeToString())
    manifest = open_manifest_again(folder)
    (folder / MANIFEST_NAME).write_text(manifest.to_json())
    with pytest.raises(ExportError, match=r"its weights are in '\.\./secret'"):
        write_repository(open_bundle(folder), tmp_path / "repository")


def open_manifest_again(folder: Path) -> Any:
    """The manifest with the hashes of the files as they are now."""
    from eenet_runtime.bundle.manifest import Manifest

    manifest = Manifest.from_json((folder / MANIFEST_NAME).read_text(), "manifest")
    return replace(manifest, files=describe_files(folder, tuple(entry.path for entry in manifest.files)))


def test_a_model_that_is_there_is_not_replaced_and_others_stay(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "repository" / "other"
    other.mkdir(parents=True)
    write_repository(open_bundle(folder), tmp_path / "repository")
    with pytest.raises(ExportError, match="tiny: exists already"):
        write_repository(open_bundle(folder), tmp_path / "repository")
    assert {path.name for path in (tmp_path / "repository").iterdir()} == {"other", "tiny"}


@pytest.mark.parametrize("name", ["../up", "a b", ".hidden", "a/b", 'quo"te'])
def test_a_name_that_is_no_folder_name_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ExportError, match="choose one with --name"):
        write_repository(open_bundle(folder), tmp_path / "repository", name)


def test_a_full_disk_leaves_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_plan(folder, "a.plan", ("8.6",))
    original = shutil.copyfile
    copied: list[Path] = []

    def fill(source: Path, target: Path) -> None:
        if len(copied) == 2:
            raise OSError(28, "No space left on device")
        copied.append(target)
        original(source, target)

    monkeypatch.setattr(shutil, "copyfile", fill)
    with pytest.raises(OutputError, match="No space left on device"):
        write_repository(open_bundle(folder), tmp_path / "repository")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_rename_that_fails_takes_the_earlier_ones_back(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_plan(folder, "a.plan", ("8.6",))
    original = Path.rename

    def refuse_second(path: Path, target: Path) -> Path:
        if path.name == "tiny-tensorrt-fp16":
            raise PermissionError(13, "Permission denied")
        return original(path, target)

    monkeypatch.setattr(Path, "rename", refuse_second)
    with pytest.raises(OutputError, match="Permission denied"):
        write_repository(open_bundle(folder), tmp_path / "repository")
    assert list((tmp_path / "repository").iterdir()) == []


def test_the_command_says_what_it_wrote_and_what_not(folder: Path, tmp_path: Path) -> None:
    add_plan(folder, "rtx.plan", ("8.6",), kind="tensorrt-rtx")
    app = typer.Typer()
    app.command()(triton)
    result = CliRunner().invoke(app, [str(folder), str(tmp_path / "repository"), "--name", "glioma"])
    assert result.exit_code == 0, result.output
    assert f"wrote {tmp_path / 'repository' / 'glioma'}" in result.output
    assert "left out rtx.plan: Triton's tensorrt backend" in result.output


def test_text_is_quoted_as_protobuf_reads_it(folder: Path, tmp_path: Path) -> None:
    bundle = open_bundle(folder)
    odd = 'a "quoted" \\ name with ü and 患者'
    bundle = replace(bundle, manifest=replace(bundle.manifest, name=odd))
    (model,) = write_repository(bundle, tmp_path / "repository", "plain").models
    assert config_of(model).parameters["eenet_model"].string_value == odd
    assert json.dumps(odd) in (model / "config.pbtxt").read_text()
