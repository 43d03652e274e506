"""What lies where in a head: layers of materials, painted one over the other in each contrast."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eenet_train.phantom.fields import Float3D, Shape3

Window = tuple[slice, slice, slice]


class Material(enum.StrEnum):
    """A tissue with signals of its own; white, grey and fluid are the ground on which the others are painted."""

    WHITE = "white"
    GREY = "grey"
    FLUID = "fluid"
    OEDEMA = "oedema"
    SOLID = "solid"
    CYST = "cyst"
    NECROSIS = "necrosis"
    ENHANCING = "enhancing"
    BLOOD = "blood"
    CALCIFICATION = "calcification"
    LESION = "lesion"
    LACUNE = "lacune"
    IRON = "iron"
    SINUS = "sinus"
    ARTERY = "artery"
    DURA = "dura"
    PLEXUS = "plexus"
    PITUITARY = "pituitary"
    PULSATION = "pulsation"
    FAT = "fat"
    BONE = "bone"


@dataclass(frozen=True)
class Layer:
    """One material over what is painted already.

    Attributes:
        material: what.
        window: part of the head's box.
        share: how much of each voxel of the window, float32 in [0, 1].
        uneven: how far its signal varies from place to place (standard deviation, relative).
    """

    material: Material
    window: Window
    share: Float3D
    uneven: float = 0.0


@dataclass
class Scene:
    """A head with everything in it.

    Attributes:
        white, grey, fluid: the ground, shares that add up to 1 everywhere in the box, float32.
        labels: network classes, uint8.
        layers: in the order in which they are painted.
    """

    white: Float3D
    grey: Float3D
    fluid: Float3D
    labels: NDArray[np.uint8]
    layers: list[Layer] = field(default_factory=list)

    @property
    def shape(self) -> Shape3:
        """The head's box in voxels."""
        x, y, z = self.labels.shape
        return x, y, z

    def add(self, material: Material, share: Float3D, *, uneven: float = 0.0, window: Window | None = None) -> None:
        """Paint a material; a share of the whole box is cut to where there is any."""
        if window is None:
            if not share.any():
                return
            window = window_of(share > 0.003, margin=0)
            share = np.ascontiguousarray(share[window])
        self.layers.append(Layer(material, window, share.astype(np.float32, copy=False), uneven))


def window_of(mask: NDArray[np.bool_], margin: int) -> Window:
    """Bounding box of a mask, `margin` voxels wider (nothing if the mask is empty)."""
    parts = []
    for axis in range(3):
        line = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        size = mask.shape[axis]
        if not line.size:
            return slice(0, 0), slice(0, 0), slice(0, 0)
        parts.append(slice(max(int(line[0]) - margin, 0), min(int(line[-1]) + margin + 1, size)))
    return parts[0], parts[1], parts[2]
