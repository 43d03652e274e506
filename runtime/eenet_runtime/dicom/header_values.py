"""Values of a DICOM dataset without trust: text and numbers, whatever value representation the file claims.

pydicom's own conversion raises or warns on values that break a rule, and quotes them. Here a value that makes no sense
is one that is not there.
"""

from __future__ import annotations

import math
import struct
from typing import Any, Final

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

_BINARY: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}
_TEXT_BYTES: Final = 256
"""Of a text no more is looked at: LO has 64 characters, and rules run over it."""
_MOST_VALUES: Final = 64
_DELIMITERS: Final = {0x0A, 0x0D, 0x0C, 0x09}


class HeaderValues:
    """A dataset, read by keyword; missing, empty and senseless values are None or empty."""

    def __init__(self, dataset: Dataset, encodings: list[str] | None = None) -> None:
        """Look at a dataset of pydicom's; of an item, in its parent's character sets."""
        self._dataset = dataset
        named = self._raw("SpecificCharacterSet")
        if named:
            words = [word.strip() for word in named.decode("ascii", "replace").split("\\")]
            self._encodings = _known_encodings(words)
        else:
            self._encodings = encodings or ["iso8859"]

    def text(self, keyword: str) -> str:
        """One text in its own character set, without padding; of several values, all of them as stored."""
        return self._decode(self._raw(keyword))

    def words(self, keyword: str) -> tuple[str, ...]:
        """Values of a code string, in capitals."""
        return tuple(part.strip().upper() for part in self.text(keyword).split("\\") if part.strip())

    def number(self, keyword: str) -> float | None:
        """The first value, if it is a finite number."""
        found = self.numbers(keyword)
        return found[0] if found else None

    def whole(self, keyword: str) -> int | None:
        """The first value, if it is a whole number."""
        found = self.number(keyword)
        return int(found) if found is not None and found == int(found) else None

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """All values, if all of them are finite numbers."""
        tag = tag_for_keyword(keyword)
        element = self._dataset.get_item(tag) if tag is not None and tag in self._dataset else None
        if element is None:
            return ()
        if not isinstance(element.value, bytes):
            return _finite(element.value)
        claimed = element.VR if element.VR in _BINARY or element.VR in ("DS", "IS") else dictionary_VR(element.tag)
        form = _BINARY.get(claimed)
        if form is None:
            return _finite(self._decode(element.value).split("\\"))
        order = "<" if getattr(element, "is_little_endian", True) else ">"
        count = min(len(element.value) // struct.calcsize(form), _MOST_VALUES)
        return _finite(struct.unpack_from(f"{order}{count}{form}", element.value))

    def has(self, keyword: str) -> bool:
        """Whether the element is there, empty or not."""
        tag = tag_for_keyword(keyword)
        return tag is not None and tag in self._dataset

    def items(self, keyword: str) -> list[HeaderValues]:
        """The items of a sequence."""
        if not self.has(keyword):
            return []
        value = self._dataset[keyword].value
        items = value if isinstance(value, (list, tuple)) or hasattr(value, "__iter__") else []
        return [HeaderValues(item, self._encodings) for item in items if isinstance(item, Dataset)]

    def first_item(self, *keywords: str) -> HeaderValues:
        """The first item of a sequence, of the first item of a sequence in that, and so on; empty if there is none."""
        found = self
        for keyword in keywords:
            items = found.items(keyword)
            found = items[0] if items else HeaderValues(Dataset())
        return found

    def raw(self, keyword: str) -> bytes:
        """The bytes of a value as stored, without padding."""
        return self._raw(keyword)

    def _raw(self, keyword: str) -> bytes:
        tag = tag_for_keyword(keyword)
        if tag is None or tag not in self._dataset:
            return b""
        element = self._dataset.get_item(tag)
        value: Any = element.value if isinstance(element, RawDataElement) else getattr(element, "value", None)
        if isinstance(value, bytes):
            return value[:_TEXT_BYTES].strip(b" \0")
        if value is None or isinstance(value, Dataset):
            return b""
        parts = value if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
        return "\\".join(str(part) for part in parts).encode("utf-8", "replace")[:_TEXT_BYTES]

    def _decode(self, value: bytes) -> str:
        try:
            return decode_bytes(value[:_TEXT_BYTES], self._encodings, _DELIMITERS).strip(" \0")
        except (UnicodeError, LookupError, ValueError):
            return value[:_TEXT_BYTES].decode("ascii", "replace").strip(" \0")


def _known_encodings(words: list[str]) -> list[str]:
    try:
        return list(convert_encodings(words))
    except (LookupError, ValueError):
        return ["iso8859"]


def _finite(values: Any) -> tuple[float, ...]:
    numbers = []
    for value in list(values)[:_MOST_VALUES] if hasattr(values, "__iter__") else [values]:
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            return ()
        if not math.isfinite(number):
            return ()
        numbers.append(number)
    return tuple(numbers)
