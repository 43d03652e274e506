"""The figures of an evaluation: their names in files, their titles for people, and how they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from eenet_bench.evaluation.evaluate import CaseEvaluation
from eenet_bench.measuring.spread import Spread, spread
from eenet_runtime.volumes.labels import Region


@dataclass(frozen=True)
class Figure:
    """One metric of a region.

    Attributes:
        name: its name in files, where `_ET` and the like follow.
        title: its name for people.
        short: the same for the head of a column.
        attribute: where `RegionMetrics` or `LesionMetrics` keep it.
        digits: decimals shown.
        unit: empty, or what follows the number.
    """

    name: str
    title: str
    short: str
    attribute: str
    digits: int
    unit: str = ""

    def column(self, region: Region) -> str:
        """Name of the figure of one region in files and statistics, like `dice_ET`."""
        return f"{self.name}_{region.value}"

    def shown(self, value: float) -> str:
        """The number as tables show it."""
        return f"{value:.{self.digits}f}"


REGION_FIGURES: Final = (
    Figure("dice", "Dice", "Dice", "dice", 3),
    Figure("hd95_mm", "HD95", "HD95", "hd95_mm", 1, "mm"),
    Figure("sensitivity", "Sensitivity", "sens.", "sensitivity", 3),
    # A head has millions of voxels outside the tumour: a specificity differs from 1 in the fourth digit.
    Figure("specificity", "Specificity", "spec.", "specificity", 5),
)
"""Metrics of a region as a whole."""

LESION_FIGURES: Final = (
    Figure("lesion_dice", "Lesion-wise Dice", "Dice", "dice", 3),
    Figure("lesion_hd95_mm", "Lesion-wise HD95", "HD95", "hd95_mm", 1, "mm"),
)
"""Metrics of a region lesion by lesion."""

LESION_COUNTS: Final = (
    Figure("lesions_tp", "Lesions found", "TP", "true_positives", 0),
    Figure("lesions_fp", "False lesions", "FP", "false_positives", 0),
    Figure("lesions_fn", "Lesions missed", "FN", "false_negatives", 0),
)
"""Numbers of lesions of a region."""

ALL_FIGURES: Final = (*REGION_FIGURES, *LESION_FIGURES, *LESION_COUNTS)


def evaluated(results: Sequence[CaseEvaluation]) -> list[CaseEvaluation]:
    """The cases that were not refused."""
    return [result for result in results if not result.reason]


def case_figures(result: CaseEvaluation) -> dict[str, float]:
    """All figures of an evaluated case, and its ceiling, under the names of their columns."""
    values: dict[str, float] = {}
    for figures, metrics in ((REGION_FIGURES, result.regions), ((*LESION_FIGURES, *LESION_COUNTS), result.lesions)):
        for figure in figures:
            for region in Region:
                values[figure.column(region)] = getattr(metrics[region.value], figure.attribute)
    return values | {f"ceiling_{region}": value for region, value in result.ceiling.items()}


def statistics(results: Sequence[CaseEvaluation]) -> dict[str, Spread]:
    """Spread of every figure and region over the evaluated cases, under names like `dice_ET`; none without cases."""
    done = [case_figures(result) for result in evaluated(results)]
    return {name: spread([values[name] for values in done]) for name in (done[0] if done else ())}
