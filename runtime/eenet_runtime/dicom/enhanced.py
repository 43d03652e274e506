"""Enhanced MR: what classical MR says in the header of each file stands in functional groups, shared or by frame."""

from __future__ import annotations

from typing import Final

from eenet_runtime.dicom.frame import Frame, finite_triple
from eenet_runtime.dicom.header_values import HeaderValues

SHARED: Final = "SharedFunctionalGroupsSequence"
PER_FRAME: Final = "PerFrameFunctionalGroupsSequence"


def frames_of_enhanced(values: HeaderValues, announced: int) -> tuple[Frame, ...]:
    """The frames of an Enhanced MR file; a group of a frame's own goes before a shared one (DICOM PS3.3, C.7.6.16).

    Frames that the per-frame sequence does not describe have what is shared, so without a position: their series is
    refused for that.
    """
    shared = values.first_item(SHARED)
    own = values.items(PER_FRAME)[:announced]
    own += [values.first_item("")] * (announced - len(own))
    return tuple(_frame(index, groups, shared, values) for index, groups in enumerate(own))


def _frame(index: int, own: HeaderValues, shared: HeaderValues, top: HeaderValues) -> Frame:
    def group(name: str) -> HeaderValues:
        return own.first_item(name) if own.has(name) else shared.first_item(name)

    orientation = group("PlaneOrientationSequence").numbers("ImageOrientationPatient")
    measures = group("PixelMeasuresSequence")
    spacing = measures.numbers("PixelSpacing")
    transformation = group("PixelValueTransformationSequence")
    slope, intercept = transformation.number("RescaleSlope"), transformation.number("RescaleIntercept")
    content = group("FrameContentSequence")
    return Frame(
        index=index,
        position=finite_triple(group("PlanePositionSequence").numbers("ImagePositionPatient")),
        orientation=orientation if len(orientation) == 6 else None,
        pixel_spacing=(spacing[0], spacing[1]) if len(spacing) == 2 else None,
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
        echo_time=group("MREchoSequence").number("EffectiveEchoTime"),
        echo_number=None,
        temporal_position=content.whole("TemporalPositionIndex"),
        b_value=group("MRDiffusionSequence").number("DiffusionBValue"),
        image_type=group("MRImageFrameTypeSequence").words("FrameType") or top.words("ImageType"),
        slice_thickness=measures.number("SliceThickness"),
        stack=content.text("StackID"),
    )
