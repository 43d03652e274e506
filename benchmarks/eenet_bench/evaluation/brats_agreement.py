"""Do our figures of today's definitions agree with the challenges' own package, mask by mask?"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eenet_bench.evaluation.brats_package import PACKAGE, PackageFigures, PackageRun, package_version
from eenet_bench.evaluation.evaluate import read_mask_and_truth
from eenet_bench.evaluation.metrics import CaseMetrics, case_metrics
from eenet_bench.evaluation.truth import find_truth
from eenet_runtime.errors import CaseError
from eenet_runtime.folders.tables import format_table
from eenet_runtime.volumes.labels import LabelScheme, Region

_MILLIMETRE: Final = (1.0, 1.0, 1.0)
_Figures = Mapping[str, float | None]


@dataclass(frozen=True)
class Comparison:
    """One figure of one region of one case, twice; None where there is no value."""

    case_id: str
    figure: str
    region: Region
    ours: float | None
    theirs: float | None

    @property
    def difference(self) -> float:
        """How far apart the two are; infinite where only one of them has a value."""
        if self.ours is None or self.theirs is None:
            return 0.0 if self.ours is self.theirs else math.inf
        return abs(self.ours - self.theirs)


@dataclass(frozen=True)
class Agreement:
    """All comparisons.

    Attributes:
        version: of the package.
        comparisons: every figure of every region of every case.
        refused: cases that were not compared, and why.
    """

    version: str
    comparisons: tuple[Comparison, ...]
    refused: Mapping[str, str]

    def beyond(self, tolerance: float) -> list[Comparison]:
        """What differs by more, the worst first."""
        apart = [one for one in self.comparisons if not one.difference <= tolerance]
        return sorted(apart, key=lambda one: one.difference, reverse=True)


def compare_with_package(
    predictions: Path,
    truth: Path,
    *,
    scheme: LabelScheme | None = None,
    python: Path | None = None,
    on_case: Callable[[str], None] = lambda case_id: None,
) -> Agreement:
    """Compute the figures of masks here and with the package, as if every voxel were of 1 mm.

    Args:
        predictions, truth, scheme: as for `evaluate_folder`.
        python: a Python that has the package; by default this one.
        on_case: called with the name of each case.

    Raises:
        DatasetError: a folder is missing, or `truth` holds no label.
        EENetError: the package is not there, or its program failed.
    """
    interpreter = python or Path(sys.executable)
    version = package_version(interpreter)
    found = find_truth(truth)
    refused = {case.case_id: case.reason for case in found.refused}
    ours: dict[str, CaseMetrics] = {}
    with tempfile.TemporaryDirectory(prefix="eenet-brats-") as folder:
        run = PackageRun(Path(folder), interpreter)
        for case in found.labels:
            on_case(case.case_id)
            try:
                pair = read_mask_and_truth(predictions, case, scheme)
            except CaseError as error:
                refused[case.case_id] = str(error)
                continue
            run.add(pair.mask, pair.truth)
            ours[case.case_id] = case_metrics(pair.mask, pair.truth, _MILLIMETRE)
        theirs = run.figures() if ours else []
    pairs = zip(ours.items(), theirs, strict=True)
    return Agreement(
        version, tuple(one for (name, case), package in pairs for one in _comparisons(name, case, package)), refused
    )


def agreement_table(agreement: Agreement) -> str:
    """The largest difference of every figure, and where it is."""
    rows = []
    for figure in dict.fromkeys(one.figure for one in agreement.comparisons):
        group = [one for one in agreement.comparisons if one.figure == figure]
        worst = max(group, key=lambda one: one.difference)
        without = sum(one.ours is None and one.theirs is None for one in group)
        rows.append([figure, str(len(group)), str(without), f"{worst.difference:.1e}", _where(worst)])
    header = ["figure", "compared", "without value", "largest difference", "there"]
    return f"beside {PACKAGE} {agreement.version}, voxels taken as 1 mm:\n{format_table(header, rows)}"


def comparison_text(one: Comparison) -> str:
    """A figure that differs, in one line."""
    return f"{_where(one)}: {one.figure} is {one.ours} here and {one.theirs} there"


def _where(one: Comparison) -> str:
    return f"{one.case_id} {one.region.value}"


def _comparisons(case_id: str, case: CaseMetrics, package: Mapping[Region, PackageFigures]) -> Iterator[Comparison]:
    for region in Region:
        ours, theirs = _our_figures(case, region), _their_figures(package[region])
        yield from (Comparison(case_id, name, region, ours[name], theirs[name]) for name in ours)


def _our_figures(case: CaseMetrics, region: Region) -> _Figures:
    whole, lesions = case.regions[region], case.matched_lesions[region]
    return {
        # Where both masks are empty we follow BraTS 2023 and say 1; the package has no value.
        "Dice": None if whole.pooled_hd95_mm is None else whole.dice,
        "HD95, pooled": whole.pooled_hd95_mm,
        "Dice of matched lesions": lesions.dice,
        "HD95 of matched lesions": lesions.hd95_mm,
        "lesions found": lesions.true_positives,
        "lesions false": lesions.false_positives,
        "lesions missed": lesions.false_negatives,
    }


def _their_figures(package: PackageFigures) -> _Figures:
    return {
        "Dice": package.dice,
        "HD95, pooled": package.pooled_hd95,
        "Dice of matched lesions": package.matched_dice,
        "HD95 of matched lesions": package.matched_hd95,
        "lesions found": package.true_positives,
        "lesions false": package.false_positives,
        "lesions missed": package.false_negatives,
    }
