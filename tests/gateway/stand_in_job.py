"""Jobs that stand in for the model: what they write is DICOM, follows from the images, and takes no time."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from eenet_gateway.work.job import JobFile, JobRequest, segment
from eenet_runtime.dicom.studies import find_studies
from eenet_runtime.errors import CaseError

__all__ = ["CLASSES", "greedy", "poisoned", "quick", "segment", "slow"]

CLASSES: Final = {
    "seg": "1.2.840.10008.5.1.4.1.1.66.4",
    "sr": "1.2.840.10008.5.1.4.1.1.88.34",
    "sc": "1.2.840.10008.5.1.4.1.1.7",
}
MODALITIES: Final = {"seg": "SEG", "sr": "SR", "sc": "OT"}


def quick(request: JobRequest) -> tuple[JobFile, ...]:
    """A segmentation, a report and a capture without content, of UIDs that follow from the images' UIDs."""
    study = find_studies(request.images, threads=1).studies[0]
    chosen = [answer.chosen for answer in study.answers if answer.chosen is not None]
    used = sorted(piece.instance.sop_uid for one in chosen for piece in one.series.slices)
    return tuple(_write(request.results, study.uid, used, kind) for kind in CLASSES)


def slow(request: JobRequest) -> tuple[JobFile, ...]:
    """The same, after two seconds."""
    time.sleep(2)
    return quick(request)


def poisoned(request: JobRequest) -> tuple[JobFile, ...]:
    """Studies whose UID ends in 13 kill the process, in 14 are refused, in 15 raise, in 16 never end."""
    end = find_studies(request.images, threads=1).studies[0].uid.rpartition(".")[2]
    if end == "13":
        os.kill(os.getpid(), signal.SIGKILL)
    if end == "14":
        raise CaseError("series 5: a skull where there should be none", code="missing-modality")
    if end == "15":
        raise ValueError("Canary^Patience")
    if end == "16":
        time.sleep(1000)
    return quick(request)


def greedy(request: JobRequest) -> tuple[JobFile, ...]:
    """Asks for more memory than there is."""
    return (JobFile("seg", str(len(bytearray(1 << 45)))),)


def _write(folder: Path, study_uid: str, used: list[str], kind: str) -> JobFile:
    digest = hashlib.sha256("\n".join([study_uid, *used, kind]).encode()).hexdigest()
    dataset = Dataset()
    dataset.SOPClassUID = UID(CLASSES[kind])
    dataset.SOPInstanceUID = UID(f"2.25.{int(digest[:31], 16)}")
    dataset.StudyInstanceUID = UID(study_uid)
    dataset.SeriesInstanceUID = UID(f"2.25.{int(digest[31:62], 16)}")
    dataset.Modality = MODALITIES[kind]
    dataset.PatientName, dataset.PatientID = "Canary^Patience", "CANARY-ID-1"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(folder / f"{kind}.dcm", enforce_file_format=True)
    return JobFile(kind, f"{kind}.dcm")
