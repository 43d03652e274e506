"""Rows of a long study, one line of JSON each: what is there already is kept when the study goes on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Protocol, TypeVar


class Row(Protocol):
    """A dataclass of plain values."""

    def __init__(self, **fields: object) -> None: ...


RowT = TypeVar("RowT", bound=Row)


def append_row(lines: Path, row: object) -> None:
    """Write one row at the end of a file, which is made if it is not there; never behind a line that was cut off."""
    with lines.open("ab+") as stream:
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                stream.write(b"\n")
        stream.write(json.dumps(vars(row)).encode() + b"\n")


def read_rows(lines: Path, kind: type[RowT]) -> list[RowT]:
    """The rows of an earlier run; a last line that was cut off, or that is of another study, is left out."""
    rows = []
    for line in lines.read_text().splitlines() if lines.is_file() else ():
        try:
            rows.append(kind(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return rows
