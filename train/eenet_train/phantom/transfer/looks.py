"""The ranges from which a phantom is drawn: two looks that share no parameters, one to train on, one to measure on.

Ranges of signals are relative to normal white matter, or to the tissues named in `contrast`. They were chosen by hand,
wider than what sequences, scanners and patients show (domain randomisation: Billot et al., SynthSeg, Medical Image
Analysis 86, 2023; Hoopes et al., SynthStrip, NeuroImage 260, 2022).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

Range = tuple[float, float]


class Family(enum.StrEnum):
    """Kinds of disease."""

    RING = "ring"
    """Enhancing rim around a necrotic core, thick, thin or broken; as glioblastoma."""
    SOLID = "solid"
    """Core that enhances unevenly throughout."""
    DIFFUSE = "diffuse"
    """Tumour without enhancement, with cortex in it and often cysts; as low-grade glioma."""
    MIXED = "mixed"
    """Tumour without enhancement that holds enhancing nodules or has a ring inside."""
    SMALL_RINGS = "small_rings"
    """Several lesions of about 1 cm with an enhancing rim."""
    NONE = "none"
    """No tumour: vessels, ageing and multiple sclerosis alone."""


@dataclass(frozen=True)
class Look:
    """Limits of one synthesis.

    Attributes:
        name: for messages and case names.
        stream: enters every seed, so that looks share no draws.
        families: chance of each kind of disease.
        signals: range of each draw of `contrast`, by modality and tissue ("t1.grey").
        deformation: standard deviation in mm and spacing of control points in mm of each smooth deformation.
        narrowing: smallest and largest size along each axis, relative to the head that was posed.
        ventricles_mm: how far tissue is driven from (> 0) or towards the ventricles.
        fluid: standard deviation of the logarithm of the amount of fluid.
        sulci: chance of folds of a head's own.
        lobed: chance that a core is a union of balls rather than a level set of a random field.
        patchy_oedema: chance that oedema follows distance and tissue rather than a front in white matter.
        noise: standard deviation of the noise, relative to white matter.
        bias: largest logarithm of the shading.
        slice_mm: thickness of a slice.
        thick: chance that an image is made of slices.
        shift_mm: largest error of registration.
        faults: chance of each fault of an image (ringing, ghosts, gains, missing slices).
        rim_left_mm, brain_cut_mm: how far stripping may err outwards and inwards.
    """

    name: str
    stream: int
    families: Mapping[Family, float]
    signals: Mapping[str, Range]
    deformation: tuple[Range, ...] = ((5.0, 45.0), (2.0, 18.0))
    narrowing: Range = (0.88, 1.0)
    ventricles_mm: Range = (-2.0, 5.0)
    fluid: float = 0.6
    sulci: float = 0.6
    lobed: float = 0.0
    patchy_oedema: float = 0.0
    noise: Range = (0.01, 0.07)
    bias: float = 0.3
    slice_mm: Range = (1.5, 6.5)
    thick: float = 0.6
    shift_mm: float = 2.0
    faults: float = 0.2
    rim_left_mm: Range = (0.0, 5.0)
    brain_cut_mm: Range = (0.0, 4.0)

    def draw(self, rng: np.random.Generator, name: str) -> float:
        """One signal or factor, uniform in its range."""
        low, high = self.signals[name]
        return float(rng.uniform(low, high))


_SIGNALS_A: Final[dict[str, Range]] = {
    # T1: white > grey > fluid, in spin echo less apart than in a prepared gradient echo.
    "t1.grey": (0.58, 0.95),
    "t1.fluid": (0.20, 0.75),  # of grey
    "t1.oedema": (0.30, 1.50),  # way from white to grey
    "t1.solid": (0.62, 1.05),  # of grey
    "t1.cyst": (0.0, 0.45),  # way from fluid to grey
    "t1.necrosis": (0.05, 0.90),
    "t1.enhancing": (0.75, 1.10),  # of grey, before gadolinium
    "t1.lesion": (0.0, 1.20),  # way from white to grey
    "t1.vessel": (0.30, 1.30),
    "t1.blood": (0.50, 1.80),
    "t1ce.enhancing": (1.05, 2.40),
    "t1ce.dura": (0.70, 2.30),
    "t1ce.plexus": (0.95, 2.20),
    "t1ce.vessel": (1.05, 3.00),
    "t2.grey": (1.05, 1.75),
    "t2.fluid": (1.40, 2.60),  # of grey
    "t2.oedema": (0.10, 0.75),  # way from grey to fluid
    "t2.solid": (0.05, 0.75),
    "t2.cyst": (0.70, 1.10),
    "t2.necrosis": (0.10, 1.05),
    "t2.enhancing": (-0.15, 0.50),
    "t2.lesion": (0.30, 1.20),  # of the way from white to oedema
    "t2.vessel": (0.20, 1.40),
    "t2.blood": (0.20, 2.00),
    "flair.grey": (0.95, 1.45),
    "flair.fluid": (0.08, 0.75),
    "flair.oedema": (1.15, 2.10),  # of grey
    "flair.solid": (0.50, 1.25),  # of the way from white to oedema
    "flair.mismatch": (0.65, 1.15),  # of grey: solid tumour that is dark in FLAIR, bright in T2
    "flair.cyst": (-0.05, 0.85),  # way from fluid to grey
    "flair.necrosis": (0.05, 1.00),  # way from fluid to oedema
    "flair.enhancing": (0.90, 1.90),  # of grey
    "flair.lesion": (0.50, 1.25),
    "flair.vessel": (0.20, 1.30),
    "flair.blood": (0.20, 1.80),
    "outside.fat": (0.40, 2.20),
    "outside.bone": (0.05, 0.50),
}

# Narrower and elsewhere, so that a network cannot have learned this table by heart.
_SIGNALS_B: Final[dict[str, Range]] = {
    **_SIGNALS_A,
    "t1.grey": (0.66, 0.84),
    "t1.oedema": (0.50, 1.10),
    "t1.solid": (0.72, 0.97),
    "t1ce.enhancing": (1.15, 1.80),
    "t1ce.dura": (1.00, 1.90),
    "t1ce.vessel": (1.30, 2.40),
    "t2.grey": (1.20, 1.50),
    "t2.oedema": (0.25, 0.55),
    "t2.solid": (0.20, 0.50),
    "flair.grey": (1.05, 1.30),
    "flair.fluid": (0.15, 0.50),
    "flair.oedema": (1.25, 1.75),
    "flair.cyst": (0.00, 0.50),
}

LOOK_A: Final = Look(
    "A",
    0xA,
    MappingProxyType(
        {
            Family.RING: 0.34,
            Family.SOLID: 0.10,
            Family.DIFFUSE: 0.24,
            Family.MIXED: 0.14,
            Family.SMALL_RINGS: 0.10,
            Family.NONE: 0.08,
        }
    ),
    MappingProxyType(_SIGNALS_A),
)
"""The one to train on."""
LOOK_B: Final = Look(
    "B",
    0xB,
    MappingProxyType(
        {
            Family.RING: 0.40,
            Family.SOLID: 0.10,
            Family.DIFFUSE: 0.25,
            Family.MIXED: 0.15,
            Family.SMALL_RINGS: 0.10,
            Family.NONE: 0.0,
        }
    ),
    MappingProxyType(_SIGNALS_B),
    deformation=((3.5, 60.0), (2.5, 26.0), (1.2, 12.0)),
    narrowing=(0.90, 0.98),
    ventricles_mm=(0.0, 4.0),
    fluid=0.45,
    sulci=0.3,
    lobed=1.0,
    patchy_oedema=1.0,
    noise=(0.015, 0.045),
    bias=0.2,
    slice_mm=(1.0, 5.0),
    thick=0.5,
    shift_mm=1.0,
    faults=0.1,
    rim_left_mm=(0.0, 3.0),
    brain_cut_mm=(0.0, 2.0),
)
"""The one to measure on: never trained on. Tumours are unions of balls, oedema spreads by distance."""

LOOKS: Final = MappingProxyType({look.name: look for look in (LOOK_A, LOOK_B)})
"""By name."""
