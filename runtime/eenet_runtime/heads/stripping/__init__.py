"""Which voxels of a raw head are brain: two networks of a strip bundle, or what a site has instead.

`Stripper` runs the networks; `MaskCommand`, `MaskFile` and `StrippedHeads` stand in for it, all of them `BrainMasker`.
Each gives a `BrainMask` with figures that tell when it went wrong.
"""

from __future__ import annotations

from eenet_runtime.heads.stripping.brain_mask import BrainFigures, BrainMask, BrainMasker
from eenet_runtime.heads.stripping.given_masks import MaskCommand, MaskFile, StrippedHeads
from eenet_runtime.heads.stripping.shipped import shipped_strip_bundle
from eenet_runtime.heads.stripping.stripped import looks_stripped
from eenet_runtime.heads.stripping.stripper import Stripper

__all__ = [
    "BrainFigures",
    "BrainMask",
    "BrainMasker",
    "MaskCommand",
    "MaskFile",
    "StrippedHeads",
    "Stripper",
    "looks_stripped",
    "shipped_strip_bundle",
]
