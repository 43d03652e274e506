"""Identifiers that follow from what a result was made from: made again, it is the same object to a PACS."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from eenet_runtime.volumes.labels import Label, Region

_PURPOSE: Final = "eenet result 1"
"""Goes into every identifier; another number where the meaning of a result changes."""


class Tracking(NamedTuple):
    """The names by which one finding is found again in all objects of a result."""

    identifier: str
    uid: str


@dataclass(frozen=True)
class ResultIdentifiers:
    """The identifiers of one result; made by `result_identifiers`.

    Attributes:
        digest: SHA-256, hexadecimal, of everything that the result follows from.
    """

    digest: str

    def uid(self, role: str) -> str:
        """A DICOM UID, `2.25.` and a UUID: always the same for one result and role, another for any other.

        Args:
            role: what it names, such as `seg` or `seg-series`.
        """
        return _uid(f"{self.digest}/{role}")


def result_identifiers(
    study_uid: str, source_sop_uids: Iterable[str], bundle_id: str, settings: Mapping[str, str]
) -> ResultIdentifiers:
    """Everything that a result follows from, as one digest.

    Args:
        study_uid: Study Instance UID.
        source_sop_uids: SOP Instance UIDs of all files that were used, in any order.
        bundle_id: of the model.
        settings: whatever else changes the result, among it `ModelIdentity.settings`; in any order.
    """
    facts = [_PURPOSE, study_uid, sorted(set(source_sop_uids)), bundle_id, sorted(settings.items())]
    return ResultIdentifiers(hashlib.sha256(json.dumps(facts).encode()).hexdigest())


def device_uid(bundle_id: str) -> str:
    """Device UID (0018,1002) of the algorithm: another one for every model, as IHE's AI Results profile asks for."""
    return _uid(f"{_PURPOSE}/device/{bundle_id}")


def frame_of_reference_uid(series_uid: str) -> str:
    """For a series that names no frame of reference, where its results need one: the same for all of them."""
    return _uid(f"{_PURPOSE}/frame of reference/{series_uid}")


def tracking(ids: ResultIdentifiers, finding: Label | Region) -> Tracking:
    """How the segment of a class, and the measurements of a class or a region, are called in all objects of a result.

    The enhancing tumour is one finding, whether it is called a class or a region.
    """
    return Tracking(f"EENet {finding.name}", ids.uid(f"tracking-{finding.name}"))


def _uid(text: str) -> str:
    """A UUID of version 8 (RFC 9562: whatever its maker likes, here 122 bits of SHA-256) as UID (DICOM PS3.5, B.2)."""
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16])
    number = number & ~(0xF << 76) | 8 << 76
    number = number & ~(0x3 << 62) | 2 << 62
    return f"2.25.{number}"
