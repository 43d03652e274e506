"""An engine into a bundle: plan, sidecar and layer report first, the manifest that names them last."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from eenet_export.engines.build import BuildTarget, BuiltEngine, build_engine, find_target
from eenet_export.engines.names import plan_name
from eenet_export.engines.norm_stress import build_norm_stress
from eenet_export.engines.settings import EngineSettings, Progress
from eenet_export.engines.source import SourceGraph, read_source
from eenet_runtime.bundle.engine_file import (
    EngineFlags,
    EngineSidecar,
    EngineTensor,
    layer_report_name,
    norm_stress_name,
    sidecar_name,
)
from eenet_runtime.bundle.manifest import MANIFEST_NAME, Artifact, Bundle, BundleFile, Manifest, open_bundle
from eenet_runtime.errors import BundleError
from eenet_runtime.files.atomic import write_atomically
from eenet_runtime.volumes.labels import Label
from eenet_runtime.volumes.presets import GeometryPreset


@dataclass(frozen=True)
class AddedEngine:
    """An engine of a bundle.

    Attributes:
        plan, sidecar_path, report: its files.
        norm_stress: the plan of one group norm that a self-test runs on the GPU; None for an engine in FP32.
        built: False where it was there already, from the same graph and with the same settings.
        sidecar: what the sidecar says.
    """

    plan: Path
    sidecar_path: Path
    report: Path
    norm_stress: Path | None
    built: bool
    sidecar: EngineSidecar

    @property
    def paths(self) -> list[Path]:
        """All its files."""
        files = [self.plan, self.sidecar_path, self.report]
        return files if self.norm_stress is None else [*files, self.norm_stress]


def add_engine(
    folder: Path, settings: EngineSettings, on_progress: Progress = lambda fraction, phase: None
) -> AddedEngine:
    """Build an engine from a bundle's ONNX artefact and add it to the bundle.

    An engine that is there already is kept if it was built from the same files, by the same version, for the same
    place and with the same settings; another one of the same name is replaced. Killed at any moment, the bundle is
    valid: with the old engine, without, or with the new one. Its agreement with Keras is measured later, on the GPU
    that runs it; a signature must be made again.

    Args:
        folder: the bundle.
        settings: what the engine shall be.
        on_progress: see `build_engine`.

    Raises:
        BundleError: the bundle is damaged.
        ExportError: no ONNX artefact of this precision, a library or GPU that is missing, or a build that fails.
        OutputError: a file cannot be written.
        KeyboardInterrupt: the user stopped the build; nothing was written.
    """
    bundle = open_bundle(folder)
    target = find_target(settings)
    source = read_source(bundle, settings.precision)
    tensors = engine_tensors(source.artifact, bundle.manifest.preset, settings.with_probabilities)
    name = plan_name(
        source.artifact.path,
        settings.precision,
        target.flavour.version,
        target.compute_capabilities,
        gpu="" if target.gpu is None else target.gpu.name,
        compatibility=settings.hardware_compatibility,
    )
    existing = _existing_engine(bundle, name)
    if existing is not None and _is_same(existing, source, tensors, settings, target):
        return _added(folder, existing, built=False)
    built = build_engine(source.model, source.artifact.path, tensors, settings, target, on_progress)
    sidecar = _describe(name, source, settings, target, built)
    # In FP32 there is nothing to prove: only half precision can lose a group's sums.
    stress = build_norm_stress(settings, target) if settings.precision == "fp16" else b""
    _write(folder, sidecar, built, source.artifact, stress)
    if settings.timing_cache is not None:
        write_atomically(settings.timing_cache, built.timing_cache)
    return _added(folder, sidecar, built=True)


def engine_tensors(
    artifact: Artifact, preset: GeometryPreset, with_probabilities: bool | None = None
) -> tuple[EngineTensor, ...]:
    """The inputs and outputs of an engine that is built from an ONNX artefact.

    Args:
        artifact: the ONNX artefact.
        preset: its geometry.
        with_probabilities: None for whether the runtime needs them: probabilities, not labels, are brought back from
            a grid that is not the file's.
    """
    if with_probabilities is None:
        with_probabilities = preset.spacing_mm != 1.0
    classes = (1, len(Label), *preset.shape)
    volume = EngineTensor(artifact.input_name, "input", classes, artifact.input_dtype)
    labels = EngineTensor(artifact.labels_name, "output", (1, *preset.shape), "uint8")
    probabilities = EngineTensor(artifact.probabilities_name, "output", classes, "float32")
    return (volume, labels, probabilities) if with_probabilities else (volume, labels)


def _existing_engine(bundle: Bundle, name: str) -> EngineSidecar | None:
    """The sidecar of an engine of this name, if the manifest knows one that can be read."""
    names = {entry.path for entry in bundle.manifest.files}
    expected = {name, sidecar_name(name), layer_report_name(name)}
    if name.endswith(".fp16.plan"):
        expected.add(norm_stress_name(name))
    if not expected <= names:
        return None
    path = bundle.folder / sidecar_name(name)
    try:
        return EngineSidecar.from_json(path.read_text(encoding="utf-8"), str(path))
    except (BundleError, OSError, UnicodeDecodeError):
        return None


def _is_same(
    existing: EngineSidecar,
    source: SourceGraph,
    tensors: tuple[EngineTensor, ...],
    settings: EngineSettings,
    target: BuildTarget,
) -> bool:
    """Whether a build would make the same engine. The timing cache is left out: each build adds to it."""
    wanted = EngineFlags(settings.opt_level, settings.workspace_bytes, settings.hardware_compatibility)
    return (
        existing.source == source.files
        and set(existing.tensors) == set(tensors)
        and replace(existing.flags, timing_cache_sha256="") == wanted
        and (existing.flavour, existing.tensorrt_version) == (target.flavour.name, target.flavour.version)
        and (existing.precision, existing.gpu) == (settings.precision, target.gpu)
        and existing.compute_capabilities == target.compute_capabilities
    )


def _describe(
    name: str, source: SourceGraph, settings: EngineSettings, target: BuildTarget, built: BuiltEngine
) -> EngineSidecar:
    return EngineSidecar(
        flavour=target.flavour.name,
        tensorrt_version=target.flavour.version,
        precision=settings.precision,
        plan=_file(name, built.plan),
        source=source.files,
        tensors=built.tensors,
        compute_capabilities=target.compute_capabilities,
        gpu=target.gpu,
        flags=built.flags,
        activation_bytes=built.report.activation_bytes,
        weights_bytes=built.report.weights_bytes,
        layers=built.report.summary(),
        tools={"eenet": version("eenet"), "onnx": version("onnx")},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _write(folder: Path, sidecar: EngineSidecar, built: BuiltEngine, source: Artifact, stress: bytes) -> None:
    name = sidecar.plan.path
    contents = {
        name: built.plan,
        layer_report_name(name): built.report.to_json().encode(),
        sidecar_name(name): sidecar.to_json().encode(),
    }
    if stress:
        contents[norm_stress_name(name)] = stress
    gives = {tensor.name for tensor in sidecar.tensors}
    artifact = replace(
        source,
        kind=sidecar.flavour,
        path=name,
        probabilities_name=source.probabilities_name if source.probabilities_name in gives else "",
    )
    # Read again: a build takes minutes, and another engine may have come into the bundle meanwhile.
    before = open_bundle(folder).manifest
    without = _without(before, artifact, frozenset(contents))
    if without != before:
        # The old manifest names an engine that is about to be overwritten; a kill in between must leave a bundle.
        write_atomically(folder / MANIFEST_NAME, without.to_json().encode())
    for file_name, content in contents.items():
        write_atomically(folder / file_name, content)
    files = tuple(_file(file_name, content) for file_name, content in contents.items())
    after = replace(without, artifacts=(*without.artifacts, artifact), files=(*without.files, *files))
    write_atomically(folder / MANIFEST_NAME, after.to_json().encode())


def _without(manifest: Manifest, artifact: Artifact, files: frozenset[str]) -> Manifest:
    """A manifest without an engine, its files and what was measured with engines of this form: this one is new."""
    return replace(
        manifest,
        artifacts=tuple(entry for entry in manifest.artifacts if entry.path != artifact.path),
        files=tuple(entry for entry in manifest.files if entry.path not in files),
        parity=tuple(row for row in manifest.parity if artifact.form not in (row.reference, row.candidate)),
    )


def _added(folder: Path, sidecar: EngineSidecar, *, built: bool) -> AddedEngine:
    plan = folder / sidecar.plan.path
    return AddedEngine(
        plan=plan,
        sidecar_path=folder / sidecar_name(plan.name),
        report=folder / layer_report_name(plan.name),
        norm_stress=folder / norm_stress_name(plan.name) if sidecar.precision == "fp16" else None,
        built=built,
        sidecar=sidecar,
    )


def _file(name: str, content: bytes) -> BundleFile:
    return BundleFile(name, hashlib.sha256(content).hexdigest(), len(content))
