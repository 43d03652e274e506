"""Small tables that a user writes: CSV with a header, read with the line of each row for messages."""

from __future__ import annotations

import csv
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from eenet_runtime.errors import TrainingError


@dataclass(frozen=True)
class Row:
    """A row by the names of its columns, in lower case.

    Attributes:
        line: its number in the file, from 1.
        cells: text without spaces around it.
    """

    line: int
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]


def read_rows(path: Path) -> tuple[list[str], list[Row]]:
    """The names of the columns as they are written, and the rows of a table; empty lines are none.

    Args:
        path: a CSV file in UTF-8, commas between the cells, names of columns in its first line.

    Raises:
        TrainingError: it cannot be read, or a row has more or fewer cells than there are columns.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            lines = list(csv.reader(stream, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise TrainingError(f"{path}: cannot be read as CSV ({reason})") from error
    header = [name.strip() for name in lines[0]] if lines else []
    rows = []
    for number, cells in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise TrainingError(
                f"{path}, line {number}: {len(cells)} fields found, expected {len(header)} as in the header"
            )
        rows.append(Row(number, {name.lower(): cell.strip() for name, cell in zip(header, cells, strict=True)}))
    return header, rows


def read_csv_table(path: Path, required: Collection[str]) -> list[Row]:
    """The rows of a table that must hold something; as `read_rows`.

    Args:
        path: the file.
        required: columns that it must have, with something in every row; others do no harm.

    Raises:
        TrainingError: it cannot be read, or lacks a column, a cell or any row.
    """
    header, rows = read_rows(path)
    names = [name.lower() for name in header]
    for column in required:
        if names.count(column) != 1:
            raise TrainingError(
                f"{path}: columns {', '.join(names) or '(none)'} found, expected {' and '.join(required)}"
            )
    for row in rows:
        empty = [column for column in required if not row[column]]
        if empty:
            raise TrainingError(f"{path}, line {row.line}: no {empty[0]} found, expected one in every row")
    if not rows:
        raise TrainingError(f"{path}: no row found below the header, expected one for each case")
    return rows
