"""Names that no case may have: its results would be taken for somebody else's."""

from __future__ import annotations

from typing import Final

from eenet_runtime.folders.summary import is_summary_name
from eenet_runtime.segmenter.probability_maps import MAPS_SUFFIX

_MAPS_ENDING: Final = MAPS_SUFFIX.removesuffix(".nii.gz")


def kept_for(case_id: str) -> str | None:
    """What a name is kept for, whose files those of a case would be taken for; None for any other name.

    Upper and lower case are one: on some file systems they are.
    """
    if is_summary_name(case_id):
        return "the run's summary"
    return "probability maps" if case_id.lower().endswith(_MAPS_ENDING) else None
