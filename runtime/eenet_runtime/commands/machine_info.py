"""What is installed here, what this machine is, and what a bundle is: in a form that people and programs can read.

Nothing heavy is imported: versions come from the packages' metadata, GPUs from the driver.
"""

from __future__ import annotations

import platform
import re
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from eenet_runtime._version import __version__
from eenet_runtime.backends import engines
from eenet_runtime.backends.engines import EngineSpec, Package
from eenet_runtime.errors import BackendError, BundleError
from eenet_runtime.machine.devices import GpuSurvey, find_gpus
from eenet_runtime.machine.hardware import Memory, Processor, find_memory, find_processor, free_disk_bytes
from eenet_runtime.machine.threads import CpuBudget, cpu_budget

if TYPE_CHECKING:
    from eenet_runtime.bundle.manifest import Bundle, ParityRow

DISTRIBUTION: Final = "eenet"
"""The name that pip knows the toolkit by."""


@dataclass(frozen=True)
class EngineInfo:
    """An inference engine on this machine.

    Attributes:
        name: as `--backend` takes it; `onnxruntime-gpu` is `onnxruntime` on a GPU.
        version: installed here, None if it is not.
        install: what installs it.
        obstacle: why it cannot serve here; empty where it can.
    """

    name: str
    version: str | None
    install: str
    obstacle: str


@dataclass(frozen=True)
class SystemInfo:
    """This machine, as far as the runtime cares.

    Attributes:
        eenet, python, platform: versions.
        threads: threads for one inference, by default.
        cpus: where that number comes from.
        processor, memory, gpus: the hardware.
        disk_free_bytes: in the current folder.
        packages: versions of the packages that the runtime always needs, None for one that is missing.
        engines: inference engines, installed or not.
    """

    eenet: str
    python: str
    platform: str
    threads: int
    cpus: CpuBudget
    processor: Processor
    memory: Memory
    gpus: GpuSurvey
    disk_free_bytes: int | None
    packages: dict[str, str | None]
    engines: tuple[EngineInfo, ...]


@dataclass(frozen=True)
class ServingInfo:
    """What would serve a bundle here, were it loaded now.

    Attributes:
        backend, artifact, device: the first candidate; empty where there is none.
        why: why that one, or why none.
        then: what would be tried after it, were it to fail.
    """

    backend: str
    artifact: str
    device: str
    why: str
    then: tuple[str, ...] = ()


def system_info() -> SystemInfo:
    """Look around."""
    budget, processor, gpus = cpu_budget(), find_processor(), find_gpus()
    return SystemInfo(
        eenet=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        threads=budget.threads,
        cpus=budget,
        processor=processor,
        memory=find_memory(),
        gpus=gpus,
        disk_free_bytes=free_disk_bytes(Path()),
        packages={name: _version(name) for name in _base_packages()},
        engines=tuple(
            _engine_info(name, package, processor, gpus, needs_gpu)
            for spec in engines.ENGINES
            for name, package, needs_gpu in _packages_of(spec)
        ),
    )


def serving_info(bundle: Bundle) -> ServingInfo:
    """What `--backend auto --device auto` would load, and in which order it would try; nothing is loaded."""
    # Not needed to look at the machine, and it takes NumPy and nibabel along.
    from eenet_runtime.backends import candidates

    try:
        found = candidates(bundle)
    except BackendError as error:
        return ServingInfo("", "", "", str(error))
    first = found.first
    later = tuple(f"{choice.name} on {choice.device}, {choice.artifact.path}" for choice in found.choices[1:])
    return ServingInfo(first.name, first.artifact.path, str(first.device), first.why, later)


def describe_system(info: SystemInfo) -> str:
    """The system in words."""
    memory = info.memory
    width = max(len(engine.name) for engine in info.engines)
    limit = "no limit by control group" if memory.limit_bytes is None else f"limited to {_gib(memory.limit_bytes)}"
    lines = [
        f"eenet {info.eenet}, Python {info.python}, {info.platform}",
        f"processor: {info.processor.model}; {', '.join(info.processor.features) or 'instruction sets unknown'}",
        f"threads: {info.cpus.describe()}",
        f"memory: {_gib(memory.total_bytes)}, {_gib(memory.available_bytes)} available, {limit}",
        f"disk: {_gib(info.disk_free_bytes)} free in the current folder",
        *(
            f"GPU cuda:{gpu.index}: {gpu.name}, compute capability {gpu.compute_capability}, "
            f"{_gib(gpu.memory_bytes)}, driver for CUDA {info.gpus.driver}"
            for gpu in info.gpus.gpus
        ),
        *([f"GPU: {info.gpus.why_none}"] if info.gpus.why_none else []),
        "engines:",
        *(f"  {engine.name:{width}} {_engine_in_words(engine)}" for engine in info.engines),
        "packages: " + ", ".join(f"{name} {found or 'missing'}" for name, found in info.packages.items()),
    ]
    return "\n".join(lines)


def describe_serving(info: ServingInfo) -> str:
    """What would serve, in words."""
    if not info.backend:
        return f"serves here: nothing: {info.why}"
    lines = [f"serves here: {info.backend} on {info.device} with {info.artifact}", f"  why: {info.why}"]
    return "\n".join(lines + [f"  if it fails: {entry}" for entry in info.then])


def describe_bundle(bundle: Bundle) -> str:
    """A verified bundle in words."""
    from eenet_runtime.bundle.proof import not_proven_in_words

    manifest = bundle.manifest
    preset = manifest.preset
    lines = [
        f"{manifest.name} ({bundle.folder}), id {bundle.bundle_id}, made {manifest.created}",
        f"preset {preset.name}: {' x '.join(map(str, preset.shape))} voxels of {preset.spacing_mm:g} mm, "
        f"channels {', '.join(manifest.modalities)}",
        f"signature: {bundle.signature}",
        *(
            f"artefact {artifact.path}: {artifact.kind}, arithmetic {artifact.precision}, "
            f"weights {artifact.weights_precision}"
            for artifact in manifest.artifacts
        ),
        *(f"file {entry.path}: {entry.bytes} bytes, SHA-256 {entry.sha256[:16]}, verified" for entry in manifest.files),
        *(f"{key}: {value}" for key, value in manifest.provenance.items() if isinstance(value, str | int | float)),
        *(
            f"parity {row.case_id}, {row.candidate} against {row.reference}: {_difference(row)}, "
            f"Dice {', '.join(_dice(row, region) for region in row.dice)}"
            for row in manifest.parity
        ),
        *([] if manifest.parity else ["parity: nothing was compared"]),
        *not_proven_in_words(manifest.parity),
        f"self-test: {_self_test_in_words(bundle)}",
    ]
    return "\n".join(lines)


def info_as_dict(system: SystemInfo, bundle: Bundle | None = None) -> dict[str, Any]:
    """The system, the bundle and what would serve it, as plain data."""
    return {
        "system": asdict(system),
        "bundle": bundle_as_dict(bundle) if bundle else None,
        "serving": asdict(serving_info(bundle)) if bundle else None,
    }


def bundle_as_dict(bundle: Bundle) -> dict[str, Any]:
    """A verified bundle as plain data."""
    return {
        "id": bundle.bundle_id,
        "folder": str(bundle.folder),
        "signature": bundle.signature,
        **asdict(bundle.manifest),
        "not_proven": bundle.manifest.not_proven,
    }


def _packages_of(spec: EngineSpec) -> list[tuple[str, Package, bool]]:
    """An engine's packages, each with the name of its line and whether it is for a GPU."""
    found = []
    if spec.cpu:
        found.append((spec.name, spec.cpu, False))
    if spec.gpu:
        found.append((f"{spec.name}-gpu" if spec.cpu else spec.name, spec.gpu, True))
    return found


def _engine_info(name: str, package: Package, processor: Processor, gpus: GpuSurvey, needs_gpu: bool) -> EngineInfo:
    found = next((found for entry in package.names if (found := _version(entry)) is not None), None)
    # Where the system does not tell, the engine itself finds out when it is loaded.
    needed = package.features if processor.features else ()
    lacking = [feature.upper() for feature in needed if feature not in processor.features]
    if found is None:
        obstacle = f"not installed; {package.install}"
    elif package.partner and _version(package.partner) is None:
        obstacle = f"{package.partner} is not installed; {package.install}"
    elif needs_gpu and not gpus.gpus:
        obstacle = gpus.why_none
    elif lacking:
        obstacle = f"this processor has no {' and no '.join(lacking)}"
    else:
        obstacle = ""
    return EngineInfo(name, found, package.install, obstacle)


def _engine_in_words(engine: EngineInfo) -> str:
    if engine.version is None:
        return engine.obstacle
    return f"{engine.version}; {'cannot serve: ' + engine.obstacle if engine.obstacle else 'can serve'}"


def _base_packages() -> list[str]:
    """What the toolkit's own metadata says that it always needs."""
    try:
        entries = requires(DISTRIBUTION) or []
    except PackageNotFoundError:  # run from a folder, without an installation
        return []
    return [re.split(r"[^A-Za-z0-9_.-]", entry, maxsplit=1)[0] for entry in entries if "extra ==" not in entry]


def _difference(row: ParityRow) -> str:
    difference = row.max_abs_difference
    return "labels only" if difference is None else f"probabilities within {difference:.1e}"


def _dice(row: ParityRow, region: str) -> str:
    empty = " (no voxel)" if row.region_voxels.get(region) == 0 else ""
    return f"{region} {row.dice[region]:.5f}{empty}"


def _self_test_in_words(bundle: Bundle) -> str:
    """What a self-test has to work with: the golden case, and what the model finds in it."""
    from eenet_runtime.selftest.golden import read_golden

    if not bundle.manifest.golden:
        return "impossible, it has no golden case"
    try:
        return f"golden case {bundle.manifest.golden}: {read_golden(bundle).regions_in_words()}"
    except BundleError as error:
        return f"impossible ({error})"


def _gib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 2**30:.1f} GiB"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
