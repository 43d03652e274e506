"""From a training run to a bundle: convert, derive, prove, describe, and only then give it its name."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np

from eenet_export.bundle.native import native_artifact
from eenet_export.bundle.source import SourceModel
from eenet_export.gate.gate import (
    Form,
    artifact_forms,
    case_hashes,
    choose_cases,
    keras_function,
    measure,
    read_cases,
    unproved_bundle,
)
from eenet_export.gate.golden import make_golden, write_golden
from eenet_export.gate.parity import KERAS, ORACLE, UNROUNDED, ParityCase, ParityLimits, Volume, require_parity
from eenet_export.gate.range_audit import RangeAudit, audit_ranges
from eenet_export.gate.workshop import Workshop
from eenet_export.graph.graphs import FP16_FILE, FP32_FILE, INT8_FILE, WEIGHTS_FILE, load_graph, write_fp16, write_fp32
from eenet_export.graph.plane import PLANE_FILE, write_plane
from eenet_runtime.backends.native_backend import obstacle
from eenet_runtime.bundle.manifest import (
    MANIFEST_NAME,
    Artifact,
    Bundle,
    Manifest,
    ParityRow,
    PostprocessingSettings,
    describe_files,
    open_bundle,
)
from eenet_runtime.errors import BackendError, ExportError, ParityError
from eenet_runtime.files.atomic import remove_leftovers, write_atomically
from eenet_runtime.selftest.golden import GOLDEN_NAME, NO_TUMOUR
from eenet_runtime.volumes.pose import Pose
from eenet_train.network.weights import WeightPrecision, round_weights

_TOOLS: Final = (
    "eenet",
    "tensorflow",
    "keras",
    "tf2onnx",
    "onnx",
    "onnx-ir",
    "onnxruntime",
    "openvino",
    "tensorrt-rtx",
    "eenet-native",
    "numpy",
)
ENGINE: Final = "tensorrt-rtx"
"""The engine that is built without a GPU, where its package is installed."""
FILES: Final = {"fp32": FP32_FILE, "fp16": FP16_FILE, "int8": INT8_FILE}
"""The graph of each precision."""


@dataclass(frozen=True)
class ExportSettings:
    """What a bundle shall be.

    Attributes:
        name: the model's name; by default the output folder's.
        weights: precision of the stored kernels.
        precisions: arithmetic of the graphs: `fp32`, and `fp16`, which must pass the gate, and `int8`, which is left
            out if it does not.
        half_input: whether the FP16 graph reads FP16.
        engine: whether an engine of TensorRT for RTX is built, where that is installed.
        native: whether the native engine's artefact is made, where that is installed.
        max_cases: how many cases the agreement is measured on.
        limits: what counts as agreement.
        postprocessing: defaults for the runtime.
        note: one sentence for the manifest, for example what the model must not be used for.
        pose: which way the training's heads lie; None for what the training says.
    """

    name: str = ""
    weights: WeightPrecision = WeightPrecision.FP32
    precisions: tuple[str, ...] = ("fp32",)
    half_input: bool = False
    engine: bool = False
    native: bool = True
    max_cases: int = 2
    limits: ParityLimits = field(default_factory=ParityLimits)
    postprocessing: PostprocessingSettings = field(default_factory=PostprocessingSettings)
    note: str = ""
    pose: Pose | None = None

    def __post_init__(self) -> None:
        if "fp32" not in self.precisions or not set(self.precisions) <= FILES.keys():
            raise ExportError(
                f"precisions {', '.join(self.precisions)} found, expected fp32 and any of {', '.join(FILES)}"
            )


def oracle_of(source: SourceModel) -> Callable[[Volume], Volume]:
    """EENet with float64 statistics in its group norms, as a function of one volume; see `keras_function`."""
    from eenet_train.network.network import as_oracle

    return keras_function(as_oracle(source.model, source.preset))


def export_model(
    source: SourceModel,
    output: Path,
    cases: Path,
    settings: ExportSettings = ExportSettings(),
    on_step: Callable[[str], None] = lambda step: None,
    make_oracle: Callable[[SourceModel], Callable[[Volume], Volume]] = oracle_of,
) -> Bundle:
    """Export a network.

    Killed at any moment it leaves nothing under the final name, and the same call goes on where it was.

    Args:
        source: the network, from `source_of_run` or `source_of_file`.
        output: the bundle, a new folder.
        cases: a folder of cases on which the agreement with the oracle is measured.
        settings: what the bundle shall be.
        on_step: told in words what happens.
        make_oracle: makes what every form is held against; called when the network has the weights that are stored.

    Raises:
        ExportError: the model cannot be converted, there is no usable case, or `output` exists.
        ParityError: a form of the model disagrees, or agreement proves nothing because no tumour is found in any case;
            there is no bundle under the final name.
        OutputError: the bundle cannot be written.
    """
    chosen = choose_cases(cases, settings.max_cases)
    hashes = case_hashes(chosen)
    with Workshop(output, _fingerprint(source, settings, hashes)) as workshop:
        remove_leftovers(workshop.bundle)
        maker = _Maker(source, settings, read_cases(chosen, source.preset), workshop, on_step, make_oracle)
        manifest = replace(maker.make_artifacts(), name=settings.name or output.name, cases=hashes)
        write_atomically(workshop.bundle / MANIFEST_NAME, manifest.to_json().encode())
        if settings.engine:
            _add_engine(workshop.bundle, on_step)
        open_bundle(workshop.bundle)
        workshop.finish()
    return open_bundle(output)


class _Maker:
    """The steps of one export; each is in the workshop, or is done now."""

    def __init__(
        self,
        source: SourceModel,
        settings: ExportSettings,
        cases: Sequence[ParityCase],
        workshop: Workshop,
        on_step: Callable[[str], None],
        make_oracle: Callable[[SourceModel], Callable[[Volume], Volume]],
    ) -> None:
        self.source, self.settings, self.cases = source, settings, cases
        self.workshop, self.on_step, self.make_oracle = workshop, on_step, make_oracle
        self.folder, self.preset = workshop.bundle, source.preset

    def make_artifacts(self) -> Manifest:
        """Write, derive and prove every file of the bundle; the manifest lacks the name and the cases."""
        unrounded, rounding = self._rounded()
        self.workshop.step("fp32", self._write_fp32)
        oracle = self.make_oracle(self.source)
        forms = [Form(ORACLE, oracle), Form(KERAS, keras_function(self.source.model))]
        if unrounded is not None:
            forms.append(Form(UNROUNDED, keras_function(unrounded)))
        artifacts, rows, derived = self._artifacts(forms)
        golden_voxels = self.workshop.step("golden", lambda: self._write_golden(oracle), self.folder / GOLDEN_NAME)
        names = [artifact.path for artifact in artifacts]
        return Manifest(
            name="",
            preset=self.preset,
            artifacts=tuple(artifacts),
            files=describe_files(self.folder, (*names, WEIGHTS_FILE, GOLDEN_NAME)),
            postprocessing=self.settings.postprocessing,
            provenance={
                **self.source.provenance,
                "note": self.settings.note,
                "weight_rounding": rounding,
                "derived": derived,
                "golden_voxels": golden_voxels,
            },
            parity=tuple(rows),
            golden=GOLDEN_NAME,
            modality_dropout=self.source.modality_dropout,
            pose=self.settings.pose or self.source.pose,
            tools={tool: found for tool in _TOOLS if (found := _version(tool))},
            created=self.workshop.step("created", lambda: datetime.now(UTC).isoformat(timespec="seconds")),
        )

    def _rounded(self) -> tuple[keras.Model | None, dict[str, Any]]:
        """Give the model the weights that are stored; the model before, if they are others, and what was changed."""
        precision = self.settings.weights
        unrounded = clone_with_weights(self.source.model) if precision is not WeightPrecision.FP32 else None
        rounding = round_weights(self.source.model, precision)
        return unrounded, {**asdict(rounding), "precision": precision.value}

    def _write_fp32(self) -> bool:
        self.on_step("converting to ONNX")
        write_fp32(self.source.model, self.folder, self.settings.weights)
        return True

    def _artifacts(self, forms: list[Form]) -> tuple[list[Artifact], list[ParityRow], dict[str, Any]]:
        """The graphs that pass, their rows (those of Keras first), and what deriving them did."""
        artifacts: list[Artifact] = []
        rows = list(self._measure(forms))
        require_parity(rows, self.settings.limits)
        derived: dict[str, Any] = {}
        for precision in (name for name in FILES if name in self.settings.precisions):
            if precision != "fp32":
                derived[precision] = self.workshop.step(
                    precision, partial(self._derive, precision), self.folder / FILES[precision]
                )
            artifact = self._artifact(precision)
            measured = self._measure_artifact(artifact, forms)
            try:
                require_parity(measured, self.settings.limits)
            except ParityError as error:
                if precision != "int8":
                    raise
                self.on_step(f"int8 is left out: {error}")
                derived[precision]["left_out"] = str(error)
                (self.folder / artifact.path).unlink()
                continue
            artifacts.append(artifact)
            rows += measured
        derived["native"] = self._add_native(forms, artifacts, rows)
        return artifacts, rows, derived

    def _add_native(self, forms: Sequence[Form], artifacts: list[Artifact], rows: list[ParityRow]) -> dict[str, str]:
        """The native engine's artefact, if that engine is here to prove it; else the reason for the manifest."""
        plane = self.folder / PLANE_FILE
        reason = obstacle() if self.settings.native else "nobody asked for it"
        left_out = self.workshop.step("native", partial(self._write_native, reason), None if reason else plane)
        if not left_out:
            artifact = native_artifact(artifacts[0])
            try:
                measured = self._measure_artifact(artifact, forms)
                require_parity(measured, self.settings.limits)
            except (ParityError, BackendError) as error:
                left_out = str(error)
                self.on_step(f"the native artefact is left out: {left_out}")
                plane.unlink()
            else:
                artifacts.append(artifact)
                rows += measured
        return {"left_out": left_out} if left_out else {}

    def _write_native(self, reason: str | None) -> str | None:
        """Write the artefact, unless there is a reason not to: what was not proved stays out."""
        if reason:
            self.on_step(f"no native artefact is made: {reason}")
        else:
            write_plane(self.folder / FP32_FILE, self.folder)
        return reason

    def _artifact(self, precision: str) -> Artifact:
        half = precision == "fp16" and self.settings.half_input
        stored = "int8" if precision == "int8" else self.settings.weights.value
        return Artifact("onnx", FILES[precision], precision, stored, input_dtype="float16" if half else "float32")

    def _measure(self, forms: Sequence[Form]) -> tuple[ParityRow, ...]:
        return measure(self.cases, forms, self.workshop, self.on_step)

    def _measure_artifact(self, artifact: Artifact, forms: Sequence[Form]) -> list[ParityRow]:
        rows: list[ParityRow] = []
        for form in artifact_forms(unproved_bundle(self.folder, artifact, self.preset), artifact):
            oracle = next(item for item in forms if item.name == ORACLE)
            rows += self._measure([oracle, form])
        return rows

    def _derive(self, precision: str) -> dict[str, Any]:
        """Write the graph of another precision and say what was done."""
        audit = self._audit()
        self.on_step(f"deriving the {precision} graph")
        if precision == "fp16":
            report = write_fp16(self.folder, shifts=audit.shifts, half_input=self.settings.half_input)
            return {**asdict(report), "range": _range_summary(audit)}
        from eenet_export.graph.int8 import write_int8

        return write_int8(self.folder, self._volumes())

    def _audit(self) -> RangeAudit:
        """The range audit; it stops the export where FP16 would overflow."""

        def run() -> dict[str, Any]:
            self.on_step("measuring the range of every tensor")
            return asdict(audit_ranges(load_graph(self.folder / FP32_FILE), self._volumes()))

        return RangeAudit(**self.workshop.step("audit", run))

    def _volumes(self) -> list[np.ndarray]:
        """The cases' inputs, channels first with a batch axis."""
        return [np.ascontiguousarray(np.moveaxis(case.volume, -1, 0)[np.newaxis]) for case in self.cases]

    def _write_golden(self, oracle: Callable[[Volume], Volume]) -> dict[str, int]:
        """Write the golden case; how many voxels of each class the oracle finds in it."""
        self.on_step("making the golden case")
        case = make_golden(self.preset, oracle)
        if not any(case.voxels_by_region().values()):
            self.on_step(f"the self-test of this bundle will say: {NO_TUMOUR}")
        write_golden(case, self.folder / GOLDEN_NAME)
        return {label.name: voxels for label, voxels in case.voxels_by_class().items()}


def clone_with_weights(model: keras.Model) -> keras.Model:
    """A second model of the same architecture and weights."""
    from eenet_train.network.network import copy_weights

    copy = keras.models.clone_model(model)
    # Not set_weights: EfficientNet's Normalization layer computes with copies of its weights.
    copy_weights(model, copy)
    return copy


def _add_engine(folder: Path, on_step: Callable[[str], None]) -> None:
    """Build the engine that needs no GPU; without its package the bundle is complete without it."""
    if importlib.util.find_spec("tensorrt_rtx") is None:
        on_step('no engine is built: tensorrt-rtx is not installed (pip install "eenet[rtx]")')
        return
    from eenet_export.engines import EngineSettings, add_engine

    on_step("building the engine of TensorRT for RTX")
    precision = "fp16" if (folder / FP16_FILE).is_file() else "fp32"
    add_engine(folder, EngineSettings(flavour=ENGINE, precision=precision))


def _fingerprint(source: SourceModel, settings: ExportSettings, hashes: dict[str, dict[str, str]]) -> str:
    """Tells this export from any other: the model, the settings, the cases, the tools."""
    content = [source.sha256, repr(settings), hashes, {tool: _version(tool) for tool in _TOOLS}]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _range_summary(audit: RangeAudit) -> dict[str, Any]:
    """What the manifest says of the audit: the largest magnitudes, and those that feed a norm beyond 255."""
    top = sorted(audit.largest.items(), key=lambda item: -item[1])[:5]
    return {"largest": dict(top), "before_norms": dict(audit.before_norms), "tensors": len(audit.largest)}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
