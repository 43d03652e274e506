"""The identifiers of one DICOM object and nothing else: what a receiver must know before it may acknowledge it."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.filereader import _read_file_meta_info, read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import RE_VALID_UID

from eenet_runtime.dicom.guarded_reader import (
    DEFAULT_HEADER_LIMITS,
    GuardedReader,
    HeaderLimits,
    HeaderTooLargeError,
    silence_pydicom,
)
from eenet_runtime.dicom.header_values import HeaderValues
from eenet_runtime.dicom.instance import DEFLATED, NotReadableError

_KEYWORDS: Final = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
_TAGS: Final = tuple(Tag(keyword) for keyword in _KEYWORDS)
_LAST: Final = 0x0020000E
"""Series Instance UID: elements come in order of their tags, so nothing behind it is read."""


_LONGEST_UID: Final = 64


@dataclass(frozen=True)
class Identity:
    """What an object calls itself; every UID is a valid one."""

    sop_class: str
    sop_uid: str
    study_uid: str
    series_uid: str


def read_identity(content: bytes, syntax: str, limits: HeaderLimits = DEFAULT_HEADER_LIMITS) -> Identity:
    """Read the identifiers of an object in memory.

    Args:
        content: a DICOM file (Part 10).
        syntax: its transfer syntax.
        limits: what its header may cost.

    Raises:
        NotReadableError: damaged, deflated, over a limit, or without a valid UID of each kind; the message quotes
            nothing of it.
    """
    silence_pydicom()
    # A deflated header may unpack to a thousand times its size.
    if syntax == DEFLATED:
        raise NotReadableError("deflated transfer syntax, expected any other")
    try:
        dataset = read_partial(
            GuardedReader(io.BytesIO(content), limits),  # type: ignore[arg-type]
            stop_when=_behind_the_last,
            specific_tags=list(_TAGS),
        )
        values = HeaderValues(dataset)
        found = [values.text(keyword) for keyword in _KEYWORDS]
    except HeaderTooLargeError as error:
        raise NotReadableError(f"{error} found") from error
    except RecursionError as error:
        raise NotReadableError("sequences nested too deeply") from error
    # What pydicom raises on damaged bytes is not documented: AttributeError, KeyError, struct.error and others.
    except Exception as error:
        raise NotReadableError("damaged header") from error
    for keyword, text in zip(_KEYWORDS, found, strict=True):
        # Making a UID of a text that is none warns, and the warning quotes it.
        if len(text) > _LONGEST_UID or not re.fullmatch(RE_VALID_UID, text):
            raise NotReadableError(f"no valid {keyword}")
    return Identity(*found)


def read_file_identity(path: Path, limits: HeaderLimits = DEFAULT_HEADER_LIMITS) -> tuple[Identity, str]:
    """Read the identifiers of a DICOM file, and its transfer syntax.

    Raises:
        NotReadableError: as for `read_identity`, or it is no DICOM file.
        OSError: it cannot be read.
    """
    content = path.read_bytes()
    if content[128:132] != b"DICM":
        raise NotReadableError("no DICOM file")
    syntax = transfer_syntax_of(content)
    return read_identity(content, syntax, limits), syntax


def transfer_syntax_of(content: bytes) -> str:
    """The transfer syntax that a DICOM file in memory names; "" where it names none."""
    stream = io.BytesIO(content)
    stream.seek(132)
    try:
        return HeaderValues(_read_file_meta_info(stream)).text("TransferSyntaxUID")
    # As above: what pydicom raises on damaged bytes is not documented.
    except Exception as error:
        raise NotReadableError("damaged header") from error


def _behind_the_last(tag: BaseTag, _representation: str | None, _length: int) -> bool:
    return bool(tag > _LAST)
