"""The golden case: one small input and what the model makes of it, stored in the bundle as `golden.npz`.

A machine that runs it knows whether its engine, its driver and its processor compute the network that was exported. The
input is made, not taken: no patient's image ever travels with a model (docs/decisions/0016-golden-case.md).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.backends.base import Backend
from eenet_runtime.bundle.golden_file import GOLDEN_NAME as GOLDEN_NAME
from eenet_runtime.bundle.golden_file import array_of, read_golden_file, unpack_arrays
from eenet_runtime.bundle.manifest import Artifact, Bundle
from eenet_runtime.errors import BackendError, BundleError
from eenet_runtime.volumes.dice import dice_by_region
from eenet_runtime.volumes.labels import CHANNEL_ORDER, NUM_CLASSES, Label, Region
from eenet_runtime.volumes.presets import GeometryPreset

GOLDEN_FORMAT: Final = 1
"""Version of the file's content. Any other is refused: it may mean something else."""

STEPS_PER_UNIT: Final = 16
"""Steps of the stored int8 in one standard deviation. A power of two, so that the division is exact everywhere."""

NO_TUMOUR: Final = "no tumour voxel in the golden case, so that the masks prove nothing"

MIN_REGION_VOXELS: Final = 500
"""Dice of a smaller region is told and not judged: a single voxel would move it by more than a limit allows."""


@dataclass(frozen=True)
class GoldenCase:
    """An input and what the exported model makes of it.

    Attributes:
        coarse: int8 (h, w, d, 4), the input in `STEPS_PER_UNIT` steps, each voxel standing for a block.
        repeats: voxels of a block along H, W and D.
        labels: uint8 (H, W, D), network classes, the lower number of equals.
        ties: bool (H, W, D), voxels whose two highest probabilities differ by less than `bundle.TIE`: either is right.
        positions: int32 (N,), voxels whose probabilities are stored, as indices into the flattened volume.
        probabilities: float32 (N, classes).
    """

    coarse: NDArray[np.int8]
    repeats: tuple[int, int, int]
    labels: NDArray[np.uint8]
    ties: NDArray[np.bool_]
    positions: NDArray[np.int32]
    probabilities: NDArray[np.float32]

    @property
    def volume(self) -> NDArray[np.float32]:
        """The network's input, float32 (H, W, D, 4): the same bits on every machine."""
        return expand(self.coarse, self.repeats)

    def voxels_by_class(self) -> dict[Label, int]:
        """How many voxels the model gave to each class."""
        counts = np.bincount(self.labels.ravel(), minlength=NUM_CLASSES)
        return {label: int(counts[label]) for label in Label}

    def voxels_by_region(self) -> dict[Region, int]:
        """How many voxels of each region the model found."""
        counts = self.voxels_by_class()
        return {region: sum(counts[label] for label in region.labels) for region in Region}

    def regions_in_words(self) -> str:
        """What the model found, in one line; where that is no tumour, what follows from it."""
        counts = self.voxels_by_region()
        found = ", ".join(f"{region.value} {voxels}" for region, voxels in counts.items())
        return f"{found} voxels" if any(counts.values()) else NO_TUMOUR


@dataclass(frozen=True)
class GoldenLimits:
    """What still counts as the same model.

    Attributes:
        agreement: smallest share of the voxels (ties aside) with the expected class.
        dice: smallest Dice of a region of at least `MIN_REGION_VOXELS`.
        usual_difference: of a class probability, at `USUAL` per cent of the stored positions.
        max_difference: of a class probability, at any stored position.
    """

    agreement: float
    dice: float
    usual_difference: float
    max_difference: float


USUAL: Final = 95
"""Per cent of the positions. At a tumour's edge one voxel in a thousand turns the last digits of any arithmetic into
hundredths of a probability: the largest difference shows gross faults, this one tells precisions apart."""

LIMITS: Final[Mapping[str, GoldenLimits]] = {
    "fp32": GoldenLimits(agreement=0.9995, dice=0.999, usual_difference=1e-3, max_difference=0.05),
    "fp16": GoldenLimits(agreement=0.999, dice=0.99, usual_difference=1e-2, max_difference=0.3),
    "int8": GoldenLimits(agreement=0.995, dice=0.97, usual_difference=0.1, max_difference=1.0),
}
"""Limits by the precision of the arithmetic; docs/decisions/0016-golden-case.md argues for each figure."""


@dataclass(frozen=True)
class GoldenResult:
    """How an engine did on the golden case.

    Attributes:
        agreement: share of the voxels (ties aside) with the expected class.
        dice: Dice of each region against the expected labels.
        usual_difference: of a class probability, at `USUAL` per cent of the stored positions; None where the engine
            gives labels only.
        max_abs_difference: the same at any of them.
        reason: the first figure beyond its limit, found and expected; None where passed.
        seconds: time of the inferences.
        not_proven: regions without a voxel in the expected labels; their Dice says nothing.
    """

    agreement: float
    dice: Mapping[Region, float]
    usual_difference: float | None
    max_abs_difference: float | None
    reason: str | None
    seconds: float
    not_proven: tuple[Region, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether all of it is within the limits."""
        return self.reason is None

    @property
    def proves_tumours(self) -> bool:
        """Whether a region holds a voxel at all, so that the masks prove something."""
        return len(self.not_proven) < len(Region)


def expand(coarse: NDArray[np.int8], repeats: tuple[int, int, int]) -> NDArray[np.float32]:
    """The network's input from its stored form: blocks of equal voxels, divided by `STEPS_PER_UNIT`.

    Args:
        coarse: int8 (h, w, d, 4).
        repeats: voxels of a block along H, W and D.

    Returns:
        float32 (H, W, D, 4). Only copies and a division by a power of two: no rounding, no random numbers.
    """
    values = coarse.astype(np.float32) / np.float32(STEPS_PER_UNIT)
    for axis, count in enumerate(repeats):
        values = values.repeat(count, axis=axis)
    return values


def limits_for(artifact: Artifact) -> GoldenLimits:
    """The limits for an artefact's precision.

    Raises:
        BundleError: a precision for which no limits are known.
    """
    try:
        return LIMITS[artifact.precision]
    except KeyError:
        raise BundleError(
            f"{artifact.path}: precision {artifact.precision!r} found, the self-test knows {', '.join(LIMITS)}"
        ) from None


def run_golden(case: GoldenCase, backend: Backend, artifact: Artifact) -> GoldenResult:
    """Let an engine compute the golden case, through every output that its artefact has, and judge it.

    Labels and probabilities leave an engine on different ways, and a mask may be made from either: both are asked for
    where there are both, and the worse figure of the two counts.

    Raises:
        BackendError: the engine failed, or gave something else than it promises.
        BundleError: a precision for which no limits are known.
    """
    limits, volume = limits_for(artifact), case.volume
    start = time.perf_counter()
    masks, probabilities = [backend.labels(volume)], None
    if artifact.probabilities_name:
        probabilities = backend(volume)
        masks.append(probabilities.argmax(axis=-1).astype(np.uint8))
    seconds = time.perf_counter() - start
    return judge(case, masks, probabilities, limits, seconds)


def judge(
    case: GoldenCase,
    masks: list[NDArray[np.uint8]],
    probabilities: NDArray[np.float32] | None,
    limits: GoldenLimits,
    seconds: float = 0.0,
) -> GoldenResult:
    """Compare what was computed with what is expected.

    Args:
        case: the golden case.
        masks: uint8 (H, W, D), one or more ways to the same labels; the worst counts.
        probabilities: float32 (H, W, D, classes), or None.
        limits: what counts as agreement.
        seconds: passed on.

    Raises:
        BackendError: an array of another shape.
    """
    if any(mask.shape != case.labels.shape for mask in masks):
        raise BackendError(f"labels of shape {masks[0].shape} found, expected {case.labels.shape}")
    clear = ~case.ties
    judged = max(int(np.count_nonzero(clear)), 1)
    agreement, by_region = 1.0, dict.fromkeys(Region, 1.0)
    for mask in masks:
        agreement = min(agreement, 1.0 - int(np.count_nonzero((mask != case.labels) & clear)) / judged)
        for region, value in dice_by_region(np.where(clear, mask, case.labels), case.labels).items():
            by_region[region] = min(by_region[region], value)
    differences = None if probabilities is None else _differences(case, probabilities)
    usual = None if differences is None else float(np.percentile(differences, USUAL))
    largest = None if differences is None else float(differences.max())
    voxels = case.voxels_by_region()
    reasons = (
        _labels_beyond(limits, agreement, by_region, voxels),
        _beyond(f"at {USUAL} % of the positions", usual, limits.usual_difference),
        _beyond("at the worst position", largest, limits.max_difference),
        # An engine that gives zeros for everything would agree.
        f"{NO_TUMOUR}, and there are no probabilities" if differences is None and not any(voxels.values()) else None,
    )
    return GoldenResult(
        agreement=agreement,
        dice=by_region,
        usual_difference=usual,
        max_abs_difference=largest,
        reason=next((reason for reason in reasons if reason is not None), None),
        seconds=seconds,
        not_proven=tuple(region for region, count in voxels.items() if count == 0),
    )


def read_golden(bundle: Bundle) -> GoldenCase:
    """Read a bundle's golden case.

    Raises:
        BundleError: the bundle has none, or it is damaged or made for another geometry.
    """
    name = bundle.manifest.golden
    if not name:
        raise BundleError(
            f"{bundle.folder}: no golden case found, so it cannot test itself; export it again with eenet-export"
        )
    path = bundle.folder / name
    return golden_from_bytes(read_golden_file(path), bundle.manifest.preset, str(path))


def golden_from_bytes(content: bytes, preset: GeometryPreset, source: str) -> GoldenCase:
    """Read the content of a `golden.npz`; every array's shape and type is checked, and nothing is unpickled.

    Raises:
        BundleError: not such a file, or not for this geometry.
    """
    arrays = unpack_arrays(content, source)
    shape = preset.shape
    found_format = array_of(arrays, "format", np.int64, (), source)
    if int(found_format) != GOLDEN_FORMAT:
        raise BundleError(f"{source}: format {int(found_format)} found, this runtime reads {GOLDEN_FORMAT}")
    factors = [int(count) for count in array_of(arrays, "repeats", np.int64, (3,), source)]
    if any(count < 1 or size % count for size, count in zip(shape, factors, strict=True)):
        raise BundleError(f"{source}: blocks of {factors} voxels found, they do not fill {list(shape)}")
    coarse_shape = tuple(size // count for size, count in zip(shape, factors, strict=True))
    voxels = shape[0] * shape[1] * shape[2]
    positions = array_of(arrays, "positions", np.int32, (None,), source)
    labels = array_of(arrays, "labels", np.uint8, shape, source)
    probabilities = array_of(arrays, "probabilities", np.float32, (len(positions), NUM_CLASSES), source)
    packed = array_of(arrays, "ties", np.uint8, ((voxels + 7) // 8,), source)
    coarse = array_of(arrays, "coarse", np.int8, (*coarse_shape, len(CHANNEL_ORDER)), source)
    if len(positions) == 0 or positions.min() < 0 or positions.max() >= voxels:
        raise BundleError(f"{source}: positions found that are not in a volume of {voxels} voxels")
    if labels.max() >= NUM_CLASSES or not np.isfinite(probabilities).all():
        raise BundleError(f"{source}: labels or probabilities found that no network gives")
    return GoldenCase(
        coarse=coarse,
        repeats=(factors[0], factors[1], factors[2]),
        labels=labels,
        ties=np.unpackbits(packed, count=voxels).astype(np.bool_).reshape(shape),
        positions=positions,
        probabilities=probabilities,
    )


def _differences(case: GoldenCase, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Largest difference of a class probability at each stored position, float32 (N,)."""
    expected = (*case.labels.shape, NUM_CLASSES)
    if probabilities.shape != expected:
        raise BackendError(f"probabilities of shape {probabilities.shape} found, expected {expected}")
    found = probabilities[np.unravel_index(case.positions, case.labels.shape)]
    differences: NDArray[np.float32] = np.abs(found - case.probabilities).max(axis=-1)
    return differences


# All comparisons are written so that NaN is beyond every limit.


def _labels_beyond(
    limits: GoldenLimits, agreement: float, by_region: Mapping[Region, float], voxels: Mapping[Region, int]
) -> str | None:
    """What is wrong with the labels."""
    if not agreement >= limits.agreement:
        return f"agreement {agreement:.5f} found, expected at least {limits.agreement}"
    for region, value in by_region.items():
        if voxels[region] >= MIN_REGION_VOXELS and not value >= limits.dice:
            return f"Dice {region.value} {value:.5f} found, expected at least {limits.dice}"
    return None


def _beyond(where: str, difference: float | None, limit: float) -> str | None:
    """What is wrong with the probabilities, where there are any."""
    if difference is None or difference <= limit:
        return None
    return f"probabilities differ by {difference:.2e} {where}, expected {limit:g} or less"
