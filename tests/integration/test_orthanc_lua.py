"""A study that lies in Orthanc comes back segmented, by the two scripts of examples/orthanc alone."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import UID

from tests.debian_parts import require
from tests.orthanc_server import OrthancServer
from tests.places import ROOT
from tests.registered_study import write_registered_study
from tests.synthetic import TINY_2MM, write_bundle

SCRIPTS = ROOT / "examples" / "orthanc"
MODALITIES = {"MR", "SEG", "SR", "OT"}


def wait_for(pacs: OrthancServer, spool: Path, lines: int) -> str:
    """The spool's log, once it has so many lines."""
    log = spool / "log.txt"
    end = time.monotonic() + 180
    while time.monotonic() < end:
        said = log.read_text() if log.exists() else ""
        if said.count("\n") >= lines:
            return said
        time.sleep(0.2)
    raise AssertionError(f"nothing came back:\n{said}\n{pacs.log()[-3000:]}")


def test_a_stable_study_gets_its_results_once_and_again_when_an_image_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program in ("curl", "flock"):
        require(program, {"curl": "curl", "flock": "util-linux"}[program])
    spool, study = tmp_path / "spool", write_registered_study(tmp_path / "study")
    spool.mkdir()
    command = tmp_path / "eenet-run"
    command.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'from eenet_runtime.cli import main; main()' \"$@\"\n")
    command.chmod(0o755)
    monkeypatch.setenv("EENET_SPOOL", str(spool))
    monkeypatch.setenv("EENET_SCRIPT", str(SCRIPTS / "eenet-study.sh"))
    monkeypatch.setenv("EENET_RUN", str(command))
    monkeypatch.setenv("EENET_MODEL", str(write_bundle(tmp_path / "model", TINY_2MM)))
    with OrthancServer(tmp_path, scripts=[SCRIPTS / "eenet.lua"], settings={"StableAge": 1}) as pacs:
        # The port is known only now; Orthanc's children see its environment, not ours: the script has it in a file.
        (spool / "orthanc-url").write_text(pacs.url)
        last = study / "S2" / sorted(path.name for path in (study / "S2").iterdir())[-1]
        kept = last.read_bytes()
        pacs.store(study)
        said = wait_for(pacs, spool, 1)
        assert said.endswith(": done\n"), said
        made = [dcmread(io.BytesIO(content)) for content in pacs.files()]
        assert {dataset.Modality for dataset in made} == MODALITIES
        assert len({dataset.StudyInstanceUID for dataset in made}) == 1
        assert sum(dataset.Modality == "SEG" for dataset in made) == 1
        # The results make the study stable again, which must not start it again.
        time.sleep(4)
        assert (spool / "log.txt").read_text() == said
        # Another image does, and since it is one more of a stack it is refused: the old results stay.
        other = dcmread(io.BytesIO(kept))
        other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = UID(f"{other.SOPInstanceUID}.1")
        other.save_as(tmp_path / "other.dcm")
        pacs.store(tmp_path / "other.dcm")
        assert "refused" in wait_for(pacs, spool, 3)
    assert not list(spool.glob("*.zip"))
