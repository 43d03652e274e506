"""Making the golden case of a bundle: a head with a tumour that was never anybody's.

The head is drawn from a seed and stored, so the machine that runs it later needs no random numbers. It must look enough
like an MRI case that a trained network finds all its classes in it; how well it is segmented means nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eenet_export.gate.npz import npz_bytes
from eenet_runtime.bundle.manifest import TIE
from eenet_runtime.errors import ExportError
from eenet_runtime.files.atomic import write_atomically
from eenet_runtime.selftest.golden import GOLDEN_FORMAT, STEPS_PER_UNIT, GoldenCase, expand
from eenet_runtime.volumes.labels import CHANNEL_ORDER, NUM_CLASSES
from eenet_runtime.volumes.presets import GeometryPreset
from eenet_train.phantom.scanner import CONTRASTS, Contrast

POSITIONS: Final = 2048
"""Voxels whose probabilities are stored, shared evenly among the classes that the model finds."""
BLOCK_MM: Final = 4.0
"""Largest edge of a block of equal voxels: coarse enough to be small on disk, fine enough for a rim to be seen."""
MIN_BLOCKS: Final = 12
"""Fewest blocks along an axis, for geometries smaller than a head."""
NOISE: Final = 0.12
"""Standard deviation of the noise, in standard deviations of the image: no two voxels look quite the same."""

Volume = NDArray[np.float32]

_TISSUES: Final = ("white", "grey", "csf", "oedema", "enhancing", "necrosis")
"""Fields of `Contrast`, in the order of the numbers in `_tissues`; 0 is outside the head."""


def make_golden(preset: GeometryPreset, run: Callable[[Volume], Volume], seed: int = 0) -> GoldenCase:
    """Make a golden case: draw the input and let the model compute what is expected.

    Args:
        preset: the geometry.
        run: the model with the weights as they are stored, float32 (H, W, D, 4) to probabilities
            (H, W, D, classes); the float64 oracle where there is one, so that no engine is judged by another's errors.
        seed: of the head, and of the positions whose probabilities are stored.

    Raises:
        ExportError: the model gave another shape, NaN or infinity.
    """
    coarse, repeats = draw_head(preset, seed)
    probabilities = np.asarray(run(expand(coarse, repeats)), dtype=np.float32)
    expected = (*preset.shape, NUM_CLASSES)
    if probabilities.shape != expected or not np.isfinite(probabilities).all():
        raise ExportError(
            f"golden case: probabilities {probabilities.shape} found, finite or not; expected finite ones {expected}"
        )
    labels = probabilities.argmax(axis=-1).astype(np.uint8)
    highest = np.partition(probabilities, NUM_CLASSES - 2, axis=-1)
    positions = _choose_positions(labels, np.random.default_rng([seed, 1]))
    return GoldenCase(
        coarse=coarse,
        repeats=repeats,
        labels=labels,
        ties=highest[..., -1] - highest[..., -2] < TIE,
        positions=positions,
        probabilities=np.ascontiguousarray(probabilities.reshape(-1, NUM_CLASSES)[positions]),
    )


def draw_head(preset: GeometryPreset, seed: int) -> tuple[NDArray[np.int8], tuple[int, int, int]]:
    """Draw the input: an ellipsoid head with white and grey matter, fluid and two tumours; outside it is exactly 0.

    Returns:
        The input in its stored form, int8 (h, w, d, 4), and the voxels of a block along H, W and D; see `GoldenCase`.
    """
    rng = np.random.default_rng([seed, 0])
    repeats = _block(preset)
    tissues = _tissues(
        tuple(size // count for size, count in zip(preset.shape, repeats, strict=True)), preset.spacing_mm, repeats, rng
    )
    inside = tissues > 0
    channels = [_image(tissues, inside, CONTRASTS[modality], rng) for modality in CHANNEL_ORDER]
    return np.stack(channels, axis=-1), repeats


def write_golden(case: GoldenCase, path: Path) -> None:
    """Write a `golden.npz`; the same case gives the same bytes.

    Raises:
        OutputError: it cannot be written.
    """
    arrays: dict[str, NDArray[Any]] = {
        "format": np.array(GOLDEN_FORMAT, dtype=np.int64),
        "repeats": np.array(case.repeats, dtype=np.int64),
        "coarse": case.coarse,
        "labels": case.labels,
        "ties": np.packbits(case.ties),
        "positions": case.positions,
        "probabilities": case.probabilities,
    }
    write_atomically(path, npz_bytes(arrays))


def describe_golden(case: GoldenCase) -> str:
    """What the model found in the golden case, in one line."""
    found = ", ".join(f"{label.name} {count}" for label, count in case.voxels_by_class().items())
    return f"golden case: {found} voxels; {int(np.count_nonzero(case.ties))} ties, {len(case.positions)} positions"


def _block(preset: GeometryPreset) -> tuple[int, int, int]:
    """Voxels of a block along each axis: the largest divisor within `BLOCK_MM` that leaves `MIN_BLOCKS` blocks."""
    largest = max(1, int(BLOCK_MM / preset.spacing_mm))

    def along(size: int) -> int:
        fits = [count for count in range(1, largest + 1) if size % count == 0 and size // count >= MIN_BLOCKS]
        return max(fits, default=1)

    height, width, depth = preset.shape
    return along(height), along(width), along(depth)


def _tissues(
    shape: tuple[int, ...], spacing_mm: float, repeats: tuple[int, int, int], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Which tissue each block is: 0 outside, then the number of a name in `_TISSUES`, from 1."""
    edges = np.array(repeats) * spacing_mm
    size = np.array(shape) * edges
    axes = [(np.arange(count) - (count - 1) / 2) * edge for count, edge in zip(shape, edges, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    radii = size * (0.44, 0.42, 0.46)
    head = np.linalg.norm(points / radii, axis=-1)

    def ellipsoid(centre: NDArray[np.float64], semi_axes: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.linalg.norm((points - centre) / semi_axes, axis=-1))

    tissues = np.zeros(shape, dtype=np.uint8)
    folds = 0.04 * np.sin(points / radii * 9.0).sum(axis=-1)
    tissues[head <= 1.0] = _number("csf")
    tissues[head + folds <= 0.95] = _number("grey")
    tissues[head + folds <= 0.78] = _number("white")
    for side in (-1.0, 1.0):
        ventricle = ellipsoid(radii * (0.0, 0.14 * side, 0.1), radii * (0.34, 0.08, 0.16))
        tissues[ventricle <= 1.0] = _number("csf")
    # One large tumour in one half of the head and a small one in the other.
    for side, share in ((-1.0, 0.42), (1.0, 0.24)):
        place = np.array([-0.3 * side, 0.42 * side, 0.2]) + rng.uniform(-0.06, 0.06, 3)
        tumour = ellipsoid(radii * place, radii * share * rng.uniform(0.9, 1.1, 3))
        for tissue, edge in (("oedema", 1.0), ("enhancing", 0.66), ("necrosis", 0.4)):
            tissues[(tumour <= edge) & (head <= 0.95)] = _number(tissue)
    return tissues


def _image(
    tissues: NDArray[np.uint8], inside: NDArray[np.bool_], contrast: Contrast, rng: np.random.Generator
) -> NDArray[np.int8]:
    """One modality: the tissues' signals, z-scored over the head as every case is, with noise, in int8 steps."""
    signals = np.array([0.0, *(getattr(contrast, name) for name in _TISSUES)])[tissues]
    values = (signals - signals[inside].mean()) / signals[inside].std()
    steps = np.rint((values + rng.normal(0.0, NOISE, tissues.shape)) * STEPS_PER_UNIT).clip(-127, 127)
    return np.where(inside, steps, 0).astype(np.int8)


def _number(tissue: str) -> int:
    return _TISSUES.index(tissue) + 1


def _choose_positions(labels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.int32]:
    """Voxels spread over the classes that were found, in rising order."""
    flat = labels.ravel()
    classes = np.unique(flat)
    chosen = []
    for value in classes:
        members = np.flatnonzero(flat == value)
        chosen.append(rng.choice(members, min(len(members), POSITIONS // len(classes)), replace=False))
    return np.sort(np.concatenate(chosen)).astype(np.int32)
