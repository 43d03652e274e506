"""Real DICOM headers, where somebody has them: never a part of the repository (mark such tests `real`).

A folder with `t1-real.tar.xz` and `negatives.tar.xz`, one folder for each series in them: `shared/dicom` beside the
checkout, or what the environment variable EENET_REAL_DICOM names.
"""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from tests.places import ROOT


def unpack_real(name: str, to: Path) -> list[Path]:
    """The folders of an archive's series, unpacked; skips the test where there is none."""
    named = os.environ.get("EENET_REAL_DICOM")
    archive = (Path(named) if named else ROOT.parent / "shared" / "dicom") / f"{name}.tar.xz"
    if not archive.is_file():
        pytest.skip(f"no real DICOM in {archive}; EENET_REAL_DICOM names another folder")
    with tarfile.open(archive) as packed:
        packed.extractall(to, filter="data")
    return sorted(path for path in (to / name).iterdir() if path.is_dir())
