"""The series that a result lies on, as headers from which objects of DICOM are derived.

One header is read again, for the patient, the study and the scanner; where slices lie was found out by scanning, and
stands here as `geometry.py` has it: one orientation for all, however it jitters in the files, and each slice's own
position. Whatever `geometry.py` refuses has no source images.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import numpy as np
from pydicom import config, dcmread
from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VM
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import DA, DT, TM, validate_value

from eenet_runtime.dicom.guarded_reader import GuardedReader, silence_pydicom
from eenet_runtime.dicom.instance import MR_IMAGE
from eenet_runtime.dicom.series import Series, Slice
from eenet_runtime.dicom.writing.identifiers import frame_of_reference_uid
from eenet_runtime.dicom.writing.model_identity import CREATOR
from eenet_runtime.errors import CaseError
from eenet_runtime.volumes.grid import Grid

_PATIENT: Final = (
    "PatientName", "PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "TypeOfPatientID",
    "PatientBirthDate", "PatientBirthTime", "PatientSex", "QualityControlSubject", "OtherPatientIDsSequence",
    "OtherPatientNames", "EthnicGroup", "PatientComments", "PatientIdentityRemoved", "DeidentificationMethod",
    "DeidentificationMethodCodeSequence", "ClinicalTrialSponsorName", "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName", "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
)  # fmt: skip
_STUDY: Final = (
    "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber", "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName", "PhysiciansOfRecord", "NameOfPhysiciansReadingStudy", "ProcedureCodeSequence",
    "AdmittingDiagnosesDescription", "PatientAge", "PatientSize", "PatientWeight", "Occupation",
    "AdditionalPatientHistory", "ClinicalTrialTimePointID", "ClinicalTrialTimePointDescription",
)  # fmt: skip
_SERIES: Final = (
    "SpecificCharacterSet", "Modality", "SeriesNumber", "SeriesDescription", "SeriesDate", "SeriesTime", "Laterality",
    "BodyPartExamined", "PatientPosition", "PositionReferenceIndicator", "Manufacturer", "ManufacturerModelName",
    "DeviceSerialNumber", "SoftwareVersions", "StationName", "InstitutionName", "InstitutionAddress",
    "InstitutionalDepartmentName", "AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime", "ContentDate",
    "ContentTime", "TimezoneOffsetFromUTC", "BurnedInAnnotation", "LossyImageCompression",
    "LossyImageCompressionRatio", "LossyImageCompressionMethod",
)  # fmt: skip
_EXPECTED: Final = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName", "Manufacturer", "PositionReferenceIndicator",
)  # fmt: skip
"""Attributes that must be there, empty or not (type 2)."""
_SEXES: Final = ("M", "F", "O", "")
_TIMES: Final[dict[str, type]] = {"DA": DA, "TM": TM, "DT": DT}
_TEXTS: Final = frozenset({"AE", "AS", "CS", "DS", "IS", "LO", "LT", "PN", "SH", "ST", "UC", "UI", "UR", "UT"})
_IDENTIFYING: Final = ("PatientName", "PatientID", "StudyID", "AccessionNumber")
"""By these a PACS finds the patient and the study: longer than DICOM allows is better than none."""
_NO_MOMENT: Final = ("19000101", "000000")
_TO_LPS: Final = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class SourceImages:
    """Headers of a series, without pixels.

    Attributes:
        datasets: one for each file, in order of the grid's slices, as evidence of what a result was derived from. They
            hold what is said of the patient, the study, the series and the scanner, and their own identifiers; of
            classical files also where the slice lies.
        planes: one for each slice of the grid, in its order, each as if it were a classical file. The same tuple as
            `datasets` where the files are; else with identifiers that stand in for the frames'.
        frames: for each plane the file that it lies in, as a place in `datasets`, and the number of its frame there,
            from 1; None for a classical file.
        grid: of the slices; its axes run along rows, against columns, along slices (`geometry.py`).
        series: where they come from.
    """

    datasets: tuple[Dataset, ...]
    planes: tuple[Dataset, ...]
    frames: tuple[tuple[int, int | None], ...]
    grid: Grid
    series: Series

    @property
    def content_moment(self) -> tuple[str, str]:
        """Date and time that objects made from these images carry: those of the images, never the clock's.

        The first that are there of acquisition, content, series and study; 1900-01-01 where nothing is said.
        """
        header = self.datasets[0]
        whole = str(header.get("AcquisitionDateTime", ""))
        if len(whole) >= 14:
            return whole[:8], whole[8:].split("+")[0].split("-")[0]
        for kind in ("Acquisition", "Content", "Series", "Study"):
            date, time = header.get(f"{kind}Date"), header.get(f"{kind}Time")
            if date and time:
                return str(date), str(time)
        date = header.get("StudyDate")
        return (str(date), _NO_MOMENT[1]) if date else _NO_MOMENT


def source_images(series: Series) -> SourceImages:
    """The headers of a series that was scanned before.

    What DICOM does not allow (a date that is none, a sex of another letter, a number that is text) is left empty: the
    libraries that make objects of these headers would stop at it.

    Raises:
        CaseError: no regular stack, several frames of reference, a file that is gone or changed since it was scanned,
            or one whose patient or study cannot be told, because their names or numbers are unreadable or several.
    """
    silence_pydicom()
    silence_highdicom()
    geometry = series.geometry
    ordered = [series.slices[index] for index in geometry.order]
    common = _common(series, ordered)
    orientation, spacing = _orientation(geometry.grid), _in_plane(geometry.grid)
    files: dict[int, int] = {}
    frames = []
    for piece in ordered:
        place = files.setdefault(id(piece.instance), len(files))
        several = len(piece.instance.frames) > 1 or piece.instance.sop_class != MR_IMAGE
        frames.append((place, piece.frame.index + 1 if several else None))
    planes = tuple(_plane(piece, common, orientation, spacing, geometry.grid) for piece in ordered)
    datasets = planes
    if any(number is not None for _, number in frames):
        datasets = _files(ordered, common)
        for place, plane in enumerate(planes, 1):
            plane.SOPInstanceUID = f"2.25.{place}"
    return SourceImages(datasets, planes, tuple(frames), geometry.grid, series)


def silence_highdicom() -> None:
    """Let no warning and no log line of highdicom out: they quote patients' names. As `silence_pydicom`."""
    warnings.filterwarnings("ignore", module=r"highdicom(\.|$)")
    logging.getLogger("highdicom").setLevel(logging.CRITICAL + 1)


def _common(series: Series, ordered: Sequence[Slice]) -> Dataset:
    """What holds for all slices of a series, from its first header."""
    header = _header(series)
    common = Dataset()
    for keyword in (*_PATIENT, *_STUDY, *_SERIES):
        element = _element(header, keyword)
        if element is not None:
            common.add(element)
        elif keyword in _IDENTIFYING and keyword in header:
            name = f"{series.source}: {series.slices[0].name}"
            raise CaseError(
                f"{name} has a {keyword} that is not one readable value, expected whose image it is",
                code="unclear-identity",
            )
    if not _is_written_alike(common):
        common.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _EXPECTED:
        if keyword not in common:
            setattr(common, keyword, None)
    common.StudyInstanceUID = series.first.study_uid
    common.SeriesInstanceUID = series.uid
    references = {piece.instance.frame_of_reference for piece in ordered}
    if len(references) > 1:
        odd = next(one for one in ordered if one.instance.frame_of_reference != series.first.frame_of_reference)
        raise CaseError(
            f"{series.source}: {odd.name} has another frame of reference, expected one for all slices",
            code="irregular-slices",
        )
    common.FrameOfReferenceUID = references.pop() or frame_of_reference_uid(series.uid)
    return common


def _header(series: Series) -> Dataset:
    instance, name = series.first, series.slices[0].name
    wanted = [*_PATIENT, *_STUDY, *_SERIES, "SOPInstanceUID"]
    try:
        with instance.source.open() as raw:
            header = dcmread(GuardedReader(raw), stop_before_pixels=True, specific_tags=wanted)
        found = str(header.get("SOPInstanceUID", ""))
    except OSError as error:
        raise CaseError(
            f"{series.source}: {name} cannot be read ({error.strerror or 'input error'})", code="unreadable-file"
        ) from error
    # As in `instance.py`: what pydicom raises on damaged bytes is not documented.
    except Exception as error:
        raise CaseError(f"{series.source}: {name} has a damaged header", code="unreadable-file") from error
    if found != instance.sop_uid:
        raise CaseError(f"{series.source}: {name} is another file than when the study was scanned", code="changed-file")
    return header


def _element(header: Dataset, keyword: str) -> DataElement | None:
    """An attribute, if it holds what DICOM allows; one that identifies the patient or the study if it can be read."""
    try:
        if keyword not in header:
            return None
        element = header[keyword]
        if isinstance(element.value, MultiValue) and dictionary_VM(element.tag) == "1":
            return None
        # Values are parsed when they are asked for, and raise then.
        for nested in Dataset({element.tag: element}).iterall():
            for value in nested.value if isinstance(nested.value, MultiValue) else [nested.value]:
                _check(nested.VR, str(value or ""), strictly=keyword not in (*_IDENTIFYING, "SpecificCharacterSet"))
    except Exception:
        return None
    if keyword == "PatientSex" and element.value not in (*_SEXES, None):
        return None
    return element


def _check(form: str, text: str, *, strictly: bool) -> None:
    if text and form in _TIMES:
        _TIMES[form](text)
    elif text and strictly and form in _TEXTS:
        validate_value(form, text, config.RAISE)


def _is_written_alike(common: Dataset) -> bool:
    """Whether all texts, and our own, are what they were once they are written in their character set and read again.

    They are not where the set is misspelt or begins with one that may only follow another, or where bytes are none of
    its characters.
    """
    trial = Dataset()
    trial.update(common)
    trial.ContentCreatorName = CREATOR
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    try:
        named = common.get("SpecificCharacterSet") or ""
        known = all(word in python_encoding for word in ([named] if isinstance(named, str) else named))
        write_dataset(stream, trial)
        again = read_dataset(BytesIO(stream.getvalue()), is_implicit_VR=False, is_little_endian=True)
        return known and _texts(trial) == _texts(again)
    except Exception:
        return False


def _texts(dataset: Dataset) -> list[str]:
    return [str(element.value or "") for element in dataset.iterall() if element.VR != "SQ"]


def _plane(piece: Slice, common: Dataset, orientation: list[float], spacing: list[float], grid: Grid) -> Dataset:
    plane = _copy(common)
    instance, frame = piece.instance, piece.frame
    plane.SOPClassUID = MR_IMAGE
    plane.SOPInstanceUID = instance.sop_uid
    plane.InstanceNumber = instance.instance_number
    plane.Rows, plane.Columns = instance.pixels.rows, instance.pixels.columns
    assert frame.position is not None  # `geometry` has refused a slice without one
    plane.ImagePositionPatient = list(frame.position)
    plane.ImageOrientationPatient = orientation
    plane.PixelSpacing = spacing
    between = _plain(grid.spacing_mm[2])
    plane.SliceThickness = frame.slice_thickness if (frame.slice_thickness or 0) > 0 else between
    plane.SpacingBetweenSlices = between
    return plane


def _files(ordered: Sequence[Slice], common: Dataset) -> tuple[Dataset, ...]:
    """Of files with many frames what identifies them."""
    files = []
    for instance in {id(piece.instance): piece.instance for piece in ordered}.values():
        file = _copy(common)
        file.SOPClassUID, file.SOPInstanceUID = instance.sop_class, instance.sop_uid
        file.InstanceNumber = instance.instance_number
        file.NumberOfFrames = len(instance.frames)
        file.Rows, file.Columns = instance.pixels.rows, instance.pixels.columns
        files.append(file)
    return tuple(files)


def _copy(common: Dataset) -> Dataset:
    """Another dataset with the same elements, which nobody changes."""
    copied = Dataset()
    copied.update(common)
    return copied


def _orientation(grid: Grid) -> list[float]:
    """Direction of a row and of a column, as the grid has it."""
    row = grid.affine[:3, 0] / grid.spacing_mm[0]
    column = -grid.affine[:3, 1] / grid.spacing_mm[1]
    return [_plain(value) for value in (*(row * _TO_LPS), *(column * _TO_LPS))]


def _in_plane(grid: Grid) -> list[float]:
    """Between rows and between columns."""
    return [_plain(grid.spacing_mm[1]), _plain(grid.spacing_mm[0])]


def _plain(value: float) -> float:
    """Without the last digits: 16 characters hold it, and a direction that is 0 is 0, not -1e-17."""
    return round(float(value), 10) + 0.0
