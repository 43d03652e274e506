"""What the steps of a raw case measured of themselves: the figures by which doubt judges, and which reports repeat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.heads.stripping.brain_mask import BrainFigures
from eenet_runtime.volumes.labels import Modality


@dataclass(frozen=True)
class PairFigures:
    """One registration.

    Attributes:
        fixed, moving: the two series.
        nmi: normalised mutual information at the end. High or low, it tells no failure by itself.
        sharpness: smallest loss of it when one of the six parameters moves by the equivalent of 6 mm.
        mean_sharpness: the mean of these losses.
        consensus, starts: how many of so many starts ended in one place.
        overlap: share of the fixed series that the moving one covers.
        covered_mm: thickness of the part that both show.
        rotation_degrees: by which the moving series is turned against its own header's claim.
        engine: `native` or `numpy`.
        seconds: of work.
    """

    fixed: Modality
    moving: Modality
    nmi: float
    sharpness: float
    mean_sharpness: float
    consensus: int
    starts: int
    overlap: float
    covered_mm: float
    rotation_degrees: float
    engine: str
    seconds: float


@dataclass(frozen=True)
class PoseFigures:
    """The fit of a template, by which the head is turned.

    Attributes:
        nmi: normalised mutual information at the end.
        sharpness: smallest loss of it when a parameter moves by the equivalent of 6 mm.
        consensus: how many of the starts ended in one place.
    """

    nmi: float
    sharpness: float
    consensus: int


@dataclass(frozen=True)
class HeadFigures:
    """Everything that was measured of one raw case, as far as it came.

    Attributes:
        sources: file of each series, for messages.
        stripped: the series that were stripped already.
        pairs: the registrations; those to the T1ce first.
        loop_mm: mean distance, over the head, between two ways from the T1ce to a third series: straight, and by the
            T1. None where there is no third series, or it was not asked for.
        brain: of the mask.
        pose: of the template's fit; None where none was needed.
        t1ce_spacing_mm: voxel size of the T1ce.
    """

    sources: Mapping[Modality, str]
    stripped: tuple[Modality, ...] = ()
    pairs: tuple[PairFigures, ...] = ()
    loop_mm: float | None = None
    brain: BrainFigures | None = None
    pose: PoseFigures | None = None
    t1ce_spacing_mm: tuple[float, float, float] | None = field(default=None)

    def as_json(self) -> dict[str, Any]:
        """All of it but the files, for a report: plain numbers of five digits."""
        content = asdict(self)
        del content["sources"]
        content["stripped"] = [modality.value for modality in self.stripped]
        for pair in content["pairs"]:
            pair["fixed"], pair["moving"] = pair["fixed"].value, pair["moving"].value
        shortened = _shortened(content)
        assert isinstance(shortened, dict)
        return shortened


def rotation_degrees(matrix: NDArray[np.float64]) -> float:
    """The angle by which a rigid 4 x 4 matrix turns."""
    cosine = (np.trace(matrix[:3, :3]) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def _shortened(value: Any) -> Any:
    """Numbers to five digits, in whatever they stand."""
    if isinstance(value, dict):
        return {key: _shortened(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_shortened(item) for item in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
