"""Sharing a folder between several runs, such as the tasks of a job array, that write into one output folder."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from typing import Final

from eenet_runtime.errors import DatasetError


@dataclass(frozen=True)
class Shard:
    """One part of a folder's cases.

    Which part a case belongs to follows from its name alone, not from its place in the list: tasks of one array start
    minutes apart, and a case that arrives or goes meanwhile must not move the others between parts. The price is that
    parts are of equal size only on average.

    Attributes:
        index: this part, from 1 on.
        count: how many parts there are.
    """

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise DatasetError(f"shard {self.index}/{self.count} found, expected i/n with 1 <= i <= n, such as 2/8")

    @staticmethod
    def parse(text: str) -> Shard:
        """Read `i/n`.

        Raises:
            DatasetError: something else was given.
        """
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text.strip())
        if match is None:
            raise DatasetError(f"shard {text!r} found, expected i/n with 1 <= i <= n, such as 2/8")
        return Shard(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def holds(self, case_id: str) -> bool:
        """Whether a case belongs to this part: its name's SHA-256, modulo the number of parts."""
        digest = hashlib.sha256(os.fsencode(case_id)).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index - 1


WHOLE: Final = Shard()
"""The folder as one part."""
