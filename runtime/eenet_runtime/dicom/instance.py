"""What is kept of one DICOM file: the facts of its header and its frames. No pixels, no pydicom objects."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol, cast

from pydicom import dcmread
from pydicom.filereader import _read_file_meta_info
from pydicom.tag import Tag
from pydicom.uid import UID

from eenet_runtime.dicom.enhanced import PER_FRAME, SHARED, frames_of_enhanced
from eenet_runtime.dicom.frame import Frame, finite_triple
from eenet_runtime.dicom.guarded_reader import (
    DEFAULT_HEADER_LIMITS,
    GuardedReader,
    HeaderLimits,
    HeaderTooLargeError,
)
from eenet_runtime.dicom.header_values import HeaderValues

MR_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.4.1"
LEGACY_ENHANCED_MR_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.4.4"
MR_CLASSES: Final = frozenset({MR_IMAGE, ENHANCED_MR_IMAGE, LEGACY_ENHANCED_MR_IMAGE})
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
MEDIA_DIRECTORY: Final = "1.2.840.10008.1.3.10"

_KEYWORDS: Final = [
    "SpecificCharacterSet",
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "PatientID",
    "PatientName",
    "Modality",
    "Manufacturer",
    "ManufacturerModelName",
    "StationName",
    "SeriesNumber",
    "SeriesDescription",
    "ProtocolName",
    "SequenceName",
    "PulseSequenceName",
    "ScanningSequence",
    "SequenceVariant",
    "ScanOptions",
    "MRAcquisitionType",
    "EchoPulseSequence",
    "EchoTime",
    "EffectiveEchoTime",
    "RepetitionTime",
    "InversionTime",
    "FlipAngle",
    "EchoTrainLength",
    "EchoNumbers",
    "InversionRecovery",
    "SpectrallySelectedSuppression",
    "ContrastBolusAgent",
    "ContrastBolusAgentSequence",
    "DiffusionBValue",
    "NumberOfTemporalPositions",
    "TemporalPositionIdentifier",
    "AcquisitionNumber",
    "AcquisitionDate",
    "AcquisitionTime",
    "AcquisitionDateTime",
    "SeriesDate",
    "SeriesTime",
    "InstanceNumber",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PhotometricInterpretation",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "RescaleSlope",
    "RescaleIntercept",
    "BodyPartExamined",
    "AcquisitionContrast",
    "TriggerTime",
    "ContentTime",
]
_TAGS: Final = tuple(Tag(keyword) for keyword in _KEYWORDS)
"""Looked up once: for pydicom a keyword is a search in its dictionary, for each file again."""
_TAGS_OF_ENHANCED: Final = (*_TAGS, Tag(SHARED), Tag(PER_FRAME))
_MOST_FRAMES: Final = 20_000


class InstanceSource(Protocol):
    """Where the bytes of one DICOM file lie."""

    def open(self) -> BinaryIO:
        """Open it for reading, seekable."""


@dataclass(frozen=True)
class FileSource:
    """A file of a folder."""

    path: Path

    def open(self) -> BinaryIO:
        """Open it."""
        return self.path.open("rb")


@dataclass(frozen=True)
class PixelFormat:
    """How the pixels of a file are stored: all that must be alike in one volume."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str


@dataclass(frozen=True)
class Instance:
    """The header of one DICOM file.

    Attributes:
        source: where its bytes are.
        transfer_syntax: how it is encoded.
        patient: a hash that is the same for the files of one patient; says nothing else.
        series_number, instance_number: None where they are missing.
        times: texts that sort by the time of acquisition, "" where nothing is said.
        contrast_agent: the text of the agent's tag, or of its sequence; "" where there is none.
        echo_time, repetition_time, inversion_time: milliseconds. An inversion time of 0 is none.
    """

    source: InstanceSource
    transfer_syntax: str
    sop_class: str
    sop_uid: str
    study_uid: str
    series_uid: str
    frame_of_reference: str
    patient: str
    modality: str
    manufacturer: str
    station: str
    series_number: int | None
    series_description: str
    protocol: str
    sequence_name: str
    image_type: tuple[str, ...]
    scanning_sequence: tuple[str, ...]
    sequence_variant: tuple[str, ...]
    scan_options: tuple[str, ...]
    acquisition_type: str
    body_part: str
    echo_time: float | None
    repetition_time: float | None
    inversion_time: float | None
    flip_angle: float | None
    echo_train: int | None
    contrast_agent: str
    acquisition_number: int | None
    instance_number: int | None
    time: str
    pixels: PixelFormat
    frames: tuple[Frame, ...]

    @property
    def is_mr_image(self) -> bool:
        """Whether it is of a class that holds MR images."""
        return self.sop_class in MR_CLASSES


class NotReadableError(Exception):
    """A file that is DICOM and cannot be used; the message says why and quotes nothing of it."""


def read_instance(source: InstanceSource, limits: HeaderLimits = DEFAULT_HEADER_LIMITS) -> Instance | None:
    """Read the header of one file.

    Returns:
        The facts; None for what is no DICOM file (Part 10: a preamble and "DICM") and for a DICOMDIR.

    Raises:
        NotReadableError: damaged, deflated, over a limit, or a header without the identifiers that DICOM demands.
        OSError: the file cannot be read.
    """
    with source.open() as raw:
        reader = GuardedReader(raw, limits)
        if reader.read(132)[128:] != b"DICM":
            return None
        raw.seek(0)
        try:
            return _parse(source, reader, raw)
        except HeaderTooLargeError as error:
            raise NotReadableError(f"{error} found") from error
        except (NotReadableError, OSError):
            raise
        except RecursionError as error:
            raise NotReadableError("sequences nested too deeply") from error
        except MemoryError as error:
            raise NotReadableError("too little memory for its header") from error
        # What pydicom raises on damaged bytes is not documented: AttributeError, KeyError, struct.error and others.
        except Exception as error:
            raise NotReadableError("damaged header") from error


def _parse(source: InstanceSource, reader: GuardedReader, raw: BinaryIO) -> Instance | None:
    syntax = _transfer_syntax(reader, raw)
    if syntax is None:
        return None
    # A deflated header may unpack to a thousand times its size: refused before pydicom sees it.
    if syntax == DEFLATED:
        raise NotReadableError("deflated transfer syntax, expected any other")
    raw.seek(0)
    flat = HeaderValues(dcmread(reader, stop_before_pixels=True, specific_tags=list(_TAGS)))
    sop_class = flat.text("SOPClassUID")
    frames_announced = flat.whole("NumberOfFrames") or 1
    if not 1 <= frames_announced <= _MOST_FRAMES:
        raise NotReadableError(f"{frames_announced} frames announced, expected at most {_MOST_FRAMES}")
    enhanced = sop_class in (ENHANCED_MR_IMAGE, LEGACY_ENHANCED_MR_IMAGE)
    values = flat
    if enhanced:
        raw.seek(0)
        values = HeaderValues(dcmread(reader, stop_before_pixels=True, specific_tags=list(_TAGS_OF_ENHANCED)))
    frames = frames_of_enhanced(values, frames_announced) if enhanced else (_only_frame(values),)
    return _facts(source, syntax, values, frames)


def _transfer_syntax(reader: GuardedReader, raw: BinaryIO) -> str | None:
    raw.seek(132)
    meta = HeaderValues(_read_file_meta_info(cast(BinaryIO, reader)))
    if meta.text("MediaStorageSOPClassUID") == MEDIA_DIRECTORY:
        return None
    return meta.text("TransferSyntaxUID")


def _only_frame(values: HeaderValues) -> Frame:
    orientation = values.numbers("ImageOrientationPatient")
    spacing = values.numbers("PixelSpacing")
    slope, intercept = values.number("RescaleSlope"), values.number("RescaleIntercept")
    return Frame(
        index=0,
        position=finite_triple(values.numbers("ImagePositionPatient")),
        orientation=orientation if len(orientation) == 6 else None,
        pixel_spacing=(spacing[0], spacing[1]) if len(spacing) == 2 else None,
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
        echo_time=values.number("EchoTime"),
        echo_number=values.whole("EchoNumbers"),
        temporal_position=values.whole("TemporalPositionIdentifier"),
        b_value=values.number("DiffusionBValue"),
        image_type=values.words("ImageType"),
        slice_thickness=values.number("SliceThickness"),
    )


def _facts(source: InstanceSource, syntax: str, values: HeaderValues, frames: tuple[Frame, ...]) -> Instance:
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
        if not UID(values.text(keyword)).is_valid:
            raise NotReadableError(f"no valid {keyword}")
    timing = values.first_item(SHARED, "MRTimingAndRelatedParametersSequence")
    modifier = values.first_item(SHARED, "MRModifierSequence")
    per_frame = values.first_item(PER_FRAME)
    if not timing.has("RepetitionTime"):
        timing = per_frame.first_item("MRTimingAndRelatedParametersSequence")
    if not modifier.has("InversionTimes"):
        modifier = per_frame.first_item("MRModifierSequence")
    trains = timing.whole("RFEchoTrainLength")
    return Instance(
        source=source,
        transfer_syntax=syntax,
        sop_class=values.text("SOPClassUID"),
        sop_uid=values.text("SOPInstanceUID"),
        study_uid=values.text("StudyInstanceUID"),
        series_uid=values.text("SeriesInstanceUID"),
        frame_of_reference=values.text("FrameOfReferenceUID"),
        patient=_patient(values),
        modality=values.text("Modality").upper(),
        manufacturer=values.text("Manufacturer"),
        station=values.text("StationName"),
        series_number=values.whole("SeriesNumber"),
        series_description=values.text("SeriesDescription"),
        protocol=values.text("ProtocolName"),
        sequence_name=values.text("SequenceName") or values.text("PulseSequenceName"),
        image_type=values.words("ImageType"),
        scanning_sequence=values.words("ScanningSequence") or _scanning_sequence_of_enhanced(values, modifier),
        sequence_variant=values.words("SequenceVariant"),
        scan_options=values.words("ScanOptions"),
        acquisition_type=values.text("MRAcquisitionType").upper(),
        body_part=values.text("BodyPartExamined").upper(),
        echo_time=frames[0].echo_time if frames[0].echo_time is not None else values.number("EchoTime"),
        repetition_time=_first(values.number("RepetitionTime"), timing.number("RepetitionTime")),
        inversion_time=_first(values.number("InversionTime"), modifier.number("InversionTimes")) or None,
        flip_angle=_first(values.number("FlipAngle"), timing.number("FlipAngle")),
        echo_train=trains if (train := values.whole("EchoTrainLength")) is None else train,
        contrast_agent=_contrast_agent(values),
        acquisition_number=values.whole("AcquisitionNumber"),
        instance_number=values.whole("InstanceNumber"),
        time=_time(values, per_frame),
        pixels=_pixel_format(values),
        frames=frames,
    )


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _scanning_sequence_of_enhanced(values: HeaderValues, modifier: HeaderValues) -> tuple[str, ...]:
    """Enhanced MR says in words what classical MR says in two letters (DICOM PS3.3, C.8.13.4)."""
    kinds = {"GRADIENT": ("GR",), "SPIN": ("SE",), "BOTH": ("GR", "SE")}.get(values.text("EchoPulseSequence"), ())
    return (*kinds, "IR") if kinds and modifier.text("InversionRecovery") == "YES" else kinds


def _contrast_agent(values: HeaderValues) -> str:
    named = values.text("ContrastBolusAgent")
    if named:
        return named
    agent = values.first_item("ContrastBolusAgentSequence")
    return agent.text("CodeMeaning") or agent.text("CodeValue")


def _time(values: HeaderValues, per_frame: HeaderValues) -> str:
    content = per_frame.first_item("FrameContentSequence")
    whole = content.text("FrameAcquisitionDateTime") or values.text("AcquisitionDateTime")
    date = values.text("AcquisitionDate") or values.text("SeriesDate")
    clock = values.text("AcquisitionTime") or values.text("SeriesTime")
    return whole or (f"{date}{clock}" if clock else "")


def _patient(values: HeaderValues) -> str:
    identity = values.raw("PatientID") or values.raw("PatientName").rstrip(b"^")
    return hashlib.sha256(identity).hexdigest()


def _pixel_format(values: HeaderValues) -> PixelFormat:
    stored = values.whole("BitsStored") or 0
    high = values.whole("HighBit")
    return PixelFormat(
        rows=values.whole("Rows") or 0,
        columns=values.whole("Columns") or 0,
        samples=values.whole("SamplesPerPixel") or 1,
        bits_allocated=values.whole("BitsAllocated") or 0,
        bits_stored=stored,
        high_bit=stored - 1 if high is None else high,
        signed=values.whole("PixelRepresentation") == 1,
        photometric=values.text("PhotometricInterpretation").upper(),
    )
