"""DICOM Segmentation: the mask on the frames of the series that it was made from."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import numpy as np
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless

from eenet_runtime.dicom.writing.findings import CATEGORY, FINDINGS, SITE
from eenet_runtime.dicom.writing.general import ResultSeries, algorithm, finish, general_arguments
from eenet_runtime.dicom.writing.identifiers import ResultIdentifiers, tracking
from eenet_runtime.dicom.writing.model_identity import CREATOR, ModelIdentity
from eenet_runtime.dicom.writing.source_images import SourceImages
from eenet_runtime.pictures.colours import CLASS_COLOURS_ON_GREY
from eenet_runtime.volumes.labels import NUM_CLASSES, Label

_CLASSES: Final = tuple(FINDINGS)
_STEPS: Final = 255
"""Of a probability in a FRACTIONAL segmentation: 8 bits."""
_CONTENT_LABEL: Final = "BRAIN_TUMOUR"


class SegKind(StrEnum):
    """How a mask is encoded."""

    BINARY = "binary"
    """A bit a voxel, a frame for each segment and slice: what every viewer that shows segmentations reads."""
    LABELMAP = "labelmap"
    """A byte a voxel, one frame for each slice, run-length encoded: a sixth of the size, and few read it yet."""


def segmentation_object(
    labels: NDArray[np.uint8],
    source: SourceImages,
    model: ModelIdentity,
    ids: ResultIdentifiers,
    kind: SegKind = SegKind.BINARY,
) -> Dataset | None:
    """The mask as a Segmentation (DICOM PS3.3, A.51), or as a Label Map Segmentation (A.92).

    Classes that have no voxel are no segment, and slices of a segment that have none are no frame: viewers stop at
    both. The segments of a BINARY one are numbered from 1 without gaps, as DICOM demands; those of a LABELMAP have the
    numbers of `Label`, which are its voxels' values.

    Args:
        labels: (X, Y, Z) network classes (`Label`) on `source.grid`.
        source: the series that the mask lies on.
        model: what made the mask.
        ids: of the result; the object has the role `seg`.

    Returns:
        None where the mask is empty: there is no empty segmentation in DICOM.

    Raises:
        ValueError: labels of another shape than the grid's, or that are none of the network's classes.
    """
    _check_shape(labels.shape, source)
    counts = np.bincount(labels.ravel(order="K"), minlength=NUM_CLASSES)
    if len(counts) > NUM_CLASSES:
        raise ValueError(f"label {len(counts) - 1} found, expected at most {NUM_CLASSES - 1}")
    present = [label for label in _CLASSES if counts[label]]
    if not present:
        return None
    numbers = {label: place for place, label in enumerate(present, 1)}
    planes = _as_planes(labels)
    if kind is SegKind.LABELMAP:
        numbers = {label: int(label) for label in present}
    elif list(numbers.values()) != [int(label) for label in present]:
        renumber = np.zeros(NUM_CLASSES, np.uint8)
        renumber[present] = list(numbers.values())
        planes = renumber[planes]
    binary = kind is SegKind.BINARY
    return _object(
        planes,
        source,
        model,
        _segments(numbers, model, ids),
        ids.uid("seg-dimensions"),
        segmentation_type=SegmentationTypeValues[kind.name],
        transfer_syntax_uid=ExplicitVRLittleEndian if binary else RLELossless,
        content_description="Brain tumour segmented by a neural network",
        **general_arguments(source, ids, "seg", ResultSeries.SEGMENTATION, "segmentation"),
    )


def fractional_object(
    probabilities: NDArray[np.float32], source: SourceImages, model: ModelIdentity, ids: ResultIdentifiers
) -> Dataset | None:
    """The network's probabilities as a FRACTIONAL Segmentation, in steps of 1/255, run-length encoded.

    Frames in which every probability rounds to 0 are left out, and so are segments that have no other.

    Args:
        probabilities: (X, Y, Z, classes) from 0 to 1, the classes in the order of `Label`, on `source.grid`.
        source: the series that the maps lie on.
        model: what made them.
        ids: of the result; the object has the role `probabilities`.

    Returns:
        None where all of them round to 0.

    Raises:
        ValueError: another shape than the grid's and the classes'.
    """
    _check_shape(probabilities.shape[:3], source)
    if probabilities.shape[3:] != (NUM_CLASSES,):
        raise ValueError(f"maps of {probabilities.shape[3:]} classes found, expected {NUM_CLASSES}")
    present = [label for label in _CLASSES if probabilities[..., label].max() * _STEPS >= 0.5]
    if not present:
        return None
    steps = np.rint(probabilities[..., present] * np.float32(_STEPS)) / np.float32(_STEPS)
    numbers = {label: place for place, label in enumerate(present, 1)}
    return _object(
        _as_planes(steps),
        source,
        model,
        _segments(numbers, model, ids),
        ids.uid("probabilities-dimensions"),
        segmentation_type=SegmentationTypeValues.FRACTIONAL,
        max_fractional_value=_STEPS,
        transfer_syntax_uid=RLELossless,
        content_description="Probabilities of a neural network",
        **general_arguments(source, ids, "probabilities", ResultSeries.PROBABILITIES, "probabilities"),
    )


def segment_numbers(segmentation: Dataset, ids: ResultIdentifiers) -> dict[Label, int]:
    """The numbers of the segments in an object of this result, by class; absent classes are not there."""
    # A label map's background, which highdicom adds, is tracked by nothing.
    by_uid = {str(one.get("TrackingUID", "")): int(one.SegmentNumber) for one in segmentation.SegmentSequence}
    named = {label: by_uid.get(tracking(ids, label).uid) for label in _CLASSES}
    return {label: number for label, number in named.items() if number is not None}


def _object(
    planes: NDArray[Any],
    source: SourceImages,
    model: ModelIdentity,
    segments: list[SegmentDescription],
    dimensions_uid: str,
    **arguments: Any,
) -> Dataset:
    # highdicom takes a third of a second for the empty slices of a head, only to leave them out.
    filled = np.flatnonzero(planes.any(axis=tuple(range(1, planes.ndim))))
    dataset: Dataset = Segmentation(
        source_images=[source.planes[place] for place in filled],
        pixel_array=planes[filled],
        segment_descriptions=segments,
        manufacturer_model_name=model.model_name,
        software_versions=list(model.software_versions),
        device_serial_number=model.bundle_id,
        content_label=_CONTENT_LABEL,
        content_creator_name=CREATOR,
        omit_empty_frames=True,
        **arguments,
    )
    finish(dataset, source, model)
    # highdicom draws this one by chance.
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = UID(dimensions_uid)
    _refer_to_files(dataset, source)
    return dataset


def _segments(numbers: dict[Label, int], model: ModelIdentity, ids: ResultIdentifiers) -> list[SegmentDescription]:
    return [
        SegmentDescription(
            segment_number=number,
            segment_label=FINDINGS[label].text,
            segmented_property_category=CATEGORY,
            segmented_property_type=FINDINGS[label].code,
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm(model),
            tracking_id=tracking(ids, label).identifier,
            tracking_uid=tracking(ids, label).uid,
            anatomic_regions=[SITE],
            display_color=CIELabColor.from_rgb(*CLASS_COLOURS_ON_GREY[label]),
        )
        for label, number in numbers.items()
    ]


def _refer_to_files(dataset: Dataset, source: SourceImages) -> None:
    """Name all files of the series as what the object is derived from, and frames where a file has many."""
    files = []
    for file in source.datasets:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = file.SOPClassUID, file.SOPInstanceUID
        files.append(item)
    dataset.SourceImageSequence = files
    dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence = files
    if source.planes is source.datasets:
        return
    places = {str(plane.SOPInstanceUID): frame for plane, frame in zip(source.planes, source.frames, strict=True)}
    for group in dataset.PerFrameFunctionalGroupsSequence:
        for item in group.DerivationImageSequence[0].SourceImageSequence:
            # The segments of a slice share one item.
            if "ReferencedFrameNumber" in item:
                continue
            place, number = places[str(item.ReferencedSOPInstanceUID)]
            item.ReferencedSOPClassUID = source.datasets[place].SOPClassUID
            item.ReferencedSOPInstanceUID = source.datasets[place].SOPInstanceUID
            item.ReferencedFrameNumber = number


def _as_planes(volume: NDArray[Any]) -> NDArray[Any]:
    """(slices, rows, columns, ...) as DICOM stores them, of a volume whose second axis runs against the columns."""
    turned = np.moveaxis(volume, (2, 1, 0), (0, 1, 2))[:, ::-1]
    return np.ascontiguousarray(turned)


def _check_shape(shape: tuple[int, ...], source: SourceImages) -> None:
    if shape != source.grid.shape:
        raise ValueError(f"a mask of {shape} voxels, expected {source.grid.shape}")
