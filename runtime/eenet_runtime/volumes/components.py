"""Connected components of a mask, numbered and counted."""

from __future__ import annotations

from typing import Any, Final

import cc3d
import numpy as np
from numpy.typing import NDArray

FACES: Final = 6
"""Voxels that touch by a face belong together."""
CORNERS: Final = 26
"""Voxels that touch by a face, an edge or a corner belong together."""


def components(
    mask: NDArray[np.bool_], connectivity: int = CORNERS
) -> tuple[NDArray[np.unsignedinteger[Any]], NDArray[np.intp]]:
    """Numbered components of a mask, from 1, and the voxels of each; 0 is what is not in the mask.

    Args:
        mask: bool, three axes in any order of memory.
        connectivity: `FACES` or `CORNERS`.
    """
    if mask.size == 0:
        return np.zeros(mask.shape, np.uint16), np.zeros(0, np.intp)
    # connected-components-3d likes the first axis fastest; which axis that is makes no difference to it.
    turn = mask.flags.c_contiguous
    numbered = cc3d.connected_components(
        mask.T if turn else np.asfortranarray(mask), connectivity=connectivity, binary_image=True
    )
    return (numbered.T if turn else numbered), np.bincount(numbered.ravel(order="K"))[1:]


def largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The component with the most voxels, the first of equals; an empty mask stays empty."""
    numbered, sizes = components(mask)
    if sizes.size <= 1:
        return mask.copy()
    return np.asarray(numbered == int(sizes.argmax()) + 1)
