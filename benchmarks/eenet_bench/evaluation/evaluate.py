"""Evaluating a folder of masks against labels by BraTS' rules, beside the ceiling that a preset's voxels set."""

from __future__ import annotations

import json
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from eenet_bench.evaluation.ceiling import ceiling_dice
from eenet_bench.evaluation.lesionwise import LesionMetrics
from eenet_bench.evaluation.metrics import RegionMetrics, case_metrics
from eenet_bench.evaluation.truth import TrueLabel, find_truth, read_labels
from eenet_runtime.cases.preprocessing import read_case, read_label
from eenet_runtime.errors import CaseError, DatasetError
from eenet_runtime.files.listing import is_there, require_folder
from eenet_runtime.files.nifti import is_nifti_name, nifti_stem
from eenet_runtime.volumes.grid import Grid, to_stored_order
from eenet_runtime.volumes.labels import Label, LabelScheme, Region
from eenet_runtime.volumes.presets import GeometryPreset

_Metrics = TypeVar("_Metrics")


@dataclass(frozen=True)
class CaseEvaluation:
    """One case: metrics by region, or why it could not be evaluated.

    Attributes:
        case_id: the case's name.
        regions: metrics of ET, TC and WT; empty if the case was refused.
        matched_lesions: lesion-wise metrics of the same regions by today's rules; empty if the case was refused.
        grouped_lesions: lesion-wise metrics of the same regions by the rules of 2023.
        ceiling: Dice that a perfect network of the asked preset would reach on the patient's grid.
        reason: why the case was refused, empty if it was not.
    """

    case_id: str
    regions: dict[str, RegionMetrics] = field(default_factory=dict)
    matched_lesions: dict[str, LesionMetrics] = field(default_factory=dict)
    grouped_lesions: dict[str, LesionMetrics] = field(default_factory=dict)
    ceiling: dict[str, float] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class MaskAndTruth:
    """A mask beside its truth.

    Attributes:
        mask, truth: uint8 network classes, (X, Y, Z) in the truth's stored axis order.
        grid: the grid of both.
    """

    mask: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    grid: Grid


@dataclass(frozen=True)
class _Job:
    """What a process needs to evaluate one case."""

    predictions: Path
    case: TrueLabel
    ceiling: GeometryPreset | None
    scheme: LabelScheme | None


def evaluate_folder(
    predictions: Path,
    truth: Path,
    *,
    ceiling: GeometryPreset | None = None,
    scheme: LabelScheme | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[CaseEvaluation]:
    """Evaluate the masks `<case>.nii.gz` of a folder against labels.

    Args:
        predictions: masks, as `eenet-run infer folder` writes them.
        truth: cases with labels in any known layout, or label files; see `find_truth`.
        ceiling: also compute what a perfect network of this preset could reach; needs the cases' images.
        scheme: label values of the masks, and of label files that do not tell; by default those that the report
            beside a mask names, or the truth's.
        workers: processes to share the cases among; with 1 everything happens in this one.
        progress: called in this process with the number of evaluated cases and of all, after each case.

    Returns:
        One entry for each case of `truth`, in order of names; a missing or unusable mask is an entry with a reason,
        never left out.

    Raises:
        DatasetError: a folder is missing, `truth` holds no label, or a ceiling is asked for without images.
    """
    require_folder(predictions)
    found = find_truth(truth)
    if ceiling is not None and any(label.files is None for label in found.labels):
        raise DatasetError(f"{truth}: only label files found; the ceiling needs the images of the cases as well")
    results = [CaseEvaluation(case.case_id, reason=case.reason) for case in found.refused]
    jobs = [_Job(predictions, case, ceiling, scheme) for case in found.labels]
    for done, result in enumerate(_evaluate_all(jobs, workers), start=1):
        results.append(result)
        if progress is not None:
            progress(done, len(jobs))
    return sorted(results, key=lambda result: result.case_id)


def masks_without_truth(predictions: Path, results: Sequence[CaseEvaluation]) -> list[Path]:
    """Masks of a folder that belong to none of the evaluated cases."""
    known = {result.case_id for result in results}
    masks = (path for path in sorted(predictions.iterdir()) if is_nifti_name(path) and not path.name.startswith("."))
    return [path for path in masks if nifti_stem(path) not in known]


def read_mask_and_truth(predictions: Path, case: TrueLabel, scheme: LabelScheme | None = None) -> MaskAndTruth:
    """Read the mask of a case and its truth.

    Args:
        predictions: folder of masks.
        case: where the truth is.
        scheme: label values, as for `evaluate_folder`.

    Raises:
        CaseError: no mask, a file that cannot be used, grids that differ, or label values that nothing tells.
    """
    path = _mask_path(predictions, case.case_id)
    truth_scheme = case.scheme or scheme
    if truth_scheme is None:
        raise CaseError(
            f"{case.path}: its name does not tell the label values; say them with --labels", code="label-scheme"
        )
    truth, grid = read_labels(case.path, truth_scheme)
    return MaskAndTruth(_read_mask(path, scheme or _reported_scheme(path) or truth_scheme, grid), truth, grid)


def _evaluate_all(jobs: Sequence[_Job], workers: int) -> Iterator[CaseEvaluation]:
    """Evaluate the cases, in any order."""
    if workers == 1 or len(jobs) < 2:
        yield from map(_evaluate_or_refuse, jobs)
        return
    # Spawned, not forked: threads of numerical libraries in this process would not survive a fork.
    context = multiprocessing.get_context("spawn")
    # Ctrl-C is for the parent, which then cancels what waits; the processes end their case without a traceback each.
    quiet = (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(min(workers, len(jobs)), context, initializer=signal.signal, initargs=quiet) as pool:
        futures = {pool.submit(_evaluate_or_refuse, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield _result_or_reason(future, futures[future].case)
        finally:
            pool.shutdown(cancel_futures=True)


def _result_or_reason(future: Future[CaseEvaluation], case: TrueLabel) -> CaseEvaluation:
    try:
        return future.result()
    except BrokenProcessPool:
        reason = (
            f"{case.path}: not evaluated, a process of the evaluation was killed (out of memory?); "
            "try again with fewer workers"
        )
        return CaseEvaluation(case.case_id, reason=reason)


def _evaluate_or_refuse(job: _Job) -> CaseEvaluation:
    try:
        pair = read_mask_and_truth(job.predictions, job.case, job.scheme)
        metrics = case_metrics(pair.mask, pair.truth, pair.grid.spacing_mm)
        return CaseEvaluation(
            job.case.case_id,
            regions=_by_name(metrics.regions),
            matched_lesions=_by_name(metrics.matched_lesions),
            grouped_lesions=_by_name(metrics.grouped_lesions),
            ceiling=_ceiling(job.case, job.ceiling),
        )
    except CaseError as error:
        return CaseEvaluation(job.case.case_id, reason=str(error))


def _by_name(metrics: Mapping[Region, _Metrics]) -> dict[str, _Metrics]:
    return {region.value: values for region, values in metrics.items()}


def _ceiling(case: TrueLabel, preset: GeometryPreset | None) -> dict[str, float]:
    if preset is None or case.files is None:
        return {}
    images = read_case(case.files)
    scores = ceiling_dice(images, read_label(case.files, images), preset)
    return {region.value: value for region, value in scores.items()}


def _mask_path(predictions: Path, case_id: str) -> Path:
    candidates = [predictions / f"{case_id}{suffix}" for suffix in (".nii.gz", ".nii")]
    for path in candidates:
        if is_there(path):
            return path
    raise CaseError(f"{candidates[0]}: file not found; the case has no mask", code="no-mask")


def _read_mask(path: Path, scheme: LabelScheme, grid: Grid) -> NDArray[np.uint8]:
    """A mask in the stored axis order of the truth, whose voxels must be at the same places."""
    stored, stored_grid = read_labels(path, scheme)
    mask, turned = to_stored_order(stored, stored_grid, grid)
    if not turned.matches(grid):
        raise CaseError(
            f"{path}: the mask lies on another grid ({stored_grid.describe()}) than the truth ({grid.describe()}): "
            f"{turned.difference(grid)}",
            code="grid-mismatch",
        )
    return mask


def _reported_scheme(mask: Path) -> LabelScheme | None:
    """The label values that the report beside a mask names, None where there is no report."""
    path = mask.with_name(f"{nifti_stem(mask)}.json")
    if not is_there(path):
        return None
    try:
        described = json.loads(path.read_text(encoding="utf-8"))["mask"]
        values = {label: int(described["values"][label.name]) for label in (Label.NCR, Label.ED, Label.ET)}
        return LabelScheme(str(described["scheme"]), values[Label.NCR], values[Label.ED], values[Label.ET])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CaseError(
            f"{path}: not a report of eenet-run ({error}); say the label values with --labels", code="label-scheme"
        ) from error
