"""Which engine runs which artefact on which device, and why (docs/decisions/0025-devices-and-embedding.md).

What is asked for by name is never replaced. What is left to `auto` is a list of candidates, the fastest first; whoever
loads them takes the first that loads and, on a GPU, proves itself on the bundle's golden case. Nothing is loaded here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Final

from eenet_runtime.bundle.engine_file import FLAVOURS, EngineSidecar, check_fit, sidecar_name
from eenet_runtime.bundle.manifest import Artifact, Bundle
from eenet_runtime.errors import BackendError, BundleError, EENetError
from eenet_runtime.machine.devices import CPU, Device, GpuInfo, find_gpus, parse_device

BACKEND_NAMES: Final = (
    "auto",
    "native",
    "onnxruntime",
    "onnxruntime-tensorrt",
    "openvino",
    "tensorrt",
    "tensorrt-rtx",
)

_CPU_ENGINES: Final = ("native", "openvino", "onnxruntime")
"""What `auto` tries on a CPU, the fastest first (docs/decisions/0019-cpu-engines.md, 0027-native-backend.md)."""
_GPU_ENGINES: Final = ("tensorrt", "tensorrt-rtx", "onnxruntime")
"""What `auto` tries on a GPU, the faster first."""
_RUNS_ON: Final[Mapping[str, tuple[str, ...]]] = {
    "native": ("cpu",),
    "onnxruntime": ("cpu", "cuda"),
    "onnxruntime-tensorrt": ("cuda",),
    "openvino": ("cpu",),
    "tensorrt": ("cuda",),
    "tensorrt-rtx": ("cuda",),
}
_KINDS: Final[Mapping[str, str]] = {"onnxruntime": "onnx", "onnxruntime-tensorrt": "onnx", "openvino": "onnx"}
"""The kind of artefact that an engine runs, where the two have different names."""
_MODULES: Final[Mapping[str, str]] = {
    "native": "eenet_native",
    "onnxruntime-tensorrt": "onnxruntime",
    "tensorrt-rtx": "tensorrt_rtx",
}
"""The module of an engine, where it has another name."""
_ORT_GPU_PACKAGE: Final = "onnxruntime-gpu"
_PRECISIONS: Final[Mapping[str, str]] = {
    "native": "fp32",
    "openvino": "fp32",
    "onnxruntime": "fp32",
    "onnxruntime-tensorrt": "fp16",
}
"""What an engine runs unless somebody asks for another precision. A CPU computes FP16 graphs in FP32, so they bring
nothing there, and INT8 changes masks; ONNX Runtime's TensorRT computes FP32 graphs in TF32, which they do not name."""


@dataclass(frozen=True)
class Choice:
    """Which engine runs which artefact where, and why.

    Attributes:
        name: the engine, one of `BACKEND_NAMES` but not `auto`.
        artifact: what it runs.
        why: the reasons, in one line.
        device: `cpu` or a GPU.
    """

    name: str
    artifact: Artifact
    why: str
    device: Device = CPU


@dataclass(frozen=True)
class Candidates:
    """What could serve, best first, and what cannot.

    Attributes:
        choices: at least one.
        turned_down: the others that were looked at, each with the reason.
    """

    choices: tuple[Choice, ...]
    turned_down: tuple[str, ...] = ()

    @property
    def first(self) -> Choice:
        """The best choice; its reasons end with what was turned down before it."""
        choice = self.choices[0]
        return replace(choice, why="; ".join((choice.why, *self.turned_down)))

    def without_first(self, error: EENetError) -> Candidates:
        """What is left after the best choice failed; its `choices` may be empty."""
        failed = self.choices[0]
        reason = f"{failed.name} on {failed.device} was turned down: {error}"
        return Candidates(self.choices[1:], (*self.turned_down, reason))


def choose(bundle: Bundle, name: str = "auto", precision: str | None = None, device: str = "auto") -> Choice:
    """The first of `candidates`."""
    return candidates(bundle, name, precision, device).first


def candidates(bundle: Bundle, name: str = "auto", precision: str | None = None, device: str = "auto") -> Candidates:
    """Find what can run a bundle here.

    Args:
        bundle: the verified bundle.
        name: one of `BACKEND_NAMES`. `auto` takes on a GPU an engine of the bundle that was built for it, else ONNX
            Runtime where its GPU package is installed; on a CPU the fastest engine that is installed.
        precision: precision of the artefact, such as `fp32`; see `_PRECISIONS` for the default; of the engines for a
            GPU the first in the bundle that fits the GPU.
        device: `auto`, `cpu`, `cuda` or `cuda:n`. `auto` takes the first GPU where something runs on it, else the CPU.

    Raises:
        BackendError: an unknown name or device, an engine that does not run on that device, or nothing that fits; the
            message says why, and lists the artefacts that the bundle has.
    """
    wanted = parse_device(device)
    if name not in BACKEND_NAMES:
        raise BackendError(f"unknown backend {name!r}; known backends: {', '.join(BACKEND_NAMES)}")
    if name == "auto":
        return _automatic(bundle, precision, wanted)
    runs_on = _RUNS_ON[name]
    if wanted.kind not in ("auto", *runs_on):
        raise BackendError(f"{name} runs on {' or '.join(runs_on)}, device {wanted} was asked for")
    why = f"{name} was asked for"
    if wanted.kind != "auto":
        return Candidates((_choice(bundle, name, precision, wanted, why),))
    # Where the device is left open and both will do, a GPU comes first, as in `auto`.
    devices = [Device(kind) for kind in sorted(runs_on, reverse=True)]
    usable = [entry for entry in devices if entry == CPU or len(devices) == 1 or not _gpu_obstacle(name, entry)]
    return Candidates(tuple(_choice(bundle, name, precision, entry, why) for entry in usable))


def _automatic(bundle: Bundle, precision: str | None, wanted: Device) -> Candidates:
    """Every engine that can run the bundle: those on a GPU, then those on the CPU."""
    choices: list[Choice] = []
    turned_down: list[str] = []
    if wanted.kind != "cpu":
        gpu = Device("cuda", wanted.index)
        for name in _GPU_ENGINES:
            # On a machine that nobody expects a GPU in, `auto` says nothing about engines for one.
            if wanted.kind == "cuda" or _speaks_for_a_gpu(bundle, name):
                _consider(bundle, name, precision, gpu, choices, turned_down)
    if wanted.kind == "cuda":
        if not choices:
            raise BackendError(f"{bundle.folder}: nothing runs it on {wanted}: {'; '.join(turned_down)}")
        return Candidates(tuple(choices), tuple(turned_down))
    try:
        choices += _on_cpu(bundle, precision)
    except BackendError as error:
        if not choices:
            raise
        turned_down.append(str(error))
    return Candidates(tuple(choices), tuple(turned_down))


def _consider(
    bundle: Bundle, name: str, precision: str | None, gpu: Device, choices: list[Choice], turned_down: list[str]
) -> None:
    """Add an engine for a GPU to the choices, or its reason to those turned down."""
    if obstacle := _gpu_obstacle(name, gpu):
        turned_down.append(f"{name} on {gpu} was turned down: {obstacle}")
        return
    found = find_gpus().gpus[gpu.index]
    why = f"auto takes {name} on {gpu}: {found.name}, compute capability {found.compute_capability}"
    try:
        choice = _choice(bundle, name, precision, gpu, why)
        if name in FLAVOURS:
            _check_plan(bundle, choice.artifact, name, found)
    except EENetError as error:
        turned_down.append(f"{name} on {gpu} was turned down: {error}")
        return
    choices.append(choice)


def _on_cpu(bundle: Bundle, precision: str | None) -> list[Choice]:
    """The CPU engines that are installed, the fastest first."""
    choices: list[Choice] = []
    passed_over: list[str] = []
    refused: BackendError | None = None
    for engine in _CPU_ENGINES:
        # Bundles need not have the native artefact; nothing is missing then.
        if engine == "native" and not any(artifact.kind == engine for artifact in bundle.manifest.artifacts):
            continue
        if obstacle := _cpu_obstacle(engine):
            passed_over.append(obstacle)
            continue
        why = f"auto takes {engine}: {'; '.join(passed_over) or 'the fastest CPU engine, and installed'}"
        try:
            choices.append(_choice(bundle, engine, precision, CPU, why))
        except BackendError as error:
            refused = refused or error
            passed_over.append(f"{engine} has no artefact in that precision")
    if choices:
        return choices
    if refused is not None:
        raise refused
    raise BackendError(
        f'no inference engine: neither {" nor ".join(_CPU_ENGINES[1:])} is installed; run: pip install "eenet[cpu]"'
    )


def _choice(bundle: Bundle, name: str, precision: str | None, device: Device, why: str) -> Choice:
    """An engine with the artefact that it takes.

    Raises:
        BackendError: the bundle has none for it.
    """
    kind, wanted = _KINDS.get(name, name), precision or _PRECISIONS.get(name)
    fitting = [item for item in bundle.manifest.artifacts if item.kind == kind and wanted in (None, item.precision)]
    if not fitting:
        listed = ", ".join(f"{artifact.path} ({artifact.form})" for artifact in bundle.manifest.artifacts)
        expected = f"{kind}-{wanted}" if wanted else kind
        raise BackendError(f"{bundle.folder}: artefacts {listed} found, {name} needs {expected}")
    artifact = _first_for(bundle, name, device, fitting) if len(fitting) > 1 else fitting[0]
    return Choice(name, artifact, f"{why}; {artifact.path}: {_why_artifact(name, device, precision)}", device)


def _first_for(bundle: Bundle, name: str, device: Device, artifacts: Sequence[Artifact]) -> Artifact:
    """The first of several plans that was built for this GPU; the first of all where none was, or nobody knows."""
    gpus = find_gpus().gpus if name in FLAVOURS else ()
    for artifact in artifacts if device.index < len(gpus) else ():
        try:
            _check_plan(bundle, artifact, name, gpus[device.index])
        except EENetError:
            continue
        return artifact
    return artifacts[0]


def _why_artifact(name: str, device: Device, precision: str | None) -> str:
    if precision is not None:
        return f"{precision} was asked for"
    if name in FLAVOURS:
        return f"the first {name} artefact of the bundle"
    who = "CPU engines take" if device == CPU else f"{name} takes"
    return f"{who} {_PRECISIONS[name]} unless another precision is asked for"


def _check_plan(bundle: Bundle, artifact: Artifact, name: str, gpu: GpuInfo) -> None:
    """Refuse a plan that was built for something else, by what its sidecar says; its bytes are not looked at."""
    path = bundle.folder / sidecar_name(artifact.path)
    try:
        sidecar = EngineSidecar.from_json(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: cannot be read ({error})") from error
    # Distributions of TensorRT go by several names; where this one is unknown the version is checked when it loads.
    installed = _version(name) or sidecar.tensorrt_version
    check_fit(sidecar, name, installed, gpu.compute_capability)


def _speaks_for_a_gpu(bundle: Bundle, name: str) -> bool:
    """Whether somebody meant this machine to compute with an engine on a GPU."""
    if name in FLAVOURS:
        return any(artifact.kind == name for artifact in bundle.manifest.artifacts)
    return _version(_ORT_GPU_PACKAGE) is not None


def _cpu_obstacle(name: str) -> str:
    """Why an engine cannot run on this CPU, whatever the bundle holds; empty where it can."""
    if not _installed(name):
        return f"{name} is not installed"
    if name == "native":
        from eenet_runtime.backends.native_backend import obstacle

        return obstacle()
    return ""


def _gpu_obstacle(name: str, device: Device) -> str:
    """Why an engine cannot run on a GPU here, whatever the bundle holds; empty where it can."""
    if not _installed(name):
        return f"{_MODULES.get(name, name)} is not installed"
    if name not in FLAVOURS and _version(_ORT_GPU_PACKAGE) is None:
        return f'{_ORT_GPU_PACKAGE} is not installed; run: pip install "eenet[gpu]"'
    survey = find_gpus()
    if device.index < len(survey.gpus):
        return ""
    return survey.why_none or f"GPU {device.index} is not there, {len(survey.gpus)} found (the first is 0)"


def _installed(name: str) -> bool:
    """Whether an engine's package is there, found without importing it."""
    return find_spec(_MODULES.get(name, name)) is not None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
