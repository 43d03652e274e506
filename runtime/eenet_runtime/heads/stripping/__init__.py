"""Which voxels of a raw head are brain: two networks of a strip bundle, or what a site has instead.

`Stripper` runs the networks; It is a `BrainMasker`; each
gives a `BrainMask` with figures that tell when it went wrong.
"""

from __future__ import annotations

from eenet_runtime.heads.stripping.brain_mask import BrainFigures, BrainMask, BrainMasker
from eenet_runtime.heads.stripping.shipped import shipped_strip_bundle
from eenet_runtime.heads.stripping.stripper import Stripper

__all__ = [
    "BrainFigures",
    "BrainMask",
    "BrainMasker",
    "Stripper",
    "shipped_strip_bundle",
]
