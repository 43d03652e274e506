"""Which engine runs which artefact on which device, and why (docs/decisions/0025-devices-and-embedding.md).

What is asked for by name is never replaced. What is left to `auto` is a list of candidates, the fastest first; whoever
loads them takes the first that loads and, on a GPU, proves itself on the bundle's golden case. Nothing is loaded here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Final

from eenet_runtime.backends import engines
from eenet_runtime.backends.engines import AUTO, EngineSpec, engine_named
from eenet_runtime.bundle.engine_file import FLAVOURS, EngineSidecar, check_fit, sidecar_name
from eenet_runtime.bundle.manifest import Artifact, Bundle
from eenet_runtime.errors import BackendError, BundleError, EENetError
from eenet_runtime.machine.devices import CPU, Device, GpuInfo, find_gpus, parse_device

_PREFERRED_DEVICES: Final = (Device("cuda"), CPU)
"""Where an engine that runs on both computes when nobody says where, the first that is there."""


@dataclass(frozen=True)
class Choice:
    """Which engine runs which artefact where, and why.

    Attributes:
        name: the engine, as `engines.ENGINES` calls it.
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


def choose(bundle: Bundle, *, backend: str = AUTO, device: str = "auto", precision: str | None = None) -> Choice:
    """The first of `candidates`."""
    return candidates(bundle, backend=backend, device=device, precision=precision).first


def candidates(
    bundle: Bundle, *, backend: str = AUTO, device: str = "auto", precision: str | None = None
) -> Candidates:
    """Find what can run a bundle here.

    Args:
        bundle: the verified bundle.
        backend: one of `engines.backend_names`. `auto` takes on a GPU an engine of the bundle that was built for it,
            else ONNX Runtime where its GPU package is installed; on a CPU the fastest engine that is installed.
        device: `auto`, `cpu`, `cuda` or `cuda:n`. `auto` takes the first GPU where something runs on it, else the CPU.
        precision: precision of the artefact, such as `fp32`; `EngineSpec.precision` is the default; of the engines for
            a GPU the first in the bundle that fits the GPU.

    Raises:
        BackendError: an unknown name or device, an engine that does not run on that device, or nothing that fits; the
            message says why, and lists the artefacts that the bundle has.
    """
    wanted = parse_device(device)
    if backend == AUTO:
        return _automatic(bundle, precision, wanted)
    spec = engine_named(backend)
    if wanted.kind not in ("auto", *spec.runs_on):
        raise BackendError(f"{spec.name} runs on {' or '.join(spec.runs_on)}, device {wanted} was asked for")
    why = f"{spec.name} was asked for"
    if wanted.kind != "auto":
        return Candidates((_choice(bundle, spec, precision, wanted, why),))
    devices = [entry for entry in _PREFERRED_DEVICES if entry.kind in spec.runs_on]
    usable = [entry for entry in devices if entry == CPU or len(devices) == 1 or _gpu_obstacle(spec, entry) is None]
    return Candidates(tuple(_choice(bundle, spec, precision, entry, why) for entry in usable))


def _automatic(bundle: Bundle, precision: str | None, wanted: Device) -> Candidates:
    """Every engine that can run the bundle: those on a GPU, then those on the CPU."""
    gpu = Device("cuda", wanted.index)
    # On a machine that nobody expects a GPU in, `auto` says nothing about engines for one.
    considered = [
        _consider(bundle, spec, precision, gpu)
        for spec in engines.ENGINES
        if spec.gpu and spec.in_auto and wanted.kind != "cpu"
        if wanted.kind == "cuda" or _speaks_for_a_gpu(bundle, spec)
    ]
    choices = [entry for entry in considered if isinstance(entry, Choice)]
    turned_down = [entry for entry in considered if isinstance(entry, str)]
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


def _consider(bundle: Bundle, spec: EngineSpec, precision: str | None, gpu: Device) -> Choice | str:
    """An engine on a GPU, or why it is turned down there."""
    refusal = f"{spec.name} on {gpu} was turned down: "
    if (obstacle := _gpu_obstacle(spec, gpu)) is not None:
        return refusal + obstacle
    found = find_gpus().gpus[gpu.index]
    why = f"auto takes {spec.name} on {gpu}: {found.name}, compute capability {found.compute_capability}"
    try:
        choice = _choice(bundle, spec, precision, gpu, why)
        if spec.kind in FLAVOURS:
            _check_plan(bundle, choice.artifact, spec.kind, found)
    except EENetError as error:
        return refusal + str(error)
    return choice


def _on_cpu(bundle: Bundle, precision: str | None) -> list[Choice]:
    """The CPU engines that are installed, the fastest first."""
    on_cpu = [spec for spec in engines.ENGINES if spec.cpu and spec.in_auto]
    kinds = {artifact.kind for artifact in bundle.manifest.artifacts}
    choices: list[Choice] = []
    passed_over: list[str] = []
    refused: BackendError | None = None
    for spec in on_cpu:
        # Bundles need not have artefacts that only one engine runs; nothing is missing then.
        if spec.has_own_kind and spec.kind not in kinds:
            continue
        if (obstacle := _cpu_obstacle(spec)) is not None:
            passed_over.append(obstacle)
            continue
        why = f"auto takes {spec.name}: {'; '.join(passed_over) or 'the fastest CPU engine, and installed'}"
        try:
            choices.append(_choice(bundle, spec, precision, CPU, why))
        except BackendError as error:
            refused = refused or error
            passed_over.append(f"{spec.name} has no artefact in that precision")
    if choices:
        return choices
    if refused is not None:
        raise refused
    for_any_bundle = " nor ".join(spec.name for spec in on_cpu if not spec.has_own_kind)
    raise BackendError(f'no inference engine: neither {for_any_bundle} is installed; run: pip install "eenet[cpu]"')


def _choice(bundle: Bundle, spec: EngineSpec, precision: str | None, device: Device, why: str) -> Choice:
    """An engine with the artefact that it takes.

    Raises:
        BackendError: the bundle has none for it.
    """
    wanted = precision or spec.precision
    fitting = [
        item for item in bundle.manifest.artifacts if item.kind == spec.kind and wanted in (None, item.precision)
    ]
    if not fitting:
        listed = ", ".join(f"{artifact.path} ({artifact.form})" for artifact in bundle.manifest.artifacts)
        expected = f"{spec.kind}-{wanted}" if wanted else spec.kind
        raise BackendError(f"{bundle.folder}: artefacts {listed} found, {spec.name} needs {expected}")
    artifact = _first_for(bundle, spec, device, fitting) if len(fitting) > 1 else fitting[0]
    return Choice(spec.name, artifact, f"{why}; {artifact.path}: {_why_artifact(spec, device, precision)}", device)


def _first_for(bundle: Bundle, spec: EngineSpec, device: Device, artifacts: Sequence[Artifact]) -> Artifact:
    """The first of several plans that was built for this GPU; the first of all where none was, or nobody knows."""
    gpus = find_gpus().gpus if spec.kind in FLAVOURS else ()
    if device.index >= len(gpus):
        return artifacts[0]
    for artifact in artifacts:
        try:
            _check_plan(bundle, artifact, spec.kind, gpus[device.index])
        except EENetError:
            continue
        return artifact
    return artifacts[0]


def _why_artifact(spec: EngineSpec, device: Device, precision: str | None) -> str:
    if precision is not None:
        return f"{precision} was asked for"
    if spec.precision is None:
        return f"the first {spec.kind} artefact of the bundle"
    who = "CPU engines take" if device == CPU else f"{spec.name} takes"
    return f"{who} {spec.precision} unless another precision is asked for"


def _check_plan(bundle: Bundle, artifact: Artifact, flavour: str, gpu: GpuInfo) -> None:
    """Refuse a plan that was built for something else, by what its sidecar says; its bytes are not looked at."""
    path = bundle.folder / sidecar_name(artifact.path)
    try:
        sidecar = EngineSidecar.from_json(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: cannot be read ({error})") from error
    # Distributions of TensorRT go by several names; where this one is unknown the version is checked when it loads.
    installed = _version(flavour) or sidecar.tensorrt_version
    check_fit(sidecar, flavour, installed, gpu.compute_capability)


def _speaks_for_a_gpu(bundle: Bundle, spec: EngineSpec) -> bool:
    """Whether somebody meant this machine to compute with an engine on a GPU."""
    if spec.has_own_kind:
        return any(artifact.kind == spec.kind for artifact in bundle.manifest.artifacts)
    return spec.gpu is not None and any(_version(name) is not None for name in spec.gpu.names)


def _cpu_obstacle(spec: EngineSpec) -> str | None:
    """Why an engine cannot run on this CPU, whatever the bundle holds; None where it can."""
    return spec.obstacle() if installed(spec) else f"{spec.name} is not installed"


def _gpu_obstacle(spec: EngineSpec, device: Device) -> str | None:
    """Why an engine cannot run on a GPU here, whatever the bundle holds; None where it can."""
    if not installed(spec):
        return f"{spec.module} is not installed"
    # The module of an engine that runs on both may be the one without GPUs; others go by several names.
    if spec.gpu and not spec.has_own_kind and all(_version(name) is None for name in spec.gpu.names):
        return f"{spec.gpu.names[0]} is not installed; run: {spec.gpu.install}"
    survey = find_gpus()
    if device.index < len(survey.gpus):
        return None
    return survey.why_none or f"GPU {device.index} is not there, {len(survey.gpus)} found (the first is 0)"


def installed(spec: EngineSpec) -> bool:
    """Whether an engine's module is there, found without importing it."""
    return find_spec(spec.module) is not None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
