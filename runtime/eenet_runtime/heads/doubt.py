"""When a raw case is not to be believed: one row for each figure, with the limits at which it refuses and warns.

A failed registration or strip gives four images that look like images, and a mask that looks like a mask. Each step
therefore measures itself, and each figure is held against limits here (docs/raw-heads.md has what they were set on).
What follows from figures alone is judged here; what becomes of a finding is the check policy's business
(`cases.content_checks.CheckPolicy`), as for the checks of the images' contents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from eenet_runtime.cases.content_checks import Finding, Severity
from eenet_runtime.cases.content_checks.head_size import COARSE_MM
from eenet_runtime.heads.figures import HeadFigures, PairFigures
from eenet_runtime.volumes.grid import GRID_TOLERANCE, millimetres
from eenet_runtime.volumes.labels import Modality

SLAB_MM: Final = 60.0
"""Below this thickness of what two series share, a peak is flat by nature and its figure is only a suspicion."""


SHARP: Final = 0.027
"""A registration's peak at least this sharp is believed though few starts found it; the flattest right pair of real
whole heads had 0.027, the sharpest of two patients 0.0028."""


@dataclass(frozen=True)
class Measured:
    """One figure of one thing.

    Attributes:
        what: the thing, for the message: files by their modality.
        value: the figure.
        judged: whether it may refuse; otherwise it warns at most.
    """

    what: str
    value: float
    judged: bool = True


@dataclass(frozen=True)
class Limit:
    """A rule: a figure and the values beyond which it speaks.

    Attributes:
        rule: its name, as docs/input-checks.md lists it.
        measured: finds the figure in those of a case; nothing where it was not measured.
        certain: beyond this the case is refused; None where it never is.
        suspected: beyond this a warning is given; None where there is none.
        low: whether small values are the bad ones; otherwise large ones are.
        says: what such a figure means, in a few words.
        unit: of the figure, for the message.
    """

    rule: str
    measured: Callable[[HeadFigures], Iterator[Measured]]
    certain: float | None
    suspected: float | None
    low: bool
    says: str
    unit: str = ""

    def findings(self, figures: HeadFigures) -> Iterator[Finding]:
        """What the rule says of a case."""
        for found in self.measured(figures):
            severity = self._severity(found)
            if severity is None:
                continue
            # What was expected is the inner limit, whichever was passed.
            limit = self.certain if self.suspected is None else self.suspected
            bound = "at least" if self.low else "at most"
            message = (
                f"{found.what}: {self.says} ({found.value:.3g}{self.unit} found, {bound} {limit:g}{self.unit} expected)"
            )
            yield Finding(self.rule, severity, message)

    def _severity(self, found: Measured) -> Severity | None:
        if self._beyond(found.value, self.certain):
            return Severity.CERTAIN if found.judged else Severity.SUSPECTED
        return Severity.SUSPECTED if self._beyond(found.value, self.suspected) else None

    def _beyond(self, value: float, limit: float | None) -> bool:
        if limit is None:
            return False
        # Not `value < limit`: a figure that is no number is beyond every limit.
        return not (value >= limit if self.low else value <= limit)


def _name(figures: HeadFigures, pair: PairFigures) -> str:
    return f"{figures.sources[pair.moving]} ({pair.moving.value}, registered to the {pair.fixed.value})"


def _of_pairs(
    figure: Callable[[PairFigures], float], judged: Callable[[PairFigures], bool] = lambda pair: True
) -> Callable[[HeadFigures], Iterator[Measured]]:
    def measured(figures: HeadFigures) -> Iterator[Measured]:
        # Only those that place a series: the one that closes the loop is judged by the loop.
        for pair in figures.pairs:
            if pair.fixed is Modality.T1CE:
                yield Measured(_name(figures, pair), figure(pair), judged(pair))

    return measured


def _loop(figures: HeadFigures) -> Iterator[Measured]:
    if figures.loop_mm is not None:
        yield Measured(f"{figures.sources[Modality.T1CE]} and its other series", figures.loop_mm)


def _brain(figure: str) -> Callable[[HeadFigures], Iterator[Measured]]:
    def measured(figures: HeadFigures) -> Iterator[Measured]:
        value = None if figures.brain is None else getattr(figures.brain, figure)
        if value is not None:
            yield Measured(figures.sources[Modality.T1CE], float(value))

    return measured


def _pose(figure: str) -> Callable[[HeadFigures], Iterator[Measured]]:
    def measured(figures: HeadFigures) -> Iterator[Measured]:
        if figures.pose is not None:
            yield Measured(figures.sources[Modality.T1CE], float(getattr(figures.pose, figure)))

    return measured


LIMITS: Final = (
    Limit(
        "registration-starts",
        # Sound pairs far apart, by 50 degrees or as slabs, were met by one start of twelve, with a sharp peak.
        _of_pairs(lambda pair: float(pair.consensus) if pair.sharpness < SHARP else float(pair.starts)),
        certain=4,
        suspected=7,
        low=True,
        says="the starts of the registration ended in different places: noise, or no head",
    ),
    Limit(
        "registration-peak",
        _of_pairs(lambda pair: pair.sharpness, lambda pair: pair.covered_mm >= SLAB_MM),
        certain=0.012,
        suspected=0.020,
        low=True,
        says="the series do not lock into each other: another patient's, a mirrored one, or wrong voxel sizes",
    ),
    Limit(
        "slab",
        _of_pairs(lambda pair: pair.covered_mm),
        certain=25,
        suspected=SLAB_MM,
        low=True,
        says="it shows only a slab of the head, which is placed less exactly",
        unit=" mm",
    ),
    Limit(
        "turned-series",
        _of_pairs(lambda pair: pair.rotation_degrees),
        certain=None,
        suspected=45,
        low=False,
        says="it is turned far from where its header says it is",
        unit=" degrees",
    ),
    Limit(
        "registration-loop",
        _loop,
        certain=3.0,
        suspected=1.0,
        low=False,
        says="the way by the t1 and the straight way from the t1ce to another series disagree",
        unit=" mm",
    ),
    Limit(
        "brain-volume",
        _brain("volume_ml"),
        certain=600,
        suspected=900,
        low=True,
        says="the brain mask is too small for a head",
        unit=" ml",
    ),
    Limit(
        "brain-volume",
        _brain("volume_ml"),
        certain=2400,
        suspected=2100,
        low=False,
        says="the brain mask is too large for a brain",
        unit=" ml",
    ),
    Limit(
        "brain-shape",
        _brain("compactness"),
        certain=0.80,
        suspected=0.90,
        low=True,
        says="the brain mask has no brain's shape: no head, a part of one, or a failed strip",
    ),
    Limit(
        "brain-border",
        _brain("border_share"),
        certain=0.05,
        suspected=0.003,
        low=False,
        says="the brain mask runs into the border of the image: a part of the head is missing",
    ),
    Limit(
        "brain-agreement",
        _brain("agreement"),
        certain=0.90,
        suspected=0.94,
        low=True,
        says="the brain in the t1 and the brain in the t1ce disagree",
    ),
    Limit(
        "template",
        _pose("sharpness"),
        # Right heads and heads upside down overlap in it: it never refuses alone.
        certain=None,
        suspected=0.0015,
        low=True,
        says="the brain does not lock into the template: no brain, upside down, or a failed strip",
    ),
)
"""All rules of figures, in the order in which their findings are told."""

RULES: Final = (*dict.fromkeys(limit.rule for limit in LIMITS), "mixed-series", "coarse-voxels")
"""Names of the rules (docs/input-checks.md)."""


def find_doubts(figures: HeadFigures) -> tuple[Finding, ...]:
    """What speaks against a raw case, as far as it has been measured; the certain findings first.

    Args:
        figures: of the case; what is not there is not judged.
    """
    found = [*_mixed_series(figures), *_coarse_voxels(figures)]
    found += [finding for limit in LIMITS for finding in limit.findings(figures)]
    return tuple(sorted(found, key=lambda finding: finding.severity is not Severity.CERTAIN))


def _mixed_series(figures: HeadFigures) -> Iterator[Finding]:
    """Some series are stripped and others are not: the network's mask of one cannot serve all."""
    if figures.stripped and len(figures.stripped) < len(figures.sources):
        names = " and ".join(modality.value for modality in figures.stripped)
        others = " and ".join(name.value for name in figures.sources if name not in figures.stripped)
        message = (
            f"{figures.sources[figures.stripped[0]]}: {names} skull-stripped, {others} not; "
            "expected series that are all as the scanner made them, or all stripped"
        )
        yield Finding("mixed-series", Severity.CERTAIN, message)


def _coarse_voxels(figures: HeadFigures) -> Iterator[Finding]:
    """The mask lies on the T1ce's own grid, however coarse that is."""
    spacing = figures.t1ce_spacing_mm
    if spacing is not None and max(spacing) > COARSE_MM + GRID_TOLERANCE:
        sizes = " x ".join(map(millimetres, spacing))
        message = (
            f"{figures.sources[Modality.T1CE]}: voxels of {sizes} mm, the mask has the same; "
            f"an enhancing rim thinner than {millimetres(max(spacing))} mm does not show in it"
        )
        yield Finding("coarse-voxels", Severity.SUSPECTED, message)
