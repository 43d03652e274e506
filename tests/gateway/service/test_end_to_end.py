"""From a PACS to the gateway and back, with a real PACS and a stand-in for the model."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset

from eenet_gateway.store.states import State
from tests.dicom_studies import FakeSeries, datasets
from tests.gateway.gateway_process import FOUR_SERIES, GatewayProcess, pause, running, small_files, small_study
from tests.gateway.places import send
from tests.orthanc_server import OrthancServer


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[OrthancServer]:
    folder = tmp_path / "pacs"
    folder.mkdir()
    with OrthancServer(folder) as server:
        yield server


def images_of(series: list[FakeSeries]) -> list[FileDataset]:
    return [one for part in series for one in datasets(part)]


def held_by(pacs: OrthancServer, modality: str) -> list[FileDataset]:
    """What the PACS has of a modality."""
    return [dcmread(io.BytesIO(content)) for content in pacs.files(Modality=modality)]


def test_a_study_comes_back_as_one_segmentation_one_report_and_one_capture_and_sent_again_changes_nothing(
    tmp_path: Path, pacs: OrthancServer
) -> None:
    series = [*small_study(1), FakeSeries(5, "ep2d_diff_ADC", image_type=("DERIVED", "PRIMARY", "DIFFUSION", "ADC"))]
    with running(GatewayProcess(tmp_path / "gateway", {"pacs": pacs.dicom_port})) as gateway:
        images = images_of(series)
        assert set(send(gateway.port, images)) == {0}
        gateway.wait_for_state(State.DONE)
        for modality in ("SEG", "SR", "OT"):
            (result,) = held_by(pacs, modality)
            assert result.StudyInstanceUID == images[0].StudyInstanceUID
        # The PACS sends everything again, and our segmentation with it.
        assert set(send(gateway.port, [*images, *held_by(pacs, "SEG")])) == {0}
        pause(2)
        assert gateway.counts()[State.DONE] == 1
        assert gateway.counter("studies computed") == 1
        assert gateway.counter("own results returned") == 1
        assert len(held_by(pacs, "SEG")) == 1


def test_an_image_that_comes_late_leads_to_a_second_result_only_if_its_series_is_used(
    tmp_path: Path, pacs: OrthancServer
) -> None:
    first = small_study(1)[0]
    others = small_files(1)[1:]
    with running(GatewayProcess(tmp_path / "gateway", {"pacs": pacs.dicom_port})) as gateway:
        late = datasets(first.changed(shape=(21, 4, 4)))[20]
        send(gateway.port, [*datasets(first), *others])
        gateway.wait_for_state(State.DONE)
        unused = FakeSeries(9, "localizer", shape=(3, 4, 4), image_type=("ORIGINAL", "PRIMARY", "M", "LOCALIZER"))
        send(gateway.port, datasets(unused))
        pause(2.5)
        gateway.wait_for_state(State.DONE)
        assert gateway.counter("studies computed") == 1
        send(gateway.port, [late])
        pause(1)
        gateway.wait_for_state(State.DONE)
        assert gateway.counter("studies computed") == 2
        assert len(held_by(pacs, "SEG")) == 2


def test_two_studies_at_once_and_a_slow_sender_are_neither_mixed_nor_split(tmp_path: Path, pacs: OrthancServer) -> None:
    one, two = small_files(1), small_files(2)
    mixed = [image for pair in zip(one, two, strict=True) for image in pair]
    gateway = GatewayProcess(tmp_path / "gateway", {"pacs": pacs.dicom_port}, quiet=1.5, study_quiet=4)
    with running(gateway):
        for start in range(0, len(mixed), 2):
            send(gateway.port, mixed[start : start + 2])
            pause(0.7)
        gateway.wait_for_state(State.DONE, 2)
        assert gateway.counter("studies computed") == 2
        assert len({result.StudyInstanceUID for result in held_by(pacs, "SEG")}) == 2


def test_what_is_incomplete_is_held_with_the_reason_and_goes_on_when_the_rest_comes(
    tmp_path: Path, pacs: OrthancServer
) -> None:
    t1, flair, t2, t1ce = small_files(1)
    with running(GatewayProcess(tmp_path / "gateway", {"pacs": pacs.dicom_port})) as gateway:
        send(gateway.port, [t1, t2, t1ce])
        gateway.wait_for_state(State.HELD)
        assert gateway.studies()[0].reason == "flair: missing (no series looks like it)"
        send(gateway.port, [flair])
        gateway.wait_for_state(State.DONE)
        assert len(held_by(pacs, "SEG")) == 1


def test_what_is_no_brain_study_is_ignored_and_a_gateway_that_is_asked_to_stop_does(tmp_path: Path) -> None:
    localizer = FakeSeries(1, "localizer", shape=(3, 4, 4), image_type=("ORIGINAL", "PRIMARY", "M", "LOCALIZER"))
    with running(GatewayProcess(tmp_path / "gateway", {"pacs": 9})) as gateway:
        send(gateway.port, datasets(localizer))
        gateway.wait_for_state(State.IGNORED)
        assert gateway.process is not None
        gateway.process.terminate()
        assert gateway.wait_for_death() == 0
    assert gateway.log.endswith("stopped\n")


def test_one_poisoned_study_holds_nobody_up_and_no_name_of_a_patient_leaves_the_images(
    tmp_path: Path, pacs: OrthancServer
) -> None:
    gateway = GatewayProcess(tmp_path / "gateway", {"pacs": pacs.dicom_port}, job="poisoned")
    with running(gateway):
        for number in (13, 14, 15, 1, 2):
            send(gateway.port, small_files(number))
        gateway.wait_for_state(State.DONE, 2)
        gateway.wait_for_state(State.FAILED, 2)
        gateway.wait_for_state(State.HELD)
        rows = {row.uid.rpartition(".")[2]: row for row in gateway.studies()}
        assert rows["13"].reason == "3 attempts; the last one: its process was killed by signal 9"
        assert rows["14"].reason == "series 5: a skull where there should be none"
        assert rows["15"].reason.startswith("3 attempts; the last one: ValueError at stand_in_job.py:")
    written = [path for path in gateway.folder.rglob("*") if path.is_file() and path.suffix != ".dcm"]
    assert gateway.folders.database in written
    for path in written:
        content = path.read_bytes()
        for canary in (b"Canary", b"Patience", b"CANARY"):
            assert canary not in content, path
    assert "1.2.826.0.1.3680043" not in gateway.log


def test_the_series_are_as_small_as_they_may_be() -> None:
    assert len(images_of(list(FOUR_SERIES))) == 80
