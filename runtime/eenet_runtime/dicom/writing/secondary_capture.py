"""Pictures as DICOM Secondary Capture: what a viewer shows that knows no segmentation.

One object for each slice, not one with many frames: viewers have long scrolled series, and still trip over colour
objects of many frames. Uncompressed: no codec is needed to show them, and no peer refuses them; a slice is cropped to
the head and at most 256 pixels wide or high, and there are at most 96, so that a study's pictures stay below 22 MB.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

import numpy as np
from highdicom.sc import SCImage
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from eenet_runtime.dicom.writing.general import ResultSeries, finish, general_arguments
from eenet_runtime.dicom.writing.identifiers import ResultIdentifiers
from eenet_runtime.dicom.writing.model_identity import NOTICE, ModelIdentity
from eenet_runtime.dicom.writing.source_images import SourceImages
from eenet_runtime.results.slice_pictures import SlicePictures, draw_slices

_BODY_PART: Final = "BRAIN"
"""Not paired: for a HEAD the standard wants a laterality."""
_OF_ONE_SLICE: Final = tuple(map(Tag, ("SOPInstanceUID", "InstanceNumber", "ImagePositionPatient", "PixelData")))
_TO_LPS: Final = np.array([-1.0, -1.0, 1.0])


def preview_object(
    rgb: NDArray[np.uint8], source: SourceImages, model: ModelIdentity, ids: ResultIdentifiers
) -> Dataset:
    """The preview as a Secondary Capture image.

    Args:
        rgb: uint8 (rows, columns, 3); nothing in it may name the patient.
        source: the images that it shows.
        model: what made the mask.
        ids: of the result; the object has the role `preview`.
    """
    general = general_arguments(source, ids, "preview", ResultSeries.PREVIEW, "preview")
    dataset = _capture(rgb, source, model, general)
    dataset.DerivationDescription = f"Three planes with outlines of a segmentation; {NOTICE}"
    return dataset


def overlay_objects(
    data: NDArray[np.generic],
    labels: NDArray[np.uint8],
    source: SourceImages,
    model: ModelIdentity,
    ids: ResultIdentifiers,
    brain: NDArray[np.bool_] | None = None,
) -> list[Dataset]:
    """The series of axial slices with the mask's outlines, from the lowest slice to the highest.

    Each says where it lies in the patient, so that viewers sort the slices, and scroll them along with the images.

    Args:
        data: the T1ce's values, on `source.grid`.
        labels: network classes, the same.
        source: the T1ce's series.
        model: what made the mask.
        ids: of the result; the objects have the roles `overlay`, `overlay-2` and so on.
        brain: where the brain is, on the same grid, for the grey levels.
    """
    pictures = draw_slices(data, labels, source.grid, NOTICE, brain)
    general = general_arguments(source, ids, "overlay", ResultSeries.OVERLAY, "outlines")
    first = _capture(pictures.pixels[0], source, model, general)
    first.DerivationDescription = f"Outlines of a segmentation over T1ce; {NOTICE}"
    _lay(first, pictures, source)
    return [_slice(first, pictures, index, source, ids) for index in range(len(pictures.pixels))]


def _slice(
    first: Dataset, pictures: SlicePictures, index: int, source: SourceImages, ids: ResultIdentifiers
) -> Dataset:
    """One slice: what all have in common, which is made once, for highdicom takes 20 ms for an object; and its own."""
    general = general_arguments(source, ids, "overlay", ResultSeries.OVERLAY, "outlines", index + 1)
    dataset = Dataset()
    # Elements are shared: one that differs must be put in anew, not changed.
    dataset.update({tag: element for tag, element in first.items() if tag not in _OF_ONE_SLICE})
    dataset.SOPInstanceUID, dataset.InstanceNumber = general["sop_instance_uid"], general["instance_number"]
    dataset.ImagePositionPatient = _plain((pictures.grid.affine @ [0, 0, index, 1])[:3] * _TO_LPS)
    dataset.add_new("PixelData", "OB", pictures.pixels[index].tobytes())
    dataset.file_meta = deepcopy(first.file_meta)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def _lay(dataset: Dataset, pictures: SlicePictures, source: SourceImages) -> None:
    """Say where all slices lie, but for the position of each."""
    affine = pictures.grid.affine
    columns_mm, rows_mm, slices_mm = pictures.grid.spacing_mm
    directions = np.concatenate([affine[:3, 0] / columns_mm * _TO_LPS, affine[:3, 1] / rows_mm * _TO_LPS])
    dataset.FrameOfReferenceUID = source.datasets[0].FrameOfReferenceUID
    dataset.PositionReferenceIndicator = source.datasets[0].PositionReferenceIndicator
    dataset.ImageOrientationPatient = _plain(directions)
    dataset.PixelSpacing = _plain(np.array([rows_mm, columns_mm]))
    dataset.SliceThickness = dataset.SpacingBetweenSlices = _plain(np.array([slices_mm]))[0]


def _capture(rgb: NDArray[np.uint8], source: SourceImages, model: ModelIdentity, general: dict[str, Any]) -> Dataset:
    header = source.datasets[0]
    dataset: Dataset = SCImage.from_ref_dataset(
        ref_dataset=header,
        pixel_array=np.ascontiguousarray(rgb),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),
        **general,
    )
    finish(dataset, source, model)
    dataset.DateOfSecondaryCapture, dataset.TimeOfSecondaryCapture = source.content_moment
    dataset.BodyPartExamined = _BODY_PART
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "01" if header.get("LossyImageCompression") == "01" else "00"
    return dataset


def _plain(values: NDArray[np.float64]) -> list[float]:
    """At most 16 characters each, and no -0."""
    return [round(float(value), 8) + 0.0 for value in values]
