"""The native engine's tests are skipped, with the reason, where the extension is not installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest


class SkippedModule(pytest.Module):
    """A file of tests whose imports would fail."""

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        """Collect nothing, and say why."""
        pytest.skip(
            "eenet_native is not installed: pip install ./runtime/native (--require-native makes this a failure)"
        )


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Skip this folder's files without the extension, unless `--require-native` makes that a failure."""
    if parent.config.getoption("--require-native") or importlib.util.find_spec("eenet_native"):
        return None
    module: pytest.Module = SkippedModule.from_parent(parent, path=module_path)
    return module
