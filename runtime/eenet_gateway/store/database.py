"""SQLite, durable: a transaction that has ended survives a power cut."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from eenet_runtime.errors import GatewayError

VERSION: Final = 1
_BUSY_S: Final = 30.0
KEY_DIGITS: Final = 16


class Database:
    """One connection for all threads of a process; another process may have its own at the same time.

    Write-ahead log with `synchronous = FULL`: the end of `transaction` returns when the disk has it.
    """

    def __init__(self, path: Path, create: bool = True) -> None:
        """Open a database, or make one.

        Raises:
            GatewayError: it is not there and shall not be made, is damaged, or is of another version.
        """
        if not create and not path.is_file():
            raise GatewayError(f"{path}: no such database, expected one that `eenet-gateway serve` made")
        self._lock = threading.RLock()
        try:
            self._connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA foreign_keys = ON")
            self._prepare(path)
        except sqlite3.Error as error:
            raise GatewayError(f"{path}: the database cannot be used ({error})") from error
        self.salt = str(self.value("SELECT value FROM meta WHERE name = 'salt'"))

    def _prepare(self, path: Path) -> None:
        found = self.value("PRAGMA user_version")
        if found == 0:
            schema = files("eenet_gateway.store").joinpath("schema.sql").read_text(encoding="utf-8")
            salt = secrets.token_hex(16)
            self._connection.executescript(
                f"BEGIN EXCLUSIVE; {schema} INSERT INTO meta VALUES ('salt', '{salt}');"
                f"PRAGMA user_version = {VERSION}; COMMIT;"
            )
        elif found != VERSION:
            raise GatewayError(f"{path}: a database of version {found}, expected {VERSION}")

    @contextmanager
    def transaction(self) -> Iterator[Self]:
        """All or nothing, and on the disk when it ends. Threads take turns; it may be nested and is then one."""
        with self._lock:
            outer = self._connection.in_transaction
            if not outer:
                self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self
                if not outer:
                    self._connection.execute("COMMIT")
            except BaseException:
                # An error of the disk may have ended it already.
                if not outer and self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def run(self, statement: str, *values: Any) -> int:
        """Change rows, inside a transaction; how many."""
        with self._lock:
            return self._connection.execute(statement, values).rowcount

    def rows(self, query: str, *values: Any) -> Sequence[sqlite3.Row]:
        """All rows of a query."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def row(self, query: str, *values: Any) -> sqlite3.Row | None:
        """The first row of a query."""
        with self._lock:
            found: sqlite3.Row | None = self._connection.execute(query, values).fetchone()
            return found

    def value(self, query: str, *values: Any) -> Any:
        """The first column of the first row; None without a row."""
        found = self.row(query, *values)
        return None if found is None else found[0]

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter, inside a transaction."""
        self.run(
            "INSERT INTO counter VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            name,
            by,
        )

    def key_of(self, study_uid: str) -> str:
        """What everything but the database calls a study: a salted hash that tells strangers nothing."""
        return hashlib.sha256(f"{self.salt}{study_uid}".encode()).hexdigest()[:KEY_DIGITS]

    def close(self) -> None:
        """Close it; unfinished transactions are undone."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        """Use it as a context manager."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()
