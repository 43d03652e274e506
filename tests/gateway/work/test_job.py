"""The real job: a study through a small model, and what of it is delivered."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from pydicom import dcmread

from eenet_gateway.config.settings import Model
from eenet_gateway.store.report import preview_of, report
from eenet_gateway.store.results import ResultFile
from eenet_gateway.store.states import State
from eenet_gateway.work.job import JobRequest, segment
from eenet_gateway.work.running import JobCall, run_job
from eenet_runtime.errors import CaseError
from tests.gateway.gateway_process import GatewayProcess, running
from tests.gateway.places import send
from tests.orthanc_server import OrthancServer
from tests.registered_study import write_registered_study
from tests.synthetic import TINY_2MM, write_bundle


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_registered_study(tmp_path_factory.mktemp("registered"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny-2mm", TINY_2MM)


def compute(study: Path, model: Path, results: Path) -> tuple[ResultFile, ...]:
    results.mkdir()
    return run_job(JobCall(segment, JobRequest(study, results, {}, Model(model, threads=1))))


def test_a_study_gives_a_segmentation_a_report_and_captures_that_are_the_same_each_time(
    study: Path, model: Path, tmp_path: Path
) -> None:
    first, second = (compute(study, model, tmp_path / name) for name in ("first", "second"))
    kinds = [one.kind for one in first]
    assert kinds == ["seg", "sr", *["sc"] * (len(kinds) - 2)]
    assert first == second


def test_a_study_without_all_contrasts_is_refused(study: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="missing"):
        compute(study / "S2", model, tmp_path / "results")


def test_from_a_pacs_to_a_segmentation_in_it(study: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "pacs").mkdir()
    images = [dcmread(path) for path in sorted(study.rglob("*")) if path.is_file()]
    with OrthancServer(tmp_path / "pacs") as pacs:
        gateway = GatewayProcess(tmp_path / "gateway", {"pacs": pacs.dicom_port}, job="segment", model=model)
        with running(gateway):
            assert set(send(gateway.port, images)) == {0}
            gateway.wait_for_state(State.DONE, seconds=300)
            (content,) = pacs.files(Modality="SEG")
            found = dcmread(io.BytesIO(content))
            assert found.StudyInstanceUID == images[0].StudyInstanceUID
            assert len(pacs.files(Modality="SR")) == 1
            assert found.PatientName == images[0].PatientName
            with gateway.store() as db:
                (key,) = report(db, gateway.folders, ["pacs"], 0.0).previews
                picture = preview_of(db, gateway.folders, key)
            assert picture is not None
            assert picture.startswith(b"\x89PNG")
        assert str(images[0].PatientName) not in gateway.log
