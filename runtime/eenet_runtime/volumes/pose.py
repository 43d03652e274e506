"""Which way the heads of a training lie."""

from __future__ import annotations

from enum import StrEnum


class Pose(StrEnum):
    """What a bundle says of its training's heads, so that raw heads are turned likewise."""

    NATIVE = "native"
    """As their scanner or their file had them; bundles that say nothing."""
    MNI152 = "mni152"
    """As the ICBM152 average lies, rigidly: size and shape stay the patient's."""
    SRI24 = "sri24"
    """As in the SRI24 atlas, where BraTS lays its cases."""
