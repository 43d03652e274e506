"""The degraded mode: a case that lacks a modality, which was allowed by name.

Zeros stand in for the missing image, which is what its background and its mean are after normalisation, and what a
training with modality dropout blanks an image with. A network that was trained without has never seen such an input,
so its bundle refuses the mode. What each modality costs is in docs/input-checks.md.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from eenet_runtime.bundle.manifest import Bundle
from eenet_runtime.codes import Reason
from eenet_runtime.errors import BundleError, CaseError
from eenet_runtime.volumes.labels import Modality

MAY_BE_MISSING: Final = (Modality.T1CE, Modality.T2, Modality.FLAIR)
"""Not the T1: the mask is written on its grid."""


def may_lack(missing: Collection[Modality], allow_missing: Collection[Modality]) -> bool:
    """Whether a case may go on without these: none, or one that was allowed. Training blanks one image, never two."""
    return not missing or (len(missing) == 1 and set(missing) <= set(allow_missing) & set(MAY_BE_MISSING))


def require_modalities(case_id: str, found: Collection[Modality], allow_missing: Collection[Modality]) -> None:
    """Refuse a case that lacks what it may not lack.

    Args:
        case_id: its name, for the message.
        found: the modalities that it has.
        allow_missing: those of which it may lack one.

    Raises:
        CaseError: it lacks another modality, or more than one, or the T1.
    """
    missing = [modality for modality in Modality if modality not in found]
    if may_lack(missing, allow_missing):
        return
    names = " and no ".join(modality.value for modality in missing)
    allowed = " or ".join(modality.value for modality in MAY_BE_MISSING if modality in allow_missing)
    expected = f"all four modalities, or all but {allowed}" if allowed else "all four modalities"
    raise CaseError(f"case {case_id}: no {names} found, expected {expected}", code="missing-modality")


def require_trained_for(bundle: Bundle, allow_missing: Collection[Modality]) -> None:
    """Refuse the degraded mode where it cannot work.

    Raises:
        BundleError: the T1 is allowed to be missing, on whose grid the mask is written; or a modality is, and the
            bundle's manifest names no training with modality dropout.
    """
    if Modality.T1 in allow_missing:
        raise BundleError("t1 allowed to be missing, but the mask is written on its grid; allow t1ce, t2 or flair")
    if allow_missing and bundle.manifest.modality_dropout <= 0:
        names = " and ".join(modality.value for modality in Modality if modality in allow_missing)
        raise BundleError(
            f"{bundle.folder}: {names} allowed to be missing, but its manifest names no training with modality "
            "dropout; give all four modalities"
        )


def missing_warnings(missing: Collection[Modality]) -> tuple[Reason, ...]:
    """What every result of a case in degraded mode says; nothing for a complete case."""
    return tuple(
        Reason(
            "degraded-mode",
            f"degraded mode: the {modality.value} is missing and the network was given zeros for it; expect a worse "
            "mask",
        )
        for modality in Modality
        if modality in missing
    )
