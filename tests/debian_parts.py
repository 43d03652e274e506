"""Programs of Debian packages that tests hold DICOM against."""

from __future__ import annotations

import os
import shutil

import pytest


def require(program: str, package: str) -> str:
    """The path of a program; without it the test is skipped, or fails where the machine promised to have it."""
    path = shutil.which(program)
    if path is not None:
        return path
    reason = f"{program} is not installed; Debian's {package} brings it"
    if os.environ.get("EENET_REQUIRE_DEBIAN"):
        pytest.fail(reason)
    pytest.skip(reason)
