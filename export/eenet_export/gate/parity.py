"""Agreement of two forms of one network on a real case, and what still counts as the same model.

All forms are held against the oracle: the network in FP32 with float64 statistics in its group norms, holding exactly
the weights that are stored. Keras itself is one more form. Where weights were rounded for storage, the rounded network
is held against the trained one as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.bundle.manifest import TIE, USUAL_SHARE, ParityRow
from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.cases.preprocessing import prepare, read_case, read_label
from eenet_runtime.errors import ParityError
from eenet_runtime.folders.tables import format_table
from eenet_runtime.segmenter.postprocessing import restore
from eenet_runtime.volumes.dice import dice_by_region
from eenet_runtime.volumes.grid import Grid
from eenet_runtime.volumes.labels import Region
from eenet_runtime.volumes.placement import Placement
from eenet_runtime.volumes.presets import GeometryPreset
from eenet_train.metrics.surfaces import MaskPair

UNROUNDED: Final = "keras-fp32-weights"
KERAS: Final = "keras"
ORACLE: Final = "oracle"

Volume = NDArray[np.float32]
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class ParityLimits:
    """What still counts as the same model (MLPerf's bar for 3D segmentation is 99.9 % of the FP32 Dice).

    Attributes:
        max_abs_difference: of a class probability at any voxel, for artefacts that compute in FP32. Rounding makes 2e-5
            with random weights at 192 x 160 x 144, and 5e-4 with a trained network, whose steep voxels amplify it.
        usual_difference: the same in 99.9 % of the voxels. Rounding made 6e-5 at most; an epsilon of 0.1 in one of the
            last norms 7e-4 and 8e-4 with two trained networks, though the masks hardly moved, a bias of 0.05 more 1e-2.
        min_agreement: share of voxels with the same class, on each case.
        min_inner_agreement: the same away from region borders, where nothing is close.
        mean_dice, worst_dice: Dice of each region between the two masks, over the cases and on each.
        max_dice_change: of each region's Dice against the truth, mean over the cases that have one.
        allow_unproven: whether forms pass where no region holds a voxel in any case, so that agreement proves nothing.
    """

    max_abs_difference: float = 1e-2
    usual_difference: float = 5e-4
    min_agreement: float = 0.999
    min_inner_agreement: float = 0.9999
    mean_dice: float = 0.999
    worst_dice: float = 0.995
    max_dice_change: float = 0.001
    allow_unproven: bool = False


@dataclass(frozen=True)
class ParityCase:
    """A case as the network reads it, and what is needed to judge a result.

    Attributes:
        case_id: its name.
        volume: float32 (H, W, D, 4).
        spacing_mm: voxel size of the network's grid.
        placement, grid: the way back to the patient's grid.
        truth: network classes on the patient's grid; None where the case has no label.
    """

    case_id: str
    volume: Volume
    spacing_mm: float
    placement: Placement
    grid: Grid
    truth: Labels | None

    @classmethod
    def read(cls, files: CaseFiles, preset: GeometryPreset) -> ParityCase:
        """Read and prepare a case as the runtime does.

        Raises:
            CaseError: the case is refused.
        """
        images = read_case(files)
        made = prepare(images, preset)
        truth = read_label(files, images) if files.label is not None else None
        return cls(files.case_id, made.volume, preset.spacing_mm, made.placement, images.grid, truth)


@dataclass(frozen=True)
class FormResult:
    """What one form of the network made of a case.

    Attributes:
        form: its name.
        labels: uint8 (H, W, D).
        probabilities: float32 (H, W, D, classes); None from an engine that gives labels only.
    """

    form: str
    labels: Labels
    probabilities: Volume | None

    @classmethod
    def from_probabilities(cls, form: str, probabilities: Volume) -> FormResult:
        """The classes that the probabilities say.

        Raises:
            ParityError: a value that is not finite; no figure would mean anything.
        """
        if not np.isfinite(probabilities).all():
            raise ParityError(f"{form} computed NaN or infinity")
        return cls(form, probabilities.argmax(axis=-1).astype(np.uint8), probabilities)


def compare(case: ParityCase, reference: FormResult, candidate: FormResult) -> ParityRow:
    """Measure how far two forms of the network agree on one case.

    Args:
        case: the case.
        reference: with probabilities.
        candidate: held against it.

    Raises:
        ParityError: shapes differ.
    """
    first, second = reference.labels, candidate.labels
    if first.shape != second.shape:
        raise ParityError(
            f"case {case.case_id}: {candidate.form} gave shape {second.shape}, {reference.form} {first.shape}"
        )
    assert reference.probabilities is not None
    difference = usual = None
    if candidate.probabilities is not None:
        differences = np.abs(reference.probabilities - candidate.probabilities).max(axis=-1)
        difference, usual = float(differences.max()), float(np.quantile(differences, USUAL_SHARE))
    same, inner = first == second, inner_voxels(first)
    highest = np.partition(reference.probabilities, -2, axis=-1)
    spacing = (case.spacing_mm,) * 3
    return ParityRow(
        case_id=case.case_id,
        reference=reference.form,
        candidate=candidate.form,
        max_abs_difference=difference,
        dice=_by_name(dice_by_region(second, first)),
        agreement=float(same.mean()),
        inner_agreement=float(same[inner].mean()) if inner.any() else 1.0,
        ties=int(np.count_nonzero(highest[..., -1] - highest[..., -2] < TIE)),
        hd95_mm={r.value: MaskPair.cut(r.mask(second), r.mask(first), spacing).directed_hd95_mm for r in Region},
        dice_change=_dice_change(case, reference, candidate),
        usual_difference=usual,
        region_voxels={region.value: int(np.count_nonzero(region.mask(first))) for region in Region},
    )


def inner_voxels(labels: Labels) -> NDArray[np.bool_]:
    """Voxels whose 26 neighbours all have their class; beyond the volume's edge lies what is at it."""
    from scipy.ndimage import maximum_filter, minimum_filter

    inner: NDArray[np.bool_] = maximum_filter(labels, 3) == minimum_filter(labels, 3)
    return inner


def require_parity(rows: Sequence[ParityRow], limits: ParityLimits = ParityLimits()) -> None:
    """Let rows pass that are within the limits.

    Raises:
        ParityError: no rows, no voxel of any region in any case, or a row beyond the limits; the message names the
            first such figure.
    """
    if not rows:
        raise ParityError("no case was compared; a model that was not compared is not exported")
    for (candidate, reference), group in by_pair(rows).items():
        if not limits.allow_unproven and not any(sum(row.region_voxels.values()) for row in group):
            raise ParityError(
                f"{candidate} against {reference}: no tumour voxel found by {reference} in any of {len(group)} cases, "
                "so agreement proves nothing; train the network further, measure on cases with tumours, or let it out "
                "not proven (eenet-export --allow-unproven)"
            )
    for row in rows:
        _require_row(row, limits)
    for (candidate, reference), group in by_pair(rows).items():
        where = f"mean of {len(group)} cases: {candidate} against {reference}"
        for region in group[0].dice:
            mean = fmean(row.dice[region] for row in group)
            _require(mean >= limits.mean_dice, where, f"Dice {region}", mean, limits.mean_dice)
            changes = [row.dice_change[region] for row in group if row.dice_change]
            change = abs(fmean(changes)) if changes else 0.0
            if not change <= limits.max_dice_change:
                raise ParityError(
                    f"{where}: Dice {region} against the truth moved by {change:.5f}, expected at most "
                    f"{limits.max_dice_change}"
                )


def by_pair(rows: Iterable[ParityRow]) -> Mapping[tuple[str, str], list[ParityRow]]:
    """Rows by candidate and reference, in the order in which they come first."""
    groups: dict[tuple[str, str], list[ParityRow]] = defaultdict(list)
    for row in rows:
        groups[row.candidate, row.reference].append(row)
    return groups


def parity_table(rows: Sequence[ParityRow]) -> str:
    """One line for each pair of forms, with the worst figure over the cases, for a terminal."""
    regions = list(rows[0].dice) if rows else []
    return format_table(
        ["form", "against", "cases", f"{USUAL_SHARE:.1%} within", "all within", "agreement", "inner", "ties"]
        + [f"{what} {region}" for what in ("Dice", "directed HD95 mm", "Dice change") for region in regions],
        [_table_line(pair, group, regions) for pair, group in by_pair(rows).items()],
    )


def _table_line(pair: tuple[str, str], group: Sequence[ParityRow], regions: Sequence[str]) -> list[str]:
    differences = [row.max_abs_difference for row in group if row.max_abs_difference is not None]
    usual = [row.usual_difference for row in group if row.usual_difference is not None]
    changed = [row.dice_change for row in group if row.dice_change]
    measured = [row for row in group if row.hd95_mm]
    return [
        *pair,
        str(len(group)),
        f"{max(usual):.1e}" if usual else "",
        f"{max(differences):.1e}" if differences else "labels only",
        f"{min(row.agreement for row in group):.6f}",
        f"{min(row.inner_agreement for row in group):.6f}",
        str(sum(row.ties for row in group)),
        *(_dice_of(region, group) for region in regions),
        *(f"{max(row.hd95_mm[region] for row in measured):.1f}" if measured else "" for region in regions),
        *(f"{fmean(change[region] for change in changed):+.5f}" if changed else "" for region in regions),
    ]


def _dice_of(region: str, group: Sequence[ParityRow]) -> str:
    """The worst Dice of a region; an agreement of empty masks is called what it is."""
    worst = min(row.dice[region] for row in group)
    proven = any(row.region_voxels.get(region) != 0 for row in group)
    return f"{worst:.5f}" if proven or worst < 1 else "not proven"


def _require_row(row: ParityRow, limits: ParityLimits) -> None:
    where = f"case {row.case_id}: {row.candidate} against {row.reference}"
    worst = min(row.dice, key=lambda region: row.dice[region])
    _require(row.dice[worst] >= limits.worst_dice, where, f"Dice {worst}", row.dice[worst], limits.worst_dice)
    _require(row.agreement >= limits.min_agreement, where, "agreement", row.agreement, limits.min_agreement)
    _require(
        row.inner_agreement >= limits.min_inner_agreement,
        where,
        "agreement away from borders",
        row.inner_agreement,
        limits.min_inner_agreement,
    )
    # Rounded weights and half precision are another function by design; their masks are what counts. Keras is listed
    # to be seen: at full size its FP32 statistics moved probabilities of a trained network by 3.5e-3.
    if row.reference == ORACLE and row.candidate != KERAS and "fp32" in row.candidate:
        where_most = f"{where}, {USUAL_SHARE:.1%} of the voxels"
        _require_close(where_most, row.usual_difference, limits.usual_difference)
        _require_close(where, row.max_abs_difference, limits.max_abs_difference)


def _require_close(where: str, difference: float | None, limit: float) -> None:
    if difference is None or not difference <= limit:
        found = "no probabilities" if difference is None else f"probabilities that differ by {difference:.2e}"
        raise ParityError(f"{where}: {found} found, expected at most {limit:.0e}")


def _require(holds: bool, where: str, what: str, found: float, limit: float) -> None:
    if not holds:
        raise ParityError(f"{where}: {what} {found:.5f} found, expected at least {limit}")


def _by_name(values: Mapping[Region, float]) -> dict[str, float]:
    return {region.value: value for region, value in values.items()}


def _dice_change(case: ParityCase, reference: FormResult, candidate: FormResult) -> dict[str, float]:
    if case.truth is None or reference.probabilities is None or candidate.probabilities is None:
        return {}
    before, after = (
        dice_by_region(restore(form.probabilities, case.placement, case.grid), case.truth)
        for form in (reference, candidate)
        if form.probabilities is not None
    )
    return {region.value: after[region] - before[region] for region in Region}
