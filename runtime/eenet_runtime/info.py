"""What is installed here and what a bundle is, in a form that people and programs can read."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from eenet_runtime._version import __version__
from eenet_runtime.bundle import Bundle, ParityRow
from eenet_runtime.threads import usable_cpus

_ENGINES: Final = {
    "onnxruntime": ("onnxruntime", 'pip install "eenet[cpu]"'),
    "onnxruntime-gpu": ("onnxruntime-gpu", 'pip install "eenet[gpu]"'),
    "openvino": ("openvino", 'pip install "eenet[cpu]"'),
    "tensorrt": ("tensorrt", 'pip install "eenet[tensorrt]"'),
    "tensorrt-rtx": ("tensorrt-rtx", 'pip install "eenet[rtx]"'),
}


@dataclass(frozen=True)
class EngineInfo:
    """An inference engine: its version here, or how to install it."""

    name: str
    version: str | None
    install: str


@dataclass(frozen=True)
class SystemInfo:
    """This machine, as far as the runtime cares."""

    eenet: str
    python: str
    platform: str
    threads: int
    packages: dict[str, str | None]
    engines: tuple[EngineInfo, ...]


def system_info() -> SystemInfo:
    """Look up versions in the packages' metadata; nothing heavy is imported."""
    engines = tuple(EngineInfo(name, _version(package), install) for name, (package, install) in _ENGINES.items())
    return SystemInfo(
        eenet=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        threads=usable_cpus(),
        packages={name: _version(name) for name in ("numpy", "nibabel", "connected-components-3d", "pillow", "typer")},
        engines=engines,
    )


def describe_system(info: SystemInfo) -> str:
    """The system in words."""
    lines = [f"eenet {info.eenet}, Python {info.python}, {info.platform}, {info.threads} usable processors", "engines:"]
    for engine in info.engines:
        lines.append(f"  {engine.name:16} {engine.version or 'not installed; ' + engine.install}")
    lines.append("packages: " + ", ".join(f"{name} {found or 'missing'}" for name, found in info.packages.items()))
    return "\n".join(lines)


def describe_bundle(bundle: Bundle) -> str:
    """A verified bundle in words."""
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
            f"Dice {', '.join(f'{name} {value:.5f}' for name, value in row.dice.items())}"
            for row in manifest.parity
        ),
    ]
    return "\n".join(lines)


def bundle_as_dict(bundle: Bundle) -> dict[str, Any]:
    """A verified bundle as plain data."""
    return {
        "id": bundle.bundle_id,
        "folder": str(bundle.folder),
        "signature": bundle.signature,
        **asdict(bundle.manifest),
    }


def _difference(row: ParityRow) -> str:
    difference = row.max_abs_difference
    return "labels only" if difference is None else f"probabilities within {difference:.1e}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
