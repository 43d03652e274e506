"""A bundle as a model repository of NVIDIA's Triton Inference Server.

Each runnable form becomes one model: `<name>/config.pbtxt` and `<name>/1/` with its files. ONNX goes to the backend
`onnxruntime`; plans of TensorRT go to `tensorrt`, all plans of one precision in one model, from which Triton picks by
the GPU's compute capability. What Triton cannot serve is left out, and the caller is told why.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from eenet_runtime.bundle.engine_file import AMPERE_PLUS, TENSORRT, EngineSidecar, sidecar_name
from eenet_runtime.bundle.manifest import Artifact, Bundle, Manifest
from eenet_runtime.errors import BundleError, ExportError, OutputError
from eenet_runtime.files.atomic import make_output_folder
from eenet_runtime.volumes.labels import CHANNEL_ORDER, NUM_CLASSES

CONFIG_NAME: Final = "config.pbtxt"
VERSION: Final = "1"
"""The folder of the model's only version; a later one may be put beside it, and the newest is served."""

_DTYPES: Final = {"float32": "TYPE_FP32", "float16": "TYPE_FP16", "uint8": "TYPE_UINT8"}
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LEFT_OUT: Final = {
    "tensorrt-rtx": "Triton's tensorrt backend does not load plans of TensorRT for RTX",
    "native": "the native engine is for this toolkit's own runtime; give Triton an ONNX artefact",
    "openvino": "models of OpenVINO are for this toolkit's own runtime; give Triton an ONNX artefact",
}


@dataclass(frozen=True)
class TritonTensor:
    """One input or output as Triton's configuration has it: all axes, the batch of 1 first."""

    name: str
    dtype: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class TritonModel:
    """One model of the repository.

    Attributes:
        name: its folder.
        backend: `onnxruntime` or `tensorrt`.
        files: name in the version's folder -> file of the bundle.
        inputs, outputs: its tensors.
        default_file: the file that is loaded on any device; empty where only the listed capabilities are served.
        by_capability: compute capability, for example `8.6`, -> name of the plan for it.
        parameters: what a client must know about the input; for readers, no backend looks at it.
    """

    name: str
    backend: str
    files: Mapping[str, Path]
    inputs: tuple[TritonTensor, ...]
    outputs: tuple[TritonTensor, ...]
    default_file: str
    by_capability: Mapping[str, str]
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class Repository:
    """What was written.

    Attributes:
        models: the models' folders.
        left_out: one sentence for each artefact that Triton cannot serve.
    """

    models: tuple[Path, ...]
    left_out: tuple[str, ...]


def write_repository(bundle: Bundle, repository: Path, name: str = "") -> Repository:
    """Write a bundle into a model repository, which may hold other models already.

    Args:
        bundle: the verified bundle.
        repository: the folder that Triton is given; made if it is not there.
        name: of the model; by default the bundle's. With several forms each is called `<name>-<form>`.

    Raises:
        ExportError: nothing that Triton can serve, a name that it cannot have, or a model of that name is there.
        BundleError: an engine without its description.
        OutputError: it cannot be written. Nothing half-written is left.
    """
    models, left_out = plan_models(bundle, name or bundle.manifest.name)
    for model in models:
        if (repository / model.name).exists():
            raise ExportError(f"{repository / model.name}: exists already; choose another name or remove it")
    make_output_folder(repository.resolve().parent)
    with _folder_beside(repository) as folder:
        for model in models:
            _write_model(model, folder / model.name)
        repository.mkdir(exist_ok=True)
        _move_all(folder, repository, [model.name for model in models])
    return Repository(tuple(repository / model.name for model in models), left_out)


def plan_models(bundle: Bundle, name: str) -> tuple[tuple[TritonModel, ...], tuple[str, ...]]:
    """Which models a bundle becomes, and what is left out with the reason; see `write_repository`."""
    if not _NAME.fullmatch(name):
        raise ExportError(f"model name {name!r} found, expected letters, digits, dots, dashes; choose one with --name")
    models: list[TritonModel] = []
    left_out: list[str] = []
    plans: dict[str, list[Artifact]] = {}
    for artifact in bundle.manifest.artifacts:
        if artifact.kind == "onnx":
            models.append(_onnx_model(bundle, artifact, f"{name}-{artifact.form}"))
        elif artifact.kind == TENSORRT:
            outputs = "" if artifact.probabilities_name else "-labels"
            plans.setdefault(f"{name}-{artifact.form}{outputs}", []).append(artifact)
        else:
            reason = _LEFT_OUT.get(artifact.kind, f"Triton has no backend for the kind {artifact.kind}")
            left_out.append(f"{artifact.path}: {reason}")
    for model_name, artifacts in plans.items():
        model, unused = _tensorrt_model(bundle, artifacts, model_name)
        models.append(model)
        left_out += unused
    if not models:
        raise ExportError(f"{bundle.folder}: nothing found that Triton can serve ({'; '.join(left_out)})")
    if len({model.name for model in models}) < len(models):
        raise ExportError(f"{bundle.folder}: two artefacts of one kind and precision found, expected one of each")
    if len(models) == 1:
        models = [replace(models[0], name=name)]
    return tuple(models), tuple(left_out)


def config_text(model: TritonModel) -> str:
    """The text of `config.pbtxt`: a `ModelConfig` in protobuf's text format."""
    gpu = model.backend == "tensorrt"
    platform = "tensorrt_plan" if gpu else "onnxruntime_onnx"
    lines = [
        f"name: {_quoted(model.name)}",
        f"platform: {_quoted(platform)}",
        f"backend: {_quoted(model.backend)}",
        # The batch of 1 is a part of the shape: the network has no other.
        "max_batch_size: 0",
        *(_tensor("input", tensor) for tensor in model.inputs),
        *(_tensor("output", tensor) for tensor in model.outputs),
        "version_policy { latest { num_versions: 1 } }",
        f"instance_group {{ count: 1 kind: {'KIND_GPU' if gpu else 'KIND_CPU'} }}",
    ]
    if model.default_file:
        lines.append(f"default_model_filename: {_quoted(model.default_file)}")
    for capability, file in model.by_capability.items():
        lines.append(f"cc_model_filenames {{ key: {_quoted(capability)} value: {_quoted(file)} }}")
    for key, value in model.parameters.items():
        lines.append(f"parameters {{ key: {_quoted(key)} value {{ string_value: {_quoted(value)} }} }}")
    # The first inference allocates and, on GPUs, chooses kernels: no patient waits for it. Triton's random data can
    # hold NaN, so zeros.
    warm_inputs = " ".join(
        f"inputs {{ key: {_quoted(tensor.name)} value {{ data_type: {_DTYPES[tensor.dtype]} dims: "
        f"{list(tensor.dims)} zero_data: true }} }}"
        for tensor in model.inputs
    )
    lines.append(f'model_warmup {{ name: "zeros" batch_size: 1 {warm_inputs} }}')
    return "\n".join(lines) + "\n"


def _onnx_model(bundle: Bundle, artifact: Artifact, name: str) -> TritonModel:
    graph = bundle.path_of(artifact)
    # Triton's usual name; the graph finds its weights by their name beside it.
    files = {"model.onnx": graph, **{file: bundle.folder / file for file in _weights_files(bundle, graph)}}
    return _model(bundle.manifest, artifact, name, "onnxruntime", files, "model.onnx", {})


def _weights_files(bundle: Bundle, graph: Path) -> tuple[str, ...]:
    """Names of the files that hold a graph's weights; each must be a hashed file of the bundle."""
    try:
        import onnx
    except ImportError as error:
        raise ExportError(f'{graph}: onnx is not installed; install it with: pip install "eenet[export]"') from error
    proto = onnx.load(str(graph), load_external_data=False)
    attributes = (attribute.t for node in proto.graph.node for attribute in node.attribute if attribute.HasField("t"))
    names = {
        entry.value
        for tensor in (*proto.graph.initializer, *attributes)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    hashed = {entry.path for entry in bundle.manifest.files}
    for name in sorted(names):
        if name not in hashed or name == "model.onnx":
            raise ExportError(f"{graph}: its weights are in {name!r}, expected a file that the bundle's manifest names")
    return tuple(sorted(names))


def _tensorrt_model(bundle: Bundle, artifacts: Sequence[Artifact], name: str) -> tuple[TritonModel, list[str]]:
    """One model for all plans of one precision, and what is left out of it."""
    files: dict[str, Path] = {}
    by_capability: dict[str, str] = {}
    unused: list[str] = []
    default = ""
    for artifact in artifacts:
        sidecar = _read_sidecar(bundle, artifact)
        file = Path(artifact.path).name
        free = [capability for capability in sidecar.compute_capabilities if capability not in by_capability]
        if not free:
            taken = ", ".join(sidecar.compute_capabilities)
            unused.append(f"{artifact.path}: an earlier plan serves compute capability {taken}")
            continue
        files[file] = bundle.path_of(artifact)
        by_capability.update(dict.fromkeys(free, file))
        if sidecar.flags.hardware_compatibility == AMPERE_PLUS and not default:
            default = file
    # Without a default file a GPU that no plan was built for gets none, rather than a foreign one.
    return _model(bundle.manifest, artifacts[0], name, "tensorrt", files, default, by_capability), unused


def _read_sidecar(bundle: Bundle, artifact: Artifact) -> EngineSidecar:
    name = sidecar_name(artifact.path)
    if name not in {entry.path for entry in bundle.manifest.files}:
        raise BundleError(f"{bundle.folder}: {name} is not among the hashed files, expected it beside each engine")
    path = bundle.folder / name
    try:
        return EngineSidecar.from_json(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: cannot be read ({error})") from error


def _model(
    manifest: Manifest,
    artifact: Artifact,
    name: str,
    backend: str,
    files: Mapping[str, Path],
    default_file: str,
    by_capability: Mapping[str, str],
) -> TritonModel:
    if artifact.input_dtype not in _DTYPES:
        raise ExportError(f"{artifact.path}: input of type {artifact.input_dtype} found, expected {', '.join(_DTYPES)}")
    shape = manifest.preset.shape
    outputs = [TritonTensor(artifact.labels_name, "uint8", (1, *shape))]
    if artifact.probabilities_name:
        outputs.append(TritonTensor(artifact.probabilities_name, "float32", (1, NUM_CLASSES, *shape)))
    return TritonModel(
        name=name,
        backend=backend,
        files=files,
        inputs=(TritonTensor(artifact.input_name, artifact.input_dtype, (1, len(CHANNEL_ORDER), *shape)),),
        outputs=tuple(outputs),
        default_file=default_file,
        by_capability=by_capability,
        parameters={
            "eenet_model": manifest.name,
            "eenet_modalities": ",".join(manifest.modalities),
            "eenet_axes": manifest.axes,
            "eenet_spacing_mm": f"{manifest.preset.spacing_mm:g}",
            "eenet_normalisation": manifest.normalisation,
        },
    )


def _tensor(field: str, tensor: TritonTensor) -> str:
    dims = ", ".join(map(str, tensor.dims))
    return f"{field} {{ name: {_quoted(tensor.name)} data_type: {_DTYPES[tensor.dtype]} dims: [ {dims} ] }}"


def _quoted(text: str) -> str:
    """A string of protobuf's text format; JSON's escapes are among its own."""
    return json.dumps(text)


def _write_model(model: TritonModel, folder: Path) -> None:
    version = folder / VERSION
    version.mkdir(parents=True)
    for name, source in model.files.items():
        shutil.copyfile(source, version / name)
    (folder / CONFIG_NAME).write_text(config_text(model), encoding="utf-8")


@contextlib.contextmanager
def _folder_beside(repository: Path) -> Iterator[Path]:
    """A temporary folder beside the repository, not in it: a polling Triton would try to load what is half there."""
    repository = repository.resolve()
    folder = repository.with_name(f".{repository.name}.{secrets.token_hex(4)}")
    try:
        folder.mkdir()
        yield folder
    except OSError as error:
        raise OutputError(f"{repository}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move_all(source: Path, target: Path, names: Sequence[str]) -> None:
    """Rename folders into the repository; all of them or none."""
    moved: list[Path] = []
    try:
        for name in names:
            (source / name).rename(target / name)
            moved.append(target / name)
    except OSError:
        for path in moved:
            shutil.rmtree(path, ignore_errors=True)
        raise
