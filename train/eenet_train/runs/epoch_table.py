"""A CSV file that grows by a few rows each epoch and stays true when a training is killed and resumed."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eenet_runtime.files.atomic import write_atomically

EPOCH: Final = "epoch"


@dataclass(frozen=True)
class EpochTable:
    """A table whose first column is the number of the epoch, from 1.

    The file is always written whole: it has a few hundred short lines, and a kill then never leaves half of one.

    Attributes:
        path: the CSV file; made with its first rows.
        columns: names of the columns after the epoch's.
    """

    path: Path
    columns: tuple[str, ...]

    def append(self, epoch: int, rows: Iterable[Sequence[str]]) -> None:
        """Add rows.

        Args:
            epoch: the epoch that they belong to.
            rows: for each row a text for each of `columns`.

        Raises:
            OutputError: the file cannot be written.
        """
        self._write([*self.rows(), *((str(epoch), *row) for row in rows)])

    def keep_until(self, epoch: int) -> None:
        """Drop what was written after an epoch: a training that goes on from there will write it again.

        Raises:
            OutputError: the file cannot be written.
        """
        rows = self.rows()
        kept = [row for row in rows if int(row[0]) <= epoch]
        if kept != rows:
            self._write(kept)

    def rows(self) -> list[tuple[str, ...]]:
        """All rows, each with the epoch first; none where there is no file. A foreign line is no row."""
        if not self.path.is_file():
            return []
        with self.path.open(newline="", encoding="utf-8") as stream:
            rows = [tuple(row) for row in csv.reader(stream)]
        return [row for row in rows if len(row) == 1 + len(self.columns) and row[0].isdecimal()]

    def _write(self, rows: Iterable[Sequence[str]]) -> None:
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow((EPOCH, *self.columns))
        writer.writerows(rows)
        write_atomically(self.path, text.getvalue().encode())
