"""Synthetic DICOM studies for tests: small images on oblique grids, headers as scanners write them, nobody's data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

MR: Final = UID("1.2.840.10008.5.1.4.1.1.4")
ENHANCED: Final = UID("1.2.840.10008.5.1.4.1.1.4.1")
ROOT_UID: Final = "1.2.826.0.1.3680043.9.9999"
PATIENT: Final = "Canary^Patience"
AXIAL: Final = (1.0, 0, 0, 0, 1, 0)
SAGITTAL: Final = (0.0, 1, 0, 0, 0, -1)
CORONAL: Final = (1.0, 0, 0, 0, 0, -1)


def oblique(about_x: float = 0.3, about_z: float = 0.2) -> tuple[float, ...]:
    """An axial orientation turned about two axes (radians), written with the digits that scanners write."""
    cx, sx, cz, sz = np.cos(about_x), np.sin(about_x), np.cos(about_z), np.sin(about_z)
    return tuple(round(float(value), 9) for value in (cz, sz * cx, sz * sx, -sz, cz * cx, cz * sx))


@dataclass(frozen=True)
class FakeSeries:
    """One series; `tags` are set last, None removes one."""

    number: int = 1
    description: str = "t1_mprage"
    orientation: Sequence[float] = AXIAL
    shape: tuple[int, int, int] = (20, 10, 12)
    """Slices, rows, columns."""
    spacing: tuple[float, float, float] = (5.0, 10.0, 9.0)
    """Between slices, rows and columns, millimetres."""
    origin: tuple[float, float, float] = (-60.0, -70.0, -40.0)
    image_type: Sequence[str] = ("ORIGINAL", "PRIMARY", "M", "NORM")
    dtype: str = "uint16"
    time: str = "100000"
    slopes: Sequence[tuple[float, float]] = ()
    tags: dict[str, Any] = field(default_factory=dict)
    study: int = 1
    patient: str = PATIENT
    patient_id: str = "CANARY-ID-1"
    character_set: str | list[str] = "ISO_IR 100"

    def changed(self, **changes: Any) -> FakeSeries:
        """The same with other fields."""
        return replace(self, **changes)

    def pixels(self) -> NDArray[Any]:
        """(slices, rows, columns): every voxel of a slice differs from its neighbours."""
        count = int(np.prod(self.shape))
        values = (np.arange(count) * 37 % 4001).reshape(self.shape)
        return (values - 2000 if self.dtype.startswith("i") else values).astype(self.dtype)


T1_PHYSICS: Final = {
    "ScanningSequence": ["GR", "IR"], "MRAcquisitionType": "3D", "EchoTime": 2.3, "RepetitionTime": 2300,
    "InversionTime": 900, "FlipAngle": 9,
}  # fmt: skip
T2_PHYSICS: Final = {"ScanningSequence": "SE", "MRAcquisitionType": "2D", "EchoTime": 96, "RepetitionTime": 5200}
FLAIR_PHYSICS: Final = {
    "ScanningSequence": ["SE", "IR"], "MRAcquisitionType": "2D", "EchoTime": 87, "RepetitionTime": 9000,
    "InversionTime": 2500,
}  # fmt: skip
SE_PHYSICS: Final = {"ScanningSequence": "SE", "MRAcquisitionType": "2D", "EchoTime": 12, "RepetitionTime": 500}
AGENT: Final = {"ContrastBolusAgent": "Gadovist"}

SIX_SERIES: Final = (
    FakeSeries(1, "localizer", shape=(3, 10, 12), image_type=("ORIGINAL", "PRIMARY", "M", "LOCALIZER"), time="100000"),
    FakeSeries(2, "t1_mprage_sag", SAGITTAL, time="100100", tags=dict(T1_PHYSICS)),
    FakeSeries(3, "t2_tirm_tra_dark-fluid_FS", oblique(), time="100200", tags=dict(FLAIR_PHYSICS)),
    FakeSeries(4, "t2_tse_tra", oblique(0.1, -0.3), time="100300", tags=dict(T2_PHYSICS)),
    FakeSeries(5, "ep2d_diff_ADC", image_type=("DERIVED", "PRIMARY", "DIFFUSION", "ADC"), time="100400"),
    FakeSeries(6, "T1 MPRAGE tra +KM", time="100900", tags={**T1_PHYSICS, **AGENT}),
)
"""A study of a day; the answers are 2, 6, 4 and 3."""


def write_series(folder: Path, series: FakeSeries, only: Sequence[int] | None = None) -> list[Path]:
    """Write a series as classical MR files, of which `only` some; names say nothing about places."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for place, dataset in enumerate(datasets(series)):
        if only is None or place in only:
            path = folder / f"IM{(place * 7) % 100:02d}_{series.number}_{place}"
            dataset.save_as(path, enforce_file_format=True)
            paths.append(path)
    return paths


def write_study(folder: Path, study: Sequence[FakeSeries] = SIX_SERIES) -> Path:
    """Write all series, each into a folder of its own."""
    for series in study:
        write_series(folder / f"S{series.number}", series)
    return folder


def datasets(series: FakeSeries) -> list[FileDataset]:
    """The files of a series, in order of their places."""
    return [_dataset(series, place, plane) for place, plane in enumerate(series.pixels())]


def position(series: FakeSeries, place: int) -> list[float]:
    """Of one slice, along the normal."""
    normal = np.cross(series.orientation[:3], series.orientation[3:])
    found = np.array(series.origin) + place * series.spacing[0] * normal
    return [round(float(value), 6) for value in found]


def enhanced(series: FakeSeries) -> FileDataset:
    """The same series as one Enhanced MR file, frames in an order of their own."""
    order = np.argsort(np.arange(series.shape[0]) * 7 % series.shape[0], kind="stable")
    dataset = _dataset(series, 0, series.pixels()[order])
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = ENHANCED
    dataset.NumberOfFrames = series.shape[0]
    shared = Dataset()
    for name in ("EchoTime", "RepetitionTime", "InversionTime", "FlipAngle", "ScanningSequence", "RescaleSlope",
                 "RescaleIntercept"):  # fmt: skip
        if name in dataset:
            del dataset[name]
    physics = series.tags
    kinds = physics.get("ScanningSequence", [])
    dataset.EchoPulseSequence = "GRADIENT" if "GR" in kinds else "SPIN"
    shared.MREchoSequence = [_item(EffectiveEchoTime=physics["EchoTime"])]
    shared.MRTimingAndRelatedParametersSequence = [_item(RepetitionTime=physics["RepetitionTime"])]
    inverted = "YES" if "InversionTime" in physics else "NO"
    times = {"InversionTimes": physics["InversionTime"]} if "InversionTime" in physics else {}
    shared.MRModifierSequence = [_item(InversionRecovery=inverted, **times)]
    shared.PixelMeasuresSequence = [_item(PixelSpacing=list(series.spacing[1:]), SliceThickness=series.spacing[0])]
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=list(series.orientation))]
    dataset.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for place in order:
        frame = _item(PlanePositionSequence=[_item(ImagePositionPatient=position(series, int(place)))])
        slope, intercept = series.slopes[place] if series.slopes else (1, 0)
        frame.PixelValueTransformationSequence = [_item(RescaleSlope=slope, RescaleIntercept=intercept)]
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = frames
    del dataset.ImagePositionPatient, dataset.ImageOrientationPatient, dataset.PixelSpacing
    return dataset


def _item(**values: Any) -> Dataset:
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return item


def _dataset(series: FakeSeries, place: int, plane: NDArray[Any]) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MR
    meta.MediaStorageSOPInstanceUID = UID(f"{ROOT_UID}.{series.study}.{series.number}.{place + 1}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    signed = np.dtype(series.dtype).kind == "i"
    bits = 8 * np.dtype(series.dtype).itemsize
    values: dict[str, Any] = {
        "SpecificCharacterSet": series.character_set, "PatientName": series.patient, "PatientID": series.patient_id,
        "SOPClassUID": MR, "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyInstanceUID": f"{ROOT_UID}.{series.study}",
        "SeriesInstanceUID": f"{ROOT_UID}.{series.study}.{series.number}",
        "FrameOfReferenceUID": f"{ROOT_UID}.{series.study}.99", "Modality": "MR", "Manufacturer": "Maker",
        "SeriesNumber": series.number, "SeriesDescription": series.description, "InstanceNumber": place + 1,
        "ImageType": list(series.image_type), "AcquisitionDate": "20260102", "AcquisitionTime": series.time,
        "ImageOrientationPatient": list(series.orientation), "ImagePositionPatient": position(series, place),
        "PixelSpacing": list(series.spacing[1:]), "SliceThickness": series.spacing[0],
        "Rows": series.shape[1], "Columns": series.shape[2], "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1,
        "PixelRepresentation": int(signed), "PixelData": plane.tobytes(),
    }  # fmt: skip
    if series.slopes:
        values["RescaleSlope"], values["RescaleIntercept"] = series.slopes[place % len(series.slopes)]
    values.update(series.tags)
    for name, value in values.items():
        if value is not None:
            setattr(dataset, name, value)
        elif name in dataset:
            del dataset[name]
    return dataset
