"""A study as a scanner sends it, of volumes that somebody has: six series, four of which are the contrasts.

`tests.dicom_studies` makes series of numbers; here voxels and places are given. Raw phantoms (`eenet-train phantom
--raw`) become a study so: `write_study(folder, study_of_case(case_folder))`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from eenet_runtime.volumes.labels import Modality
from tests.dicom_studies import (
    AGENT,
    FLAIR_PHYSICS,
    PATIENT,
    T1_PHYSICS,
    T2_PHYSICS,
    FakeSeries,
)

ImageOnGrid = tuple[NDArray[Any], NDArray[np.float64]]
"""Voxels (X, Y, Z) and the affine to RAS millimetres."""

AXES: Final = {"S": ("L", "A", "S"), "R": ("P", "S", "R"), "A": ("L", "S", "P")}
"""Where rows, the way against columns, and slices run: of axial, sagittal and coronal series."""
_TO_LPS: Final = np.array([-1.0, -1.0, 1.0])
_LARGEST: Final = 4000

CONTRASTS: Final[dict[Modality, tuple[int, str, str, dict[str, Any]]]] = {
    Modality.T1: (2, "t1_mprage_sag_p2_iso", "100100", T1_PHYSICS),
    Modality.FLAIR: (3, "t2_tirm_tra_dark-fluid_FS", "100200", FLAIR_PHYSICS),
    Modality.T2: (4, "t2_tse_tra", "100300", T2_PHYSICS),
    Modality.T1CE: (6, "T1 MPRAGE tra +KM", "100900", {**T1_PHYSICS, **AGENT}),
}
"""Series number, description, time and tags of each contrast."""
STUDY_TAGS: Final = {
    "PatientBirthDate": "19601231", "PatientSex": "F", "PatientAge": "065Y", "StudyDate": "20260102",
    "StudyTime": "095500", "StudyID": "S1", "AccessionNumber": "ACC-1", "StudyDescription": "MR brain",
    "ReferringPhysicianName": "Referring^Doctor", "ManufacturerModelName": "Scanner", "SoftwareVersions": "VX1",
    "DeviceSerialNumber": "1234", "BodyPartExamined": "HEAD", "PositionReferenceIndicator": "",
}  # fmt: skip
"""Of every series; what scanners fill in and results have to keep."""


@dataclass(frozen=True)
class ImageSeries(FakeSeries):
    """A series with given voxels, (slices, rows, columns)."""

    image: NDArray[Any] = field(default_factory=lambda: np.zeros((1, 1, 1), np.uint16))

    def pixels(self) -> NDArray[Any]:
        """As they are given."""
        return self.image


def series_of_volume(image: ImageOnGrid, slices_along: str | None = None, **fields: Any) -> ImageSeries:
    """A series whose voxels lie where an image's do, in the order in which scanners store them.

    Args:
        image: voxels of any number type; whole numbers up to 4000 are kept, others are scaled to it.
        slices_along: `S` for axial slices, `R` for sagittal, `A` for coronal; by default the axis of the thickest
            voxels, the last one where they are alike.
        fields: of `FakeSeries`.
    """
    data, affine = image
    given = nib.io_orientation(affine)
    if slices_along is None:
        sizes = np.round(np.linalg.norm(affine[:3, :3], axis=0), 3)
        thickest = int(np.flatnonzero(sizes == sizes.max())[-1])
        slices_along = "RAS"[int(given[thickest, 0])]
    turn = nib.orientations.ornt_transform(given, nib.orientations.axcodes2ornt(AXES[slices_along]))
    turned = nib.apply_orientation(data, turn)
    matrix = affine @ nib.orientations.inv_ornt_aff(turn, data.shape)
    columns, rows, slices = turned.shape
    directions = (matrix[:3, :3] * _TO_LPS[:, None]).T
    spacing = np.linalg.norm(directions, axis=1)
    row, against, normal = directions / spacing[:, None]
    assert np.allclose(np.cross(row, -against), normal, atol=1e-5), "expected three perpendicular axes"
    x, y, z = (float(value) for value in (matrix @ [0, rows - 1, 0, 1])[:3] * _TO_LPS)
    return ImageSeries(
        **{"tags": {}, **fields},
        orientation=[float(round(value, 9)) for value in (*row, *-against)],
        shape=(slices, rows, columns),
        spacing=(float(spacing[2]), float(round(spacing[1], 6)), float(round(spacing[0], 6))),
        origin=(x, y, z),
        image=np.ascontiguousarray(_whole(turned).transpose(2, 1, 0)[:, ::-1]),
    )


def study_of_volumes(
    volumes: Mapping[Modality, ImageOnGrid],
    *,
    slices_along: Mapping[Modality, str] | None = None,
    patient: str = PATIENT,
    patient_id: str = "CANARY-ID-1",
    character_set: str | list[str] = "ISO_IR 100",
    study: int = 1,
    tags: Mapping[str, Any] | None = None,
    others: bool = True,
) -> tuple[FakeSeries, ...]:
    """The series of a study; `tests.dicom_studies.write_study` writes them.

    Args:
        volumes: each on its own grid.
        slices_along: see `series_of_volume`.
        patient, patient_id, character_set, study: whose, and which, study.
        tags: set in every file, over `STUDY_TAGS`.
        others: whether a localizer and a diffusion map stand among them, as they do in real studies.
    """
    common = {**STUDY_TAGS, **(tags or {})}
    whose: dict[str, Any] = {
        "patient": patient, "patient_id": patient_id, "character_set": character_set, "study": study,
    }  # fmt: skip
    found: list[FakeSeries] = []
    for modality, image in volumes.items():
        number, description, time, physics = CONTRASTS[modality]
        along = (slices_along or {}).get(modality)
        kept = {"number": number, "description": description, "time": time, "tags": {**physics, **common}}
        found.append(series_of_volume(image, along, **kept, **whose))
    if others:
        localizer = ("ORIGINAL", "PRIMARY", "M", "LOCALIZER")
        map_type = ("DERIVED", "PRIMARY", "DIFFUSION", "ADC")
        found.append(FakeSeries(1, "localizer", shape=(3, 16, 16), image_type=localizer, tags=common, **whose))
        found.append(FakeSeries(5, "ep2d_diff_ADC", image_type=map_type, time="100400", tags=common, **whose))
    return tuple(sorted(found, key=lambda series: series.number))


def study_of_case(folder: Path, **options: Any) -> tuple[FakeSeries, ...]:
    """The study of a folder with `*_t1.nii.gz`, `*_t1ce.nii.gz`, `*_t2.nii.gz` and `*_flair.nii.gz`, such as a raw
    phantom's; options as `study_of_volumes` takes them.
    """
    volumes = {}
    for modality in Modality:
        (path,) = folder.glob(f"*_{modality}.nii.gz")
        image = nib.load(path)
        volumes[modality] = np.asarray(image.dataobj), image.affine
    return study_of_volumes(volumes, **options)


def _whole(data: NDArray[Any]) -> NDArray[np.uint16]:
    whole = np.rint(data)
    if data.min() < 0 or data.max() > _LARGEST or not np.array_equal(whole, data):
        low, high = float(data.min()), float(data.max())
        whole = np.rint((data - low) * (_LARGEST / max(high - low, 1e-9)))
    return np.asarray(whole, np.uint16)


def tumour_on(shape: Sequence[int], labels: Sequence[int] = (2, 3, 1)) -> NDArray[np.uint8]:
    """A mask of shells, outermost class first, off the middle and no mirror image of itself in any axis."""
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    away = np.sqrt(sum(((axis - shift) / wide) ** 2 for axis, shift, wide in zip(axes, *_OFF_CENTRE, strict=True)))
    mask = np.zeros(tuple(shape), np.uint8)
    for label, radius in zip(labels, (0.6, 0.42, 0.24), strict=False):
        mask[away < radius] = label
    return mask


_OFF_CENTRE: Final = ((0.25, -0.15, 0.2), (1.0, 0.8, 0.9))
