"""Agreement of forms of a bundle's model on real cases, on both grids.

The gate of the export compares on the network's grid; here the masks that users get are compared as well, on the
patient's grid, before post-processing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from eenet_export.gate.gate import Form
from eenet_export.gate.parity import FormResult, ParityCase, ParityLimits, compare, require_parity
from eenet_runtime.backends import backend_names, make_backend
from eenet_runtime.bundle.manifest import Bundle, ParityRow
from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.errors import BackendError
from eenet_runtime.segmenter.postprocessing import restore, restore_labels
from eenet_runtime.volumes.dice import dice_by_region
from eenet_runtime.volumes.labels import Region
from eenet_runtime.volumes.presets import GeometryPreset


@dataclass(frozen=True)
class BundleParityRow(ParityRow):
    """Agreement of two forms of the model on one case, on both grids.

    Attributes:
        patient_dice: Dice between the two masks on the patient's grid, for ET, TC and WT.
    """

    patient_dice: Mapping[str, float] = field(default_factory=dict)


def measure_parity(bundle: Bundle, cases: Sequence[CaseFiles]) -> tuple[BundleParityRow, ...]:
    """Compare Keras and every engine that runs here with the oracle, in this process.

    Args:
        bundle: the verified bundle; it must hold the network's weights file.
        cases: the cases.

    Raises:
        ExportError: the bundle's weights are not this network's.
        CaseError: a case that cannot be read.
        BackendError: no engine could run, or TensorFlow is not installed.
    """
    missing: list[str] = []
    rows: list[BundleParityRow] = []
    with ExitStack() as stack:
        engines: list[Form] = []
        for name in backend_names()[1:]:
            try:
                engine = stack.enter_context(closing(make_backend(bundle, backend=name)))
            except BackendError as error:
                missing.append(f"{name}: {error}")
                continue
            engines.append(Form(_form_name(bundle, name), engine, engine.labels))
        if not engines:
            raise BackendError("no engine could run: " + "; ".join(missing))
        forms = [*rebuilt_forms(bundle), *engines]
        for files in cases:
            rows += compare_on_case(files, bundle.manifest.preset, forms)
    return tuple(rows)


def rebuilt_forms(bundle: Bundle) -> tuple[Form, Form]:
    """The oracle and the Keras model with the bundle's weights.

    Raises:
        ExportError: no weights file, or not the weights of this network.
        BackendError: TensorFlow or one of its companions is not installed.
    """
    try:
        from eenet_train.network.tensorflow_setup import load_tensorflow

        load_tensorflow()
        from eenet_export.gate.gate import keras_forms

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
        forms: the reference first; it gives probabilities.

    Raises:
        CaseError: a case that cannot be read.
        ParityError: a form gave another shape, or a value that is not finite.
    """
    case = ParityCase.read(files, preset)
    reference = forms[0].run(case.volume, check_labels=False)
    return tuple(compare_on_both_grids(case, reference, form.run(case.volume, check_labels=True)) for form in forms[1:])


def compare_on_both_grids(case: ParityCase, reference: FormResult, candidate: FormResult) -> BundleParityRow:
    """Compare what two forms of the network made of one case.

    Raises:
        ParityError: shapes differ.
    """
    row = compare(case, reference, candidate)
    dice = dice_by_region(_patient_mask(case, candidate), _patient_mask(case, reference))
    return _with_patient_dice(row, dice)


def _patient_mask(case: ParityCase, result: FormResult) -> NDArray[np.uint8]:
    if result.probabilities is None:  # an engine that gives labels only; it has the file's own voxel size
        return restore_labels(result.labels, case.placement, case.grid)
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


def _form_name(bundle: Bundle, backend: str) -> str:
    """As in the manifest for the engine that the export itself used; another engine adds its name."""
    artifact = bundle.manifest.artifacts[0]
    name = f"{artifact.kind}-{artifact.precision}"
    return name if backend == "onnxruntime" else f"{name}-{backend}"


def _with_patient_dice(row: ParityRow, dice: Mapping[Region, float]) -> BundleParityRow:
    by_name = {region.value: value for region, value in dice.items()}
    return BundleParityRow(**asdict(row), patient_dice=by_name)
