"""The figures of an evaluation: their names in files, their titles for people, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from eenet_bench.evaluation.evaluate import CaseEvaluation
from eenet_bench.measuring.spread import Spread, spread
from eenet_runtime.volumes.labels import Region

NO_VALUE: Final = "-"
"""What tables show where a definition gives no value."""


@dataclass(frozen=True)
class Figure:
    """One metric of a region.

    Attributes:
        name: its name in files, where `_ET` and the like follow.
        title: its name for people.
        short: the same for the head of a column.
        of_region: the figure of an evaluated case and a region, named as in `Region`; None where its definition gives
            no value.
        digits: decimals shown.
        unit: empty, or what follows the number.
    """

    name: str
    title: str
    short: str
    of_region: Callable[[CaseEvaluation, str], float | None]
    digits: int
    unit: str = ""

    def column(self, region: Region) -> str:
        """Name of the figure of one region in files and statistics, like `dice_ET`."""
        return f"{self.name}_{region.value}"

    def shown(self, value: float | None) -> str:
        """The number as tables show it."""
        return NO_VALUE if value is None else f"{value:.{self.digits}f}"


@dataclass(frozen=True)
class LesionFigures:
    """The figures of one set of rules that look at lesions one by one.

    Attributes:
        title: the rules, and the year of the challenges that have them.
        figures: means over lesions.
        counts: numbers of lesions: found, false and missed.
    """

    title: str
    figures: tuple[Figure, ...]
    counts: tuple[Figure, ...]


REGION_FIGURES: Final = (
    Figure("dice", "Dice", "Dice", lambda case, region: case.regions[region].dice, 3),
    Figure(
        "hd95_pooled_mm",
        "HD95, pooled (BraTS 2026)",
        "HD95 pooled",
        lambda case, region: case.regions[region].pooled_hd95_mm,
        1,
        "mm",
    ),
    Figure(
        "hd95_directed_mm",
        "HD95, directed maximum (BraTS 2023)",
        "HD95 directed",
        lambda case, region: case.regions[region].directed_hd95_mm,
        1,
        "mm",
    ),
    Figure("sensitivity", "Sensitivity", "sens.", lambda case, region: case.regions[region].sensitivity, 3),
    # A head has millions of voxels outside the tumour: a specificity differs from 1 in the fourth digit.
    Figure("specificity", "Specificity", "spec.", lambda case, region: case.regions[region].specificity, 5),
)
"""Metrics of a region as a whole, today's definition of HD95 before that of 2023."""

MATCHED_LESIONS: Final = LesionFigures(
    "lesions matched one to one (BraTS 2026)",
    (
        Figure(
            "matched_dice",
            "Dice of matched lesions (BraTS 2026)",
            "Dice",
            lambda case, region: case.matched_lesions[region].dice,
            3,
        ),
        Figure(
            "matched_hd95_pooled_mm",
            "HD95 of matched lesions, pooled (BraTS 2026)",
            "HD95 pooled",
            lambda case, region: case.matched_lesions[region].hd95_mm,
            1,
            "mm",
        ),
    ),
    (
        Figure("matched_tp", "found", "TP", lambda case, region: case.matched_lesions[region].true_positives, 0),
        Figure("matched_fp", "false", "FP", lambda case, region: case.matched_lesions[region].false_positives, 0),
        Figure("matched_fn", "missed", "FN", lambda case, region: case.matched_lesions[region].false_negatives, 0),
    ),
)

GROUPED_LESIONS: Final = LesionFigures(
    "lesions grouped by dilation (BraTS 2023)",
    (
        Figure(
            "grouped_dice",
            "Dice of grouped lesions (BraTS 2023)",
            "Dice",
            lambda case, region: case.grouped_lesions[region].dice,
            3,
        ),
        Figure(
            "grouped_hd95_directed_mm",
            "HD95 of grouped lesions, directed maximum (BraTS 2023)",
            "HD95 directed",
            lambda case, region: case.grouped_lesions[region].hd95_mm,
            1,
            "mm",
        ),
    ),
    (
        Figure("grouped_tp", "found", "TP", lambda case, region: case.grouped_lesions[region].true_positives, 0),
        Figure("grouped_fp", "false", "FP", lambda case, region: case.grouped_lesions[region].false_positives, 0),
        Figure("grouped_fn", "missed", "FN", lambda case, region: case.grouped_lesions[region].false_negatives, 0),
    ),
)

LESION_FIGURES: Final = (MATCHED_LESIONS, GROUPED_LESIONS)
"""Both sets of rules, today's first."""

MEAN_FIGURES: Final = (*REGION_FIGURES, *(figure for rules in LESION_FIGURES for figure in rules.figures))
"""Everything of which a mean over cases says something."""

ALL_FIGURES: Final = (
    *REGION_FIGURES,
    *(figure for rules in LESION_FIGURES for figure in (*rules.figures, *rules.counts)),
)

SUMMARY: Final[Mapping[str, Callable[[Spread], float]]] = {
    "mean": lambda found: found.mean,
    "sd": lambda found: found.standard_deviation,
    "min": lambda found: found.smallest,
    "25 %": lambda found: found.lower_quartile,
    "median": lambda found: found.median,
    "75 %": lambda found: found.upper_quartile,
    "max": lambda found: found.largest,
}
"""What summaries say of a figure over all cases."""


def evaluated(results: Sequence[CaseEvaluation]) -> list[CaseEvaluation]:
    """The cases that were not refused."""
    return [result for result in results if not result.reason]


def case_figures(result: CaseEvaluation) -> dict[str, float | None]:
    """All figures of an evaluated case, and its ceiling, under the names of their columns."""
    values = {
        figure.column(region): figure.of_region(result, region.value) for figure in ALL_FIGURES for region in Region
    }
    return values | {f"ceiling_{region}": value for region, value in result.ceiling.items()}


def statistics(results: Sequence[CaseEvaluation]) -> dict[str, Spread]:
    """Spread of every figure and region over the evaluated cases that have it, under names like `dice_ET`.

    A figure that no case has is left out, and so is everything where no case was evaluated.
    """
    done = [case_figures(result) for result in evaluated(results)]
    columns = {name: [values.get(name) for values in done] for name in (done[0] if done else ())}
    given = {name: [value for value in values if value is not None] for name, values in columns.items()}
    return {name: spread(values) for name, values in given.items() if values}
