"""The registrations of a case: T1, T2 and FLAIR to the T1ce, and one more between two of them that closes a loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.files.nifti import Volume
from eenet_runtime.heads.figures import PairFigures, rotation_degrees
from eenet_runtime.heads.registration import Registration, register
from eenet_runtime.machine.parallel import map_in_threads
from eenet_runtime.machine.threads import usable_cpus
from eenet_runtime.volumes.labels import CHANNEL_ORDER, Modality

Engine = Literal["auto", "native", "numpy"]
"""What counts in the registrations."""

_THIRD: Final = (Modality.T2, Modality.FLAIR)
"""Series to which a loop can be closed, the preferred one first."""


@dataclass(frozen=True)
class Aligned:
    """Where the series of a case lie against each other.

    Attributes:
        t1ce_to: float64 (4, 4) for each series, from the T1ce's world to its own; the T1ce's is the identity.
        t1_to_third: the same from the T1's world to that of `third`; None where there is no third series.
        third: the series that closes the loop.
        pairs: figures of all registrations.
    """

    t1ce_to: Mapping[Modality, NDArray[np.float64]]
    t1_to_third: NDArray[np.float64] | None
    third: Modality | None
    pairs: tuple[PairFigures, ...]


def align_series(volumes: Mapping[Modality, Volume], engine: Engine, threads: int | None) -> Aligned:
    """Register every series to the T1ce, and the T1 to a third one.

    Several registrations run side by side, each with few threads: that takes less time than one after the other with
    many. The results do not depend on it.

    Args:
        volumes: the series, with T1ce and T1.
        engine: `auto`, `native` or `numpy`.
        threads: in all; by default as many as the process may use.

    Raises:
        CaseError: a series that cannot be registered.
        BackendError: that engine is not there.
    """
    threads = threads or usable_cpus()
    moving = [name for name in CHANNEL_ORDER if name in volumes and name is not Modality.T1CE]
    third = next((name for name in _THIRD if name in volumes), None)
    pairs: list[tuple[Modality, Modality]] = [(Modality.T1CE, name) for name in moving]
    if third is not None:
        pairs.append((Modality.T1, third))
    workers = min(threads, len(pairs))

    def work(pair: tuple[Modality, Modality]) -> Registration:
        fixed, other = (volumes[name] for name in pair)
        return register(fixed, other, threads=max(1, threads // workers), engine=engine)

    found = map_in_threads(work, pairs, workers)
    t1ce_to = {Modality.T1CE: np.eye(4)}
    t1_to_third = None
    for (fixed, name), registration in zip(pairs, found, strict=True):
        if fixed is Modality.T1CE:
            t1ce_to[name] = registration.fixed_to_moving
        else:
            t1_to_third = registration.fixed_to_moving
    figures = tuple(pair_figures(*pair, registration) for pair, registration in zip(pairs, found, strict=True))
    return Aligned(t1ce_to, t1_to_third, third, figures)


def loop_mm(aligned: Aligned, points: NDArray[np.float64]) -> float | None:
    """Mean distance between where two ways take points of the T1ce: straight to a third series, and by the T1.

    Args:
        aligned: the registrations.
        points: (N, 3) millimetres in the T1ce's world.

    Returns:
        Millimetres; None where there is no third series, or no point.
    """
    if aligned.third is None or aligned.t1_to_third is None or not len(points):
        return None
    straight = aligned.t1ce_to[aligned.third]
    apart = aligned.t1_to_third @ aligned.t1ce_to[Modality.T1] - straight
    return float(np.linalg.norm(points @ apart[:3, :3].T + apart[:3, 3], axis=1).mean())


def pair_figures(fixed: Modality, moving: Modality, found: Registration) -> PairFigures:
    """The figures of one registration, by which it is doubted."""
    quality = found.quality
    return PairFigures(
        fixed=fixed,
        moving=moving,
        nmi=quality.nmi,
        sharpness=quality.sharpness,
        mean_sharpness=quality.mean_sharpness,
        consensus=quality.consensus,
        starts=quality.starts,
        overlap=quality.overlap,
        covered_mm=quality.covered_mm,
        rotation_degrees=rotation_degrees(found.fixed_to_moving),
        engine=found.engine,
        seconds=found.seconds,
    )
