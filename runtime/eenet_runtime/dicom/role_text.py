"""Texts of technologists, made comparable: no case, no accents, no punctuation."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_LONGEST: Final = 128
_T2_STAR: Final = re.compile(r"t2w?\s?\*")
_TRAILING_MINUS: Final = re.compile(r"(?<![^\W_])c\s?-(?![^\W_])")
_LEADING_MINUS: Final = re.compile(r"(?<![^\s(])-\s?c(?![^\W_])")
_OTHER: Final = re.compile(r"[^\w]|_")


def normalised(text: str) -> str:
    """Words with one space between them, as the patterns of roles.toml expect them; at most 128 characters count."""
    text = text[:_LONGEST].lower().replace("ł", "l").replace("\u0131", "i").replace("ß", "ss")
    decomposed = unicodedata.normalize("NFKD", text)
    plain = "".join(character for character in decomposed if not unicodedata.combining(character))
    plain = _T2_STAR.sub(" t2star ", plain)
    plain = _LEADING_MINUS.sub(" minus c ", _TRAILING_MINUS.sub(" c minus ", plain))
    return " ".join(_OTHER.sub(" ", plain.replace("+", " plus ")).split())
