"""Reports, summaries and manifests held against the JSON Schemas that the wheel carries, as they are written."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from eenet_runtime.bundle.manifest import Manifest
from eenet_runtime.folders import summary
from eenet_runtime.results.report import CaseReport


@functools.cache
def validator(name: str) -> Draft202012Validator:
    """What checks a file of this kind: `report`, `summary` or `manifest`."""
    text = files("eenet_runtime").joinpath("schemas", f"{name}.schema.json").read_text(encoding="utf-8")
    return Draft202012Validator(json.loads(text))


def problems(name: str, text: str | bytes) -> list[str]:
    """What is wrong with a file's text; the words of the schema's own are left out."""
    found = validator(name).iter_errors(json.loads(text))
    return [f"{error.json_path}: {error.message[:200]}" for error in found]


@contextmanager
def validated_files() -> Iterator[None]:
    """Inside the block a file that does not follow its schema is an error where it is written."""

    def checked(name: str, write: Callable[..., str]) -> Callable[..., str]:
        @functools.wraps(write)
        def write_checked(*arguments: Any, **named: Any) -> str:
            text = write(*arguments, **named)
            if found := problems(name, text):
                raise AssertionError(f"{name}: {found}")
            return text

        return write_checked

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CaseReport, "to_json", checked("report", CaseReport.to_json))
        patch.setattr(summary, "summary_json", checked("summary", summary.summary_json))
        patch.setattr(Manifest, "to_json", checked("manifest", Manifest.to_json))
        yield
