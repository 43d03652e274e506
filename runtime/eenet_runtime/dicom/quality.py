"""Which figures of the way to the network a structured report shows, and under which names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_OF_A_PAIR: Final = {"nmi": "mutual information", "sharpness": "peak sharpness", "overlap": "overlap"}
_OF_THE_BRAIN: Final = {
    "volume_ml": "brain volume (ml)",
    "compactness": "brain compactness",
    "border_share": "brain at the border of the image",
    "agreement": "agreement of brain masks",
}


def quality_of(raw: Mapping[str, Any] | None) -> dict[str, float | str]:
    """The figures for a reader of the report.

    Args:
        raw: `Segmentation.raw`; None where series came ready.

    Returns:
        Figure or word by name, in the order of the steps.
    """
    if raw is None:
        return {}
    found: dict[str, float | str] = {"way to the network": str(raw["way"])}
    figures = raw.get("figures", {})
    for pair in figures.get("pairs", ()):
        named = {f"{pair['fixed']} to {pair['moving']}: {word}": pair.get(key) for key, word in _OF_A_PAIR.items()}
        found |= _numbers(named)
    found |= _numbers({"loop of registrations (mm)": figures.get("loop_mm")})
    brain = figures.get("brain") or {}
    found |= _numbers({word: brain.get(key) for key, word in _OF_THE_BRAIN.items()})
    return found | _numbers({"template: mutual information": (figures.get("pose") or {}).get("nmi")})


def _numbers(named: Mapping[str, Any]) -> dict[str, float | str]:
    return {name: float(value) for name, value in named.items() if isinstance(value, int | float)}
