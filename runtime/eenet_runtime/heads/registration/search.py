"""The optimiser: Powell's method of conjugate directions, with parabolas for its lines.

M. J. D. Powell, The Computer Journal 7 (1964) 155-162. A similarity measured on samples has no useful derivative, and
an evaluation costs more than everything else, so lines are searched with few of them: three points and the top of the
parabola through them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_GROWTH: Final = 2.0
"""Each further step along a line that still climbs is so many times longer."""

_MOST_STEPS: Final = 8
"""Along one line in one direction."""

_SHRINK: Final = 0.4
"""The step after a sweep that led hardly anywhere."""

_NO_GAIN: Final = 1e-7
"""A sweep that gains no more ends the search at its step."""

Objective = Callable[[NDArray[np.float64]], float]


@dataclass(frozen=True)
class Optimum:
    """Where a search ended.

    Attributes:
        parameters: float64.
        value: of the objective there.
        evaluations: how many it took.
    """

    parameters: NDArray[np.float64]
    value: float
    evaluations: int


def maximise(
    objective: Objective, start: NDArray[np.float64], *, step: float, tolerance: float, most_sweeps: int = 25
) -> Optimum:
    """Climb to a maximum near a start.

    Args:
        objective: to be made as large as possible; deterministic and finite.
        start: its parameters, all of about the same importance.
        step: first step along every parameter.
        tolerance: a sweep over all directions that moves less, with steps as short, ends the search.
        most_sweeps: ends it in any case.

    Returns:
        The best point found; its value is never below that of the start.
    """
    return _Search(objective, start, step, tolerance).run(most_sweeps)


class _Search:
    def __init__(self, objective: Objective, start: NDArray[np.float64], step: float, tolerance: float) -> None:
        self._objective = objective
        self._evaluations = 0
        self._step = step
        self._tolerance = tolerance
        self._point = np.array(start, np.float64)
        self._value = self._evaluate(self._point)

    def run(self, most_sweeps: int) -> Optimum:
        directions = np.eye(self._point.size)
        for sweep in range(most_sweeps):
            before, value_before = self._point, self._value
            gains = [self._climb(direction, self._step) for direction in directions]
            moved = self._point - before
            length = float(np.linalg.norm(moved))
            if length > self._tolerance:
                along = moved / length
                self._climb(along, max(self._step / 2, self._tolerance))
                if sweep:
                    directions[int(np.argmax(gains))] = along
            if length < self._tolerance or self._value - value_before < _NO_GAIN:
                if self._step <= self._tolerance:
                    break
                self._step = max(self._tolerance, self._step * _SHRINK)
                directions = np.eye(self._point.size)
        return Optimum(self._point, self._value, self._evaluations)

    def _climb(self, direction: NDArray[np.float64], step: float) -> float:
        """Go to the top of one line; the gain."""
        before = self._value
        position, value = self._top_of_line(direction, step)
        if value > before:
            self._point, self._value = self._point + position * direction, value
        return self._value - before

    def _top_of_line(self, direction: NDArray[np.float64], step: float) -> tuple[float, float]:
        def at(position: float) -> tuple[float, float]:
            return position, self._evaluate(self._point + position * direction)

        here, ahead = (0.0, self._value), at(step)
        if ahead[1] < here[1]:
            behind = at(-step)
            if behind[1] < here[1]:
                return self._top_of_parabola(at, behind, here, ahead)
            ahead = behind
        for _ in range(_MOST_STEPS):
            beyond = at(ahead[0] * _GROWTH)
            if beyond[1] <= ahead[1]:
                return self._top_of_parabola(at, here, ahead, beyond)
            here, ahead = ahead, beyond
        return ahead

    def _top_of_parabola(
        self,
        at: Callable[[float], tuple[float, float]],
        first: tuple[float, float],
        middle: tuple[float, float],
        last: tuple[float, float],
    ) -> tuple[float, float]:
        """The best of three points, the middle one the highest, and of the parabola's top."""
        to_first, to_last = middle[0] - first[0], middle[0] - last[0]
        weight_first, weight_last = to_first * (middle[1] - last[1]), to_last * (middle[1] - first[1])
        if (curvature := weight_first - weight_last) == 0:
            return middle
        offset = (to_first * weight_first - to_last * weight_last) / (2 * curvature)
        if abs(offset) < self._tolerance / 4:
            return middle
        return max(middle, at(middle[0] - offset), key=lambda point: point[1])

    def _evaluate(self, parameters: NDArray[np.float64]) -> float:
        self._evaluations += 1
        return self._objective(parameters)
