"""Parity of a bundle with the Keras model it came from, rebuilt from the bundle's own weights.

The gate of the export compares on the network's grid; here the masks that users get are compared as well, on the
patient's grid, before post-processing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eenet_bench.environment import Environment, describe_environment
from eenet_bench.latency import chosen_backends
from eenet_export.gate import Form
from eenet_export.parity import FormResult, ParityCase, ParityLimits, compare, require_parity
from eenet_runtime.backends import make_backend
from eenet_runtime.bundle import Bundle, ParityRow
from eenet_runtime.case_files import CaseFiles
from eenet_runtime.dice import dice_by_region
from eenet_runtime.errors import BackendError
from eenet_runtime.files import write_atomically
from eenet_runtime.labels import Region
from eenet_runtime.postprocessing import restore
from eenet_runtime.presets import GeometryPreset
from eenet_runtime.tables import format_table


@dataclass(frozen=True)
class BundleParityRow(ParityRow):
    """Agreement of two forms of the model on one case, on both grids.

    Attributes:
        patient_dice: Dice between the two masks on the patient's grid, for ET, TC and WT.
    """

    patient_dice: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ParityReport:
    """A whole comparison.

    Attributes:
        bundle_id, bundle_name, preset: the model.
        environment: the machine.
        rows: every pair of forms on every case.
        missing: engines that could not run here, with the reason.
    """

    bundle_id: str
    bundle_name: str
    preset: str
    environment: Environment
    rows: tuple[BundleParityRow, ...]
    missing: Mapping[str, str]

    def to_json(self) -> str:
        """Everything, as the text of a file."""
        return json.dumps({"schema_version": 1, **asdict(self)}, indent=2) + "\n"


def measure_parity(bundle: Bundle, cases: Sequence[CaseFiles]) -> tuple[BundleParityRow, ...]:
    """The rows of `compare_bundle` with every engine that runs here."""
    return compare_bundle(bundle, cases).rows


def compare_bundle(
    bundle: Bundle,
    cases: Sequence[CaseFiles],
    backends: Sequence[str] = (),
    on_step: Callable[[str], None] = lambda step: None,
) -> ParityReport:
    """Compare Keras, its oracle and the bundle's artefacts, as the runtime serves them, on cases.

    Args:
        bundle: the verified bundle; it must hold the network's weights file.
        cases: the cases.
        backends: engines by name; by default all that the runtime knows. One that is missing here is listed.
        on_step: told in words what happens.

    Raises:
        ExportError: the bundle's weights are not this network's.
        CaseError: a case that cannot be read.
        BackendError: an unknown engine is asked for, none could run, or TensorFlow is not installed.
    """
    names = chosen_backends(backends)
    environment = describe_environment()
    missing: dict[str, str] = {}
    rows: list[BundleParityRow] = []
    with ExitStack() as stack:
        engines: list[Form] = []
        for name in names:
            try:
                engine = stack.enter_context(closing(make_backend(bundle, name)))
            except BackendError as error:
                missing[name] = str(error)
                continue
            engines.append(Form(_form_name(bundle, name), engine, engine.labels))
        if not engines:
            raise BackendError("no engine could run: " + "; ".join(f"{name}: {why}" for name, why in missing.items()))
        on_step("rebuilding the Keras model")
        forms = [*rebuilt_forms(bundle), *engines]
        for files in cases:
            on_step(f"comparing {', '.join(form.name for form in forms)} on {files.case_id}")
            rows += compare_on_case(files, bundle.manifest.preset, forms)
    manifest = bundle.manifest
    return ParityReport(bundle.bundle_id, manifest.name, manifest.preset.name, environment, tuple(rows), missing)


def rebuilt_forms(bundle: Bundle) -> tuple[Form, Form]:
    """The oracle and the Keras model with the bundle's weights.

    Raises:
        ExportError: no weights file, or not the weights of this network.
        BackendError: TensorFlow or one of its companions is not installed.
    """
    try:
        from eenet_export.gate import keras_forms

        return keras_forms(bundle)
    except ModuleNotFoundError as error:
        raise BackendError(
            f"parity rebuilds the Keras model, and {error.name} is not installed; install it with: "
            'pip install "eenet[export]"'
        ) from error


def compare_on_case(files: CaseFiles, preset: GeometryPreset, forms: Sequence[Form]) -> tuple[BundleParityRow, ...]:
    """Run forms of the network on one case and compare them with the first, on both grids.

    Args:
        files: the case.
        preset: the geometry of all forms.
        forms: the oracle first; all of them give probabilities.

    Raises:
        CaseError: a case that cannot be read.
        ParityError: a form gave another shape, or a value that is not finite.
    """
    case = ParityCase.read(files, preset)
    reference = forms[0].run(case.volume, check_labels=False)
    mask = _patient_mask(case, reference)
    rows = []
    for form in forms[1:]:
        result = form.run(case.volume, check_labels=True)
        row = compare(case, reference, result)
        rows.append(_with_patient_dice(row, dice_by_region(_patient_mask(case, result), mask)))
    return tuple(rows)


def _patient_mask(case: ParityCase, result: FormResult) -> NDArray[np.uint8]:
    assert result.probabilities is not None
    return restore(result.probabilities, case.placement, case.grid)


def require_bundle_parity(rows: Sequence[BundleParityRow], limits: ParityLimits) -> None:
    """Let rows pass that are within the limits on both grids.

    Raises:
        ParityError: no rows, or one beyond the limits.
    """
    require_parity(rows, limits)
    require_parity(
        [replace(r, case_id=f"{r.case_id} on the patient's grid", dice=r.patient_dice) for r in rows], limits
    )


def bundle_parity_table(report: ParityReport) -> str:
    """One line for each pair of forms, and the reasons of engines that did not run."""
    regions = list(report.rows[0].dice) if report.rows else []
    header = ["case", "form", "against", "max difference", *(f"Dice {region}" for region in regions)]
    rows = [
        [row.case_id, row.candidate, row.reference, f"{row.max_abs_difference or 0.0:.1e}"]
        + [f"{dice[region]:.5f}" for dice in (row.dice, row.patient_dice) for region in regions]
        for row in report.rows
    ]
    table = format_table([*header, *(f"patient {region}" for region in regions)], rows)
    return "\n".join([table, *(f"{name} did not run: {reason}" for name, reason in report.missing.items())])


def write_parity(report: ParityReport, path: Path) -> None:
    """Write the report as JSON.

    Raises:
        OutputError: the file cannot be written.
    """
    write_atomically(path, report.to_json().encode())


def _form_name(bundle: Bundle, backend: str) -> str:
    """As in the manifest for the engine that the export itself used; another engine adds its name."""
    artifact = bundle.manifest.artifacts[0]
    name = f"{artifact.kind}-{artifact.precision}"
    return name if backend == "onnxruntime" else f"{name}-{backend}"


def _with_patient_dice(row: ParityRow, dice: Mapping[Region, float]) -> BundleParityRow:
    by_name = {region.value: value for region, value in dice.items()}
    return BundleParityRow(**asdict(row), patient_dice=by_name)
