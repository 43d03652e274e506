"""Programs of Debian packages that some tests need beside Python's."""

from __future__ import annotations

import os
import shutil

import pytest

REQUIRE_DEBIAN = "EENET_REQUIRE_DEBIAN"
_ALSO_THERE = "/usr/sbin:/sbin:/usr/local/sbin"
"""Where Debian puts the programs of daemons, which is not on every user's path."""


def require(program: str, package: str) -> str:
    """The path of a program; the test is skipped if there is none, or fails where the environment lists its package.

    Args:
        program: its name.
        package: the Debian package that brings it.
    """
    path = shutil.which(program) or shutil.which(program, path=_ALSO_THERE)
    if path is not None:
        return path
    reason = f"{program} is not installed (Debian package {package})"
    if package in os.environ.get(REQUIRE_DEBIAN, "").split():
        pytest.fail(f"{reason}, and {REQUIRE_DEBIAN} asks for it", pytrace=False)
    pytest.skip(reason)
