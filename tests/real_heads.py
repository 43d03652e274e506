"""Real heads for measuring, where somebody has them: never a part of the repository (mark such tests `real`).

A folder of BraTS-like cases, `stripped/<case>/<case>_t1.nii.gz` and so on: `shared/real` beside the checkout, or what
the environment variable EENET_REAL_HEADS names.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.cases.discovery import find_cases
from tests.places import ROOT


def real_heads() -> Path:
    """The folder; skips the test where there is none."""
    named = os.environ.get("EENET_REAL_HEADS")
    folder = Path(named) if named else ROOT.parent / "shared" / "real"
    if not folder.is_dir():
        pytest.skip(f"no real heads in {folder}; EENET_REAL_HEADS names another folder")
    return folder


def stripped_cases() -> tuple[CaseFiles, ...]:
    """Skull-stripped cases of four registered images."""
    return find_cases(real_heads() / "stripped").cases
