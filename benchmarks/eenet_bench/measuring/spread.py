"""What a list of measurements says: the figures that BraTS' tables and the latency tables both show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """Location and spread of some measurements, in their own unit.

    Attributes:
        count: how many there were.
        mean: arithmetic mean.
        standard_deviation: with the divisor `count`: of these measurements, not an estimate for others.
        median, lower_quartile, upper_quartile: percentiles 50, 25 and 75, linear between neighbours.
        smallest, largest: the extremes.
    """

    count: int
    mean: float
    standard_deviation: float
    median: float
    lower_quartile: float
    upper_quartile: float
    smallest: float
    largest: float


def spread(values: Sequence[float]) -> Spread:
    """Describe one or more finite numbers."""
    array = np.asarray(values, dtype=np.float64)
    lower, median, upper = (float(value) for value in np.percentile(array, (25, 50, 75)))
    return Spread(
        count=array.size,
        mean=float(array.mean()),
        standard_deviation=float(array.std()),
        median=median,
        lower_quartile=lower,
        upper_quartile=upper,
        smallest=float(array.min()),
        largest=float(array.max()),
    )
