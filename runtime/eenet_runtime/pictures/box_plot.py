"""The numbers of a box plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class BoxPlot:
    """A sample in five numbers: quartiles by linear interpolation, whiskers to the last value within 1.5 times the
    distance of the quartiles (J. W. Tukey, "Exploratory Data Analysis", 1977).

    A quartile lies between two values: where none within reach lies beyond it, `low` is above `lower`, or `high` below
    `upper`.
    """

    low: float
    lower: float
    median: float
    upper: float
    high: float

    @classmethod
    def from_values(cls, values: Sequence[float]) -> BoxPlot:
        """The box of one value or more."""
        lower, median, upper = (float(q) for q in np.percentile(values, [25, 50, 75]))
        reach = 1.5 * (upper - lower)
        return cls(
            min(value for value in values if value >= lower - reach),
            lower,
            median,
            upper,
            max(value for value in values if value <= upper + reach),
        )
