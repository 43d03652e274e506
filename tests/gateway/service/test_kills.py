"""The plug is pulled at every named point: each study has one segmentation, and what was acknowledged is there."""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from pydicom.dataset import FileDataset
from pynetdicom.ae import ApplicationEntity

from eenet_gateway.process.faults import FAULT_POINTS
from eenet_gateway.store.images import images_of
from eenet_gateway.store.states import State
from tests.gateway.gateway_process import GatewayProcess, running, small_files
from tests.gateway.places import wait_for
from tests.orthanc_server import OrthancServer

IN_THE_CHILD = {"in-job"}
"""Points that kill the worker's process, which the gateway survives."""


class Pacs:
    """Sends studies, and knows which of their files were acknowledged; it sends again what was not."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.gateway = gateway
        self.acknowledged: dict[str, FileDataset] = {}
        self.files: dict[str, FileDataset] = {}

    def add(self, number: int) -> None:
        self.files.update({str(one.SOPInstanceUID): one for one in small_files(number)})

    def pushed_all(self) -> bool:
        """Send once more; whether everything is acknowledged."""
        self.push()
        return len(self.acknowledged) == len(self.files)

    def push(self) -> None:
        """Send what is not acknowledged yet, as far as the gateway lives."""
        waiting = [one for uid, one in self.files.items() if uid not in self.acknowledged]
        if not waiting:
            return
        entity = ApplicationEntity("PACS")
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = 10
        entity.add_requested_context(waiting[0].SOPClassUID, waiting[0].file_meta.TransferSyntaxUID)
        association = entity.associate("127.0.0.1", self.gateway.port, ae_title="EENET")
        for one in waiting:
            if not association.is_established:
                return
            answer = association.send_c_store(one)
            if "Status" in answer and answer.Status == 0:
                self.acknowledged[str(one.SOPInstanceUID)] = one
        if association.is_established:
            association.release()


@pytest.mark.slow
def test_a_kill_at_any_point_leaves_one_segmentation_for_each_study_and_every_acknowledged_image(
    tmp_path: Path,
) -> None:
    (tmp_path / "pacs").mkdir()
    with OrthancServer(tmp_path / "pacs") as server:
        gateway = GatewayProcess(tmp_path / "gateway", {"pacs": server.dicom_port}, quiet=0.2)
        pacs = Pacs(gateway)
        # Each start is armed with the next point: it goes on where the last one was killed, and is killed in turn.
        for number, point in enumerate(FAULT_POINTS, 1):
            gateway.start(f"{point}:2" if point == "after-file" else point)
            gateway.wait_until_up()
            pacs.add(number)
            _push_until(pacs, gateway, point)
        with running(gateway):
            wait_for(pacs.pushed_all, 60)
            gateway.wait_for_state(State.DONE, len(FAULT_POINTS))
            _everything_acknowledged_is_there(pacs, gateway)
        studies = {str(one.StudyInstanceUID) for one in pacs.files.values()}
        for modality in ("SEG", "SR", "OT"):
            found = server.post("/tools/find", {"Level": "Instance", "Query": {"Modality": modality}, "Expand": True})
            parents = Counter(
                server.get(f"/instances/{one['ID']}/study")["MainDicomTags"]["StudyInstanceUID"] for one in found
            )
            assert parents == dict.fromkeys(studies, 1), modality


def _push_until(pacs: Pacs, gateway: GatewayProcess, point: str) -> None:
    """Send until the gateway is dead, or until the study is done where the point is in a child's code."""
    deadline = time.monotonic() + 90
    while not gateway.dead():
        pacs.push()
        if point in IN_THE_CHILD and "signal 9" in gateway.log:
            gateway.kill()
            return
        assert time.monotonic() < deadline, f"{point} was never passed:\n{gateway.log[-2000:]}"
        time.sleep(0.05)
    assert gateway.wait_for_death() == -signal.SIGKILL, gateway.log[-2000:]


def _everything_acknowledged_is_there(pacs: Pacs, gateway: GatewayProcess) -> None:
    with gateway.store() as db:
        for row in gateway.studies():
            images = {image.sop_uid: image for image in images_of(db, row.key)}
            for uid, sent in pacs.acknowledged.items():
                if str(sent.StudyInstanceUID) != row.uid:
                    continue
                content = gateway.folders.image(row.key, images[uid].sha256).read_bytes()
                assert sent.PixelData in content
