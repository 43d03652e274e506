"""Evaluating a folder of masks against labels, beside the ceiling that a preset's voxels set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_bench.metrics import RegionMetrics, region_metrics
from eenet_runtime.case_files import CaseFiles
from eenet_runtime.dice import dice_by_region
from eenet_runtime.discovery import find_cases
from eenet_runtime.errors import CaseError
from eenet_runtime.files import make_output_folder, write_atomically
from eenet_runtime.grid import to_network_axes
from eenet_runtime.labels import NUM_CLASSES, LabelScheme, Region
from eenet_runtime.nifti import read_volume
from eenet_runtime.postprocessing import restore
from eenet_runtime.preprocessing import CaseImages, prepare, read_case, read_label
from eenet_runtime.presets import GeometryPreset
from eenet_runtime.tables import format_table

METRICS: Final = ("dice", "hd95_mm", "sensitivity", "specificity")


@dataclass(frozen=True)
class CaseEvaluation:
    """One case: metrics by region, or why it could not be evaluated.

    Attributes:
        ceiling: Dice that a perfect network of the asked preset would reach on the patient's grid.
    """

    case_id: str
    regions: dict[str, RegionMetrics]
    ceiling: dict[str, float]
    reason: str = ""


def evaluate_folder(
    predictions: Path, truth: Path, *, ceiling: GeometryPreset | None = None, scheme: LabelScheme | None = None
) -> list[CaseEvaluation]:
    """Evaluate `<case>.nii.gz` of a folder against the labels of a folder of cases.

    Args:
        predictions: masks, as `eenet-run infer folder` writes them.
        truth: cases with labels, in any layout of data.md.
        ceiling: also compute what a perfect network of this preset could reach.
        scheme: label values of the masks; by default each case's own.

    Returns:
        One entry for each case of `truth`; a missing or unusable mask is an entry with a reason, never left out.

    Raises:
        DatasetError: no case in `truth`.
    """
    found = find_cases(truth)
    results = [CaseEvaluation(case.case_id, {}, {}, case.reason) for case in found.refused]
    for case in found.cases:
        try:
            results.append(_evaluate(predictions, case, ceiling, scheme or case.scheme))
        except CaseError as error:
            results.append(CaseEvaluation(case.case_id, {}, {}, str(error)))
    return results


def ceiling_labels(images: CaseImages, truth: NDArray[np.uint8], preset: GeometryPreset) -> NDArray[np.uint8]:
    """What a perfect network of a preset would write: the true shares of each class, brought back as probabilities.

    Args:
        truth: network classes in stored axis order.
    """
    placement = prepare(images, preset).placement
    turned = to_network_axes(truth, images.grid)
    shares = [placement.to_network((turned == label).astype(np.float32)) for label in range(NUM_CLASSES)]
    # Outside the file everything is background, which linear sampling of a mask leaves at 0.
    shares[0] = np.float32(1) - shares[1] - shares[2] - shares[3]
    return restore(np.stack(shares, axis=-1), placement, images.grid)


def evaluation_table(results: Sequence[CaseEvaluation]) -> str:
    """Cases, then mean, standard deviation, median and quartiles; one line each."""
    done = [result for result in results if result.regions]
    with_ceiling = any(result.ceiling for result in done)
    header = ["case", *(f"{metric} {region.value}" for metric in METRICS for region in Region)]
    header += [f"ceiling {region.value}" for region in Region] if with_ceiling else []
    values = [_row(result, with_ceiling) for result in done]
    rows = [[result.case_id, *map(_shown, row)] for result, row in zip(done, values, strict=True)]
    if values:
        array = np.array(values)
        for name, line in (
            ("mean", array.mean(axis=0)),
            ("standard deviation", array.std(axis=0)),
            ("median", np.median(array, axis=0)),
            ("25 %", np.percentile(array, 25, axis=0)),
            ("75 %", np.percentile(array, 75, axis=0)),
        ):
            rows.append([name, *map(_shown, line)])
    return format_table(header, rows)


def write_evaluation(results: Sequence[CaseEvaluation], output: Path) -> None:
    """Write `evaluation.json` into a folder.

    Raises:
        OutputError: it cannot be written.
    """
    make_output_folder(output)
    content = json.dumps([asdict(result) for result in results], indent=2) + "\n"
    write_atomically(output / "evaluation.json", content.encode())


def _evaluate(
    predictions: Path, case: CaseFiles, ceiling: GeometryPreset | None, scheme: LabelScheme
) -> CaseEvaluation:
    images = read_case(case)
    truth = read_label(case, images)
    path = predictions / f"{case.case_id}.nii.gz"
    mask = read_volume(path)
    if not mask.grid.matches(images.grid):
        raise CaseError(
            f"{path}: the mask lies on another grid ({mask.grid.describe()}) than the case ({images.grid.describe()})"
        )
    predicted = scheme.from_file(mask.data, str(path))
    regions = {r.value: region_metrics(predicted, truth, r, images.grid.spacing_mm) for r in Region}
    best: dict[str, float] = {}
    if ceiling is not None:
        scores = dice_by_region(ceiling_labels(images, truth, ceiling), truth)
        best = {region.value: value for region, value in scores.items()}
    return CaseEvaluation(case.case_id, regions, best)


def _row(result: CaseEvaluation, with_ceiling: bool) -> list[float]:
    row = [float(getattr(result.regions[region.value], metric)) for metric in METRICS for region in Region]
    return row + ([result.ceiling[region.value] for region in Region] if with_ceiling else [])


def _shown(value: float) -> str:
    return f"{value:.3f}"
