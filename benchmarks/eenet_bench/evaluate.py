"""Evaluating a folder of masks against labels by BraTS' rules, beside the ceiling that a preset's voxels set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eenet_bench.ceiling import ceiling_dice
from eenet_bench.metrics import RegionMetrics, region_metrics
from eenet_bench.truth import TrueLabel, find_truth, read_labels
from eenet_runtime.errors import CaseError, DatasetError
from eenet_runtime.grid import Grid, to_stored_order
from eenet_runtime.labels import Label, LabelScheme, Region
from eenet_runtime.nifti import is_nifti_name, nifti_stem
from eenet_runtime.preprocessing import read_case, read_label
from eenet_runtime.presets import GeometryPreset


@dataclass(frozen=True)
class CaseEvaluation:
    """One case: metrics by region, or why it could not be evaluated.

    Attributes:
        case_id: the case's name.
        regions: metrics of ET, TC and WT; empty if the case was refused.
        ceiling: Dice that a perfect network of the asked preset would reach on the patient's grid.
        reason: why the case was refused, empty if it was not.
    """

    case_id: str
    regions: dict[str, RegionMetrics] = field(default_factory=dict)
    ceiling: dict[str, float] = field(default_factory=dict)
    reason: str = ""


def evaluate_folder(
    predictions: Path,
    truth: Path,
    *,
    ceiling: GeometryPreset | None = None,
    scheme: LabelScheme | None = None,
) -> list[CaseEvaluation]:
    """Evaluate the masks `<case>.nii.gz` of a folder against labels.

    Args:
        predictions: masks, as `eenet-run infer folder` writes them.
        truth: cases with labels in any layout of data.md, or label files; see `find_truth`.
        ceiling: also compute what a perfect network of this preset could reach; needs the cases' images.
        scheme: label values of the masks, and of label files that do not tell; by default those that the report
            beside a mask names, or the truth's.

    Returns:
        One entry for each case of `truth`, in order of names; a missing or unusable mask is an entry with a reason,
        never left out.

    Raises:
        DatasetError: a folder is missing, `truth` holds no label, or a ceiling is asked for without images.
    """
    if not predictions.is_dir():
        raise DatasetError(f"{predictions}: no such folder")
    found = find_truth(truth)
    if ceiling is not None and any(label.files is None for label in found.labels):
        raise DatasetError(f"{truth}: only label files found; the ceiling needs the images of the cases as well")
    results = [CaseEvaluation(case.case_id, reason=case.reason) for case in found.refused]
    for case in found.labels:
        try:
            results.append(_evaluate(predictions, case, ceiling, scheme))
        except CaseError as error:
            results.append(CaseEvaluation(case.case_id, reason=str(error)))
    return sorted(results, key=lambda result: result.case_id)


def masks_without_truth(predictions: Path, results: Sequence[CaseEvaluation]) -> list[Path]:
    """Masks of a folder that belong to none of the evaluated cases."""
    known = {result.case_id for result in results}
    masks = (path for path in sorted(predictions.iterdir()) if is_nifti_name(path) and not path.name.startswith("."))
    return [path for path in masks if nifti_stem(path) not in known]


def _evaluate(
    predictions: Path, case: TrueLabel, ceiling: GeometryPreset | None, scheme: LabelScheme | None
) -> CaseEvaluation:
    path = _mask_path(predictions, case.case_id)
    truth_scheme = case.scheme or scheme
    if truth_scheme is None:
        raise CaseError(f"{case.path}: its name does not tell the label values; say them with --labels")
    truth, grid = read_labels(case.path, truth_scheme)
    predicted = _read_mask(path, scheme or _reported_scheme(path) or truth_scheme, grid)
    regions = {region.value: region_metrics(predicted, truth, region, grid.spacing_mm) for region in Region}
    return CaseEvaluation(case.case_id, regions, _ceiling(case, ceiling))


def _ceiling(case: TrueLabel, preset: GeometryPreset | None) -> dict[str, float]:
    if preset is None or case.files is None:
        return {}
    images = read_case(case.files)
    scores = ceiling_dice(images, read_label(case.files, images), preset)
    return {region.value: value for region, value in scores.items()}


def _mask_path(predictions: Path, case_id: str) -> Path:
    candidates = [predictions / f"{case_id}{suffix}" for suffix in (".nii.gz", ".nii")]
    for path in candidates:
        if path.is_file():
            return path
    raise CaseError(f"{candidates[0]}: file not found; the case has no mask")


def _read_mask(path: Path, scheme: LabelScheme, grid: Grid) -> NDArray[np.uint8]:
    """A mask in the stored axis order of the truth, whose voxels must be at the same places."""
    stored, stored_grid = read_labels(path, scheme)
    mask, turned = to_stored_order(stored, stored_grid, grid)
    if not turned.matches(grid):
        raise CaseError(
            f"{path}: the mask lies on another grid ({stored_grid.describe()}) than the truth ({grid.describe()})"
        )
    return mask


def _reported_scheme(mask: Path) -> LabelScheme | None:
    """The label values that the report beside a mask names, None where there is no report."""
    path = mask.with_name(f"{nifti_stem(mask)}.json")
    if not path.is_file():
        return None
    try:
        described = json.loads(path.read_text(encoding="utf-8"))["mask"]
        values = {label: int(described["values"][label.name]) for label in (Label.NCR, Label.ED, Label.ET)}
        return LabelScheme(str(described["scheme"]), values[Label.NCR], values[Label.ED], values[Label.ET])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CaseError(f"{path}: not a report of eenet-run ({error}); say the label values with --labels") from error
