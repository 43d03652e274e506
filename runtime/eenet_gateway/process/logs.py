"""Log lines, for people or as JSON: states, counts and hashed keys, never a name or an identifier of a patient."""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from typing import Final, Literal

LOGGER: Final = logging.getLogger("eenet_gateway")
LOGGER.addHandler(logging.NullHandler())

FOREIGN: Final = ("pynetdicom", "pydicom", "highdicom", "py.warnings", "asyncio")
"""Loggers of libraries that quote headers and datasets: nothing of them leaves the process."""


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({"time": _stamp(record), "level": record.levelname.lower(), "message": record.getMessage()})


class _PlainLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{_stamp(record)} {record.levelname.lower():7} {record.getMessage()}"


def start_logging(form: Literal["text", "json"]) -> None:
    """Let this process's log lines go to standard error, one line each, without tracebacks.

    A traceback or a library's warning may quote a header: exceptions are logged by their type alone (`describe`).
    """
    silence_libraries()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines() if form == "json" else _PlainLines())
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)


def silence_libraries() -> None:
    """Drop what DICOM libraries would log or warn of, for it quotes values."""
    warnings.simplefilter("ignore")
    logging.captureWarnings(True)
    for name in FOREIGN:
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False
        logger.setLevel(logging.CRITICAL + 1)


def describe(error: BaseException) -> str:
    """What may be said of an exception whose message is not known to be clean: its type, and the system's words."""
    words = error.strerror if isinstance(error, OSError) else None
    return type(error).__name__ + (f" ({words})" if words else "")


def _stamp(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03}Z"
