"""How far a ratio of two medians can be trusted: percentile bootstrap over rounds, seeded.

A round is what is drawn: all runs of one round share the machine's mood, so they are drawn together or not at all
(a block bootstrap; Efron and Tibshirani, An Introduction to the Bootstrap, chapters 8 and 13).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

DRAWS: Final = 1000
"""Resamples; enough for the percentiles of 95 %, and roughly for those of 99.9 %."""
_SEED: Final = 28
_CLOCK_S: Final = 1e-9
"""What the clock can tell apart; a stage that did not happen took no less."""

Rounds = NDArray[np.float64]
"""Seconds, (rounds, runs in a round). Rounds are drawn, the runs of a round (cases, engines) always stay together."""


@dataclass(frozen=True)
class Ratio:
    """A ratio of two times, and the interval that holds it.

    Attributes:
        value: of the medians; where a round has several runs, the geometric mean of their ratios.
        low, high: the ends of the interval.
        level: its level, such as 0.95.
    """

    value: float
    low: float
    high: float
    level: float = 0.95

    def describe(self) -> str:
        """Such as `0.62 (0.60-0.66)`."""
        return f"{self.value:.2f} ({self.low:.2f}-{self.high:.2f})"


def paired_ratio(numerator: Rounds, denominator: Rounds, level: float = 0.95, seed: int = _SEED) -> Ratio:
    """The ratio of two that took turns: round by round, so that what slowed a round slowed both.

    Args:
        numerator, denominator: of one shape.
        level: of the interval.
        seed: of the draws.

    Raises:
        ValueError: shapes differ, or nothing was measured.
    """
    first, second = _as_rounds(numerator), _as_rounds(denominator)
    if first.shape != second.shape:
        raise ValueError(f"rounds of shape {first.shape} and {second.shape}, expected pairs")
    by_round = np.log(first) - np.log(second)
    drawn = by_round[_draws(len(by_round), seed)]
    return _ratio(_centre(by_round[np.newaxis])[0], _centre(drawn), level)


def unpaired_ratio(
    numerator: Rounds,
    denominator: Rounds,
    level: float = 0.95,
    *,
    quantile: float = 0.5,
    yardsticks: tuple[Rounds, Rounds] | None = None,
    between: float = 0.0,
    seed: int = _SEED,
) -> Ratio:
    """The ratio of two measurements at different times: the rounds of each are drawn for themselves.

    Args:
        numerator, denominator: with the same runs in a round; the number of rounds may differ.
        level: of the interval.
        quantile: over the rounds: 0.5 for medians, less for what is taken when nobody interferes.
        yardsticks: what each is divided by: the same quantile of a fixed piece of work, in the same rounds.
        between: standard deviation, of the logarithm, of what is the same in all rounds of one measurement and another
            in the next: no draw of rounds shows it. The interval is as much wider.
        seed: of the draws.

    Raises:
        ValueError: other runs in a round, or nothing was measured.
    """
    first, second = np.log(_as_rounds(numerator)), np.log(_as_rounds(denominator))
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"rounds of {first.shape[1]} and {second.shape[1]} runs, expected the same runs")
    value, drawn = np.zeros(1), np.zeros(DRAWS)
    for side, (sign, times) in enumerate(((1, first), (-1, second))):
        draws = _draws(len(times), seed + side)
        value += sign * _centre(times[np.newaxis], quantile)
        drawn += sign * _centre(times[draws], quantile)
        if yardsticks is not None:
            yardstick = np.log(_as_rounds(yardsticks[side]))
            value -= sign * _centre(yardstick[np.newaxis], quantile)
            drawn -= sign * _centre(yardstick[draws], quantile)
    return _widened(_ratio(float(value[0]), drawn, level), np.sqrt(2) * between)


def _widened(ratio: Ratio, deviation: float) -> Ratio:
    """An interval with an independent, normal deviation of the logarithm more: half widths add as squares."""
    reach = NormalDist().inv_cdf((1 + ratio.level) / 2) * deviation
    down, up = (np.hypot(np.log(ratio.value / end), reach) for end in (ratio.low, ratio.high))
    return Ratio(ratio.value, float(ratio.value * np.exp(-down)), float(ratio.value * np.exp(up)), ratio.level)


def as_rounds(values: Sequence[Sequence[float]]) -> Rounds:
    """Lists of runs by round, as an array."""
    return _as_rounds(np.asarray(values, dtype=np.float64))


def _as_rounds(values: Rounds) -> Rounds:
    rounds = np.asarray(values, dtype=np.float64)
    rounds = rounds[:, np.newaxis] if rounds.ndim == 1 else rounds
    if rounds.size == 0:
        raise ValueError("nothing was measured")
    return np.maximum(rounds, _CLOCK_S)


def _draws(rounds: int, seed: int) -> NDArray[np.intp]:
    return np.random.default_rng(seed).integers(0, rounds, size=(DRAWS, rounds), dtype=np.intp)


def _centre(logarithms: NDArray[np.float64], quantile: float = 0.5) -> NDArray[np.float64]:
    """A quantile over the rounds (axis 1), then the mean over the runs: (draws, rounds, runs) to (draws,)."""
    centre: NDArray[np.float64] = np.quantile(logarithms, quantile, axis=1).mean(axis=1)
    return centre


def _ratio(value: float, drawn: NDArray[np.float64], level: float) -> Ratio:
    low, high = np.quantile(drawn, ((1 - level) / 2, (1 + level) / 2))
    return Ratio(float(np.exp(value)), float(np.exp(low)), float(np.exp(high)), level)
