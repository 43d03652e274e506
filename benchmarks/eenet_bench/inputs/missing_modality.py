"""What the degraded mode costs: Dice without each modality, beside Dice with all four."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from eenet_runtime.bundle.manifest import open_bundle
from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.cases.missing_modality import MAY_BE_MISSING
from eenet_runtime.cases.preprocessing import read_case, read_label
from eenet_runtime.files.atomic import write_atomically
from eenet_runtime.folders.tables import format_table
from eenet_runtime.segmenter.segmenter import Segmenter
from eenet_runtime.volumes.dice import dice_by_region
from eenet_runtime.volumes.labels import Modality, Region

COMPLETE: Final = "all four"
"""Name of the mode without anything missing."""


@dataclass(frozen=True)
class ModeDice:
    """Dice of one case in one mode.

    Attributes:
        case_id: the case.
        mode: `COMPLETE`, or the modality that was left out.
        dice: for ET, TC and WT, on the case's own grid.
    """

    case_id: str
    mode: str
    dice: dict[str, float]


@dataclass(frozen=True)
class DegradedCost:
    """What was measured of one bundle.

    Attributes:
        bundle_id: the bundle.
        modality_dropout: what its manifest says about its training.
        rows: by case and mode.
    """

    bundle_id: str
    modality_dropout: float
    rows: tuple[ModeDice, ...]


def measure_cost(
    bundle: Path,
    cases: Sequence[CaseFiles],
    assume_dropout: bool = False,
    threads: int | None = None,
    on_case: Callable[[str], None] = lambda case: None,
) -> DegradedCost:
    """Segment each case with all modalities and without each that may be missing.

    Args:
        bundle: the model.
        cases: complete, with labels.
        assume_dropout: measure it even if its manifest does not say that it was trained for this.
        threads: for the network.
        on_case: told each case before it is worked on.

    Raises:
        BundleError: the bundle cannot be used, or was not trained for a missing modality.
        CaseError: a case is refused.
    """
    opened = open_bundle(bundle)
    said = opened.manifest.modality_dropout
    if assume_dropout:
        opened = replace(opened, manifest=replace(opened.manifest, modality_dropout=1.0))
    rows = []
    with Segmenter(opened, threads=threads, allow_missing=MAY_BE_MISSING) as segmenter:
        for files in cases:
            on_case(files.case_id)
            truth = read_label(files, read_case(files))
            for left_out in (None, *MAY_BE_MISSING):
                found = segmenter.segment(_without(files, left_out)).labels
                dice = {region.value: value for region, value in dice_by_region(found, truth).items()}
                rows.append(ModeDice(files.case_id, left_out.value if left_out else COMPLETE, dice))
    return DegradedCost(opened.bundle_id, said, tuple(rows))


def _without(files: CaseFiles, modality: Modality | None) -> CaseFiles:
    return replace(files, images={name: source for name, source in files.images.items() if name is not modality})


def cost_table(cost: DegradedCost) -> str:
    """Mean Dice of each mode, and the lowest of any case."""
    regions = [region.value for region in Region]
    rows = []
    for mode in dict.fromkeys(row.mode for row in cost.rows):
        found = [row.dice for row in cost.rows if row.mode == mode]
        means = [f"{sum(dice[region] for dice in found) / len(found):.3f}" for region in regions]
        lowest = [f"{min(dice[region] for dice in found):.3f}" for region in regions]
        rows.append([mode if mode == COMPLETE else f"without {mode}", str(len(found)), *means, *lowest])
    header = ["mode", "cases", *regions, *(f"lowest {region}" for region in regions)]
    return format_table(header, rows)


def write_cost(cost: DegradedCost, path: Path) -> None:
    """Write everything that was measured as JSON.

    Raises:
        OutputError: the file cannot be written.
    """
    write_atomically(path, (json.dumps(asdict(cost), indent=2) + "\n").encode())
