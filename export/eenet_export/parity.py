"""The gate: no artefact leaves that does not compute what its Keras model computes, on real cases.

Four forms of one network are compared on each case, on the network's own grid:

- `keras-fp32-weights`: the trained model, before its weights were rounded for storage;
- `keras`: the model with exactly the weights that are stored;
- `oracle`: the same weights, with the statistics of every group norm in float64;
- the artefact, through the same backend that the runtime uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.bundle import ParityRow
from eenet_runtime.dice import dice_by_region
from eenet_runtime.errors import ParityError
from eenet_runtime.tables import format_table

UNROUNDED: Final = "keras-fp32-weights"
KERAS: Final = "keras"
ORACLE: Final = "oracle"

Volume = NDArray[np.float32]


@dataclass(frozen=True)
class ParityLimits:
    """What still counts as the same model.

    Attributes:
        max_abs_difference: of a class probability at any voxel, between forms that hold the same weights.
        min_dice: of each region between the two masks, always.
    """

    max_abs_difference: float = 1e-3
    min_dice: float = 0.999


@dataclass(frozen=True)
class NamedProbabilities:
    """What one form of the network computed for one case: float32 (H, W, D, classes)."""

    form: str
    probabilities: Volume


def compare(case_id: str, reference: NamedProbabilities, candidate: NamedProbabilities) -> ParityRow:
    """Measure how far two forms of the network agree on one case.

    Raises:
        ParityError: shapes differ, or a value is not finite; no figure would mean anything.
    """
    first, second = reference.probabilities, candidate.probabilities
    if first.shape != second.shape:
        raise ParityError(f"case {case_id}: {candidate.form} gave shape {second.shape}, {reference.form} {first.shape}")
    for form in (reference, candidate):
        if not np.isfinite(form.probabilities).all():
            raise ParityError(f"case {case_id}: {form.form} computed NaN or infinity")
    masks = [form.probabilities.argmax(axis=-1).astype(np.uint8) for form in (reference, candidate)]
    dice = {region.value: value for region, value in dice_by_region(masks[1], masks[0]).items()}
    difference = float(np.abs(first - second).max())
    return ParityRow(case_id, reference.form, candidate.form, difference, dice)


def compare_all(
    case_id: str, volume: Volume, forms: Sequence[tuple[str, Callable[[Volume], Volume]]]
) -> tuple[ParityRow, ...]:
    """Run forms of the network on one case and compare each with the ones that matter.

    The artefact is compared with Keras and with the oracle, Keras with the oracle, and the unrounded model with Keras.

    Args:
        case_id: the case.
        volume: the network's input, float32 (H, W, D, 4).
        forms: name and function of each form; `KERAS` and `ORACLE` must be among them.
    """
    computed = {name: NamedProbabilities(name, run(volume)) for name, run in forms}
    rows = []
    for name, result in computed.items():
        references = {KERAS: (ORACLE,), ORACLE: (), UNROUNDED: ()}.get(name, (KERAS, ORACLE))
        rows += [compare(case_id, computed[reference], result) for reference in references]
    if UNROUNDED in computed:
        rows.append(compare(case_id, computed[UNROUNDED], computed[KERAS]))
    return tuple(rows)


def require_parity(rows: Sequence[ParityRow], limits: ParityLimits) -> None:
    """Let rows pass that are within the limits.

    Raises:
        ParityError: no rows, or one beyond the limits; the message names the worst figure of the first such row.
    """
    if not rows:
        raise ParityError("no case was compared; a model that was not compared is not exported")
    for row in rows:
        worst = min(row.dice, key=lambda region: row.dice[region])
        where = f"case {row.case_id}: {row.candidate} against {row.reference}"
        if row.dice[worst] < limits.min_dice:
            raise ParityError(f"{where}: Dice {worst} {row.dice[worst]:.5f} found, expected at least {limits.min_dice}")
        # Rounded weights are another function by design; only their masks are held against the original's.
        if row.reference != UNROUNDED and not row.max_abs_difference <= limits.max_abs_difference:
            raise ParityError(
                f"{where}: probabilities differ by {row.max_abs_difference:.2e}, expected at most "
                f"{limits.max_abs_difference:.0e}"
            )


def parity_table(rows: Sequence[ParityRow]) -> str:
    """The rows as a table for a terminal."""
    regions = list(rows[0].dice) if rows else []
    return format_table(
        ["case", "form", "against", "max difference", *(f"Dice {region}" for region in regions)],
        [
            [row.case_id, row.candidate, row.reference, f"{row.max_abs_difference:.1e}"]
            + [f"{row.dice[region]:.5f}" for region in regions]
            for row in rows
        ],
    )
