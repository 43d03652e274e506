"""Raw phantoms: heads with skull, face and neck, in four series as a scanner makes them, with the truth.

from eenet_train.phantom.raw import SMALL, make_raw_phantom

phantom = make_raw_phantom(seed=1, index=0, settings=SMALL)
phantom.volumes[Modality.T2]                    # as a reader returns it
phantom.series[Modality.T2].t1ce_to_series      # the truth
"""

from eenet_train.phantom.raw.generate import RawPhantom, Series, make_raw_phantom, raw_case_id
from eenet_train.phantom.raw.settings import (
    RAW,
    SMALL,
    STILL,
    Displacement,
    Orientation,
    Plan,
    Range,
    RawSettings,
    RawSize,
)

__all__ = [
    "RAW",
    "SMALL",
    "STILL",
    "Displacement",
    "Orientation",
    "Plan",
    "Range",
    "RawPhantom",
    "RawSettings",
    "RawSize",
    "Series",
    "make_raw_phantom",
    "raw_case_id",
]
