"""DICOM Structured Report: the numbers of a result in codes, each tied to its segment, and what a reader must know.

A Comprehensive 3D SR after template TID 1500 (DICOM PS3.16), as IHE's AI Results profile asks for measurements: TID
1411 for what a segment shows, TID 1501 for what no single one does (sums of segments, each lesion's lines, classes
without a voxel), TID 4019 for the algorithm, TID 1004 for the device.

Groups of the two kinds stand in two containers. The standard would have both in "Imaging Measurements"; PixelMed's
DicomSRValidator, by which hospitals judge reports, applies one kind to all groups of that container.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    Comprehensive3DSR,
    ContainerContentItem,
    ContentSequence,
    CoordinatesForMeasurement3D,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    GraphicTypeValues3D,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceSeriesForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from eenet_runtime.dicom.writing.findings import CATEGORY, FINDINGS, SITE, WHOLE_TUMOUR
from eenet_runtime.dicom.writing.general import ResultSeries, finish, general_arguments
from eenet_runtime.dicom.writing.identifiers import ResultIdentifiers, Tracking, device_uid, tracking
from eenet_runtime.dicom.writing.model_identity import MANUFACTURER, NOTICE, ModelIdentity
from eenet_runtime.dicom.writing.seg import segment_numbers
from eenet_runtime.dicom.writing.source_images import SourceImages
from eenet_runtime.printable import printable
from eenet_runtime.volumes.labels import Label, Region
from eenet_runtime.volumes.measurements import Lesion, Measurements, Point

SCHEME: Final = "99EENET"
"""Of codes that no public scheme has; the report itself says whose it is (Coding Scheme Identification Sequence)."""
NO_TUMOUR: Final = "No tumour found by the algorithm"
_DIGITS: Final = 3
"""Behind the point, as in the JSON report: a voxel of 1 mm is 0.001 ml."""
_LONGEST_TEXT: Final = 1024

TUMOUR_CORE: Final = Code("TC", SCHEME, "Tumour core (NCR/NET and ET)")
SUM_OF_CORE: Final = Code("SUM_TC", SCHEME, "Sum of the segments NCR/NET and ET")
SUM_OF_ALL: Final = Code("SUM_WT", SCHEME, "Sum of the segments NCR/NET, ED and ET")
PRODUCT: Final = Code("PPD", SCHEME, "Product of perpendicular diameters")
SUM_OF_PRODUCTS: Final = Code("SPD", SCHEME, "Sum of products of perpendicular diameters")
MEASURABLE: Final = Code("MEASURABLE", SCHEME, "Measurable lesion (RANO)")
QUALITY_FIGURE: Final = Code("QUALITY", SCHEME, "Quality figure of the preparation")
WARNING: Final = Code("WARNING", SCHEME, "Warning")
WITHOUT_SEGMENT: Final = Code("NO_SEGMENT", SCHEME, "Measurements that no single segment shows")
_QUALITATIVE: Final = Code("C0034375", "UMLS", "Qualitative Evaluations")
_SUMMARY: Final = Code("111017", "DCM", "CAD Processing and Findings Summary")
_MILLILITRE: Final = Code("ml", "UCUM", "milliliter")
_SQUARE_MILLIMETRE: Final = codes.UCUM.SquareMillimeter
_TO_LPS: Final = np.array([-1.0, -1.0, 1.0])

_METHODS: Final = (
    "Volumes count voxels. TC (NCR/NET and ET) and WT (NCR/NET, ED and ET) are sums that overlap the segments, so no "
    "segments of their own.",
    "Diameters: in the slice of the series' own voxels, nearest to axial, in which it is longest, the longest straight "
    "line between two points of the enhancing outline that stays in the lesion, and the longest at right angles that "
    "crosses it. What the rim encloses counts, necrosis and cavities alike. A lesion is a connected piece of TC with "
    "ET in it; it is measurable with both diameters of at least 10 mm, enhancing in two slices or more, and, where "
    "voxels are longer than 5 mm, both twice as long (after Wen et al., J Clin Oncol 2010; 28:1963).",
)


def report_object(
    measurements: Measurements,
    source: SourceImages,
    seg: Dataset | None,
    model: ModelIdentity,
    ids: ResultIdentifiers,
    quality: Mapping[str, float | str],
    warnings: Sequence[str] = (),
) -> Dataset:
    """The report of a result.

    Args:
        measurements: of the mask.
        source: the series that the mask lies on.
        seg: the Segmentation of this result, with the same `ids`; None where the mask is empty: then no group refers to
            a segment, volumes are 0, and the report says that the algorithm found no tumour.
        model: what made the mask.
        ids: of the result; the object has the role `report`.
        quality: figures by which the preparation of the images is judged, by name.
        warnings: of the case, plain sentences.

    Returns:
        A Comprehensive 3D SR, complete, unverified and preliminary: nobody has looked at it.
    """
    with_segment, without = _class_groups(measurements, source, seg, model, ids)
    without += [*_sum_groups(measurements, model, ids), *_lesion_groups(measurements, source, model, ids)]
    if not with_segment:
        with_segment, without = without, []
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_device(model)),
        procedure_reported=codes.LN.MRIUnspecifiedBodyRegion,
        imaging_measurements=with_segment,
    )
    if without:
        report[0].ContentSequence.append(_container(WITHOUT_SEGMENT, [item for group in without for item in group]))
    report[0].ContentSequence.append(_container(_QUALITATIVE, _evaluations(measurements, quality, warnings)))
    dataset: Dataset = Comprehensive3DSR(
        evidence=[*source.datasets, *([] if seg is None else [seg])],
        content=report[0],
        is_complete=True,
        coding_schemes=[CodingSchemeIdentificationItem(SCHEME, name="Codes of the EENet toolkit")],
        **general_arguments(source, ids, "report", ResultSeries.REPORT, "measurements"),
    )
    finish(dataset, source, model)
    return dataset


def _device(model: ModelIdentity) -> ObserverContext:
    return ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=device_uid(model.bundle_id),
            name=model.model_name,
            manufacturer_name=MANUFACTURER,
            model_name=model.model_name,
            serial_number=model.bundle_id,
        ),
    )


def _algorithm(model: ModelIdentity) -> AlgorithmIdentification:
    return AlgorithmIdentification(
        name=model.model_name,
        version=model.algorithm_version,
        parameters=[f"{name}={value}" for name, value in model.parameters.items()],
        family=codes.DCM.ArtificialIntelligence,
    )


def _class_groups(
    measurements: Measurements,
    source: SourceImages,
    seg: Dataset | None,
    model: ModelIdentity,
    ids: ResultIdentifiers,
) -> tuple[list[Any], list[Any]]:
    """A group for each class: those with a segment, and those without, whose volume is 0."""
    numbers = {} if seg is None else segment_numbers(seg, ids)
    with_segment, without = [], []
    for label, finding in FINDINGS.items():
        measured = [_volume(measurements.volumes_ml[label.name], codes.DCM.SumOfSegmentedVoxelMethodForVolume)]
        if label is Label.ET:
            measured += _of_all_lesions(measurements)
        common = _common(tracking(ids, label), finding.code, model, measured)
        if seg is None or label not in numbers:
            without.append(MeasurementsAndQualitativeEvaluations(**common))
            continue
        segment = ReferencedSegment(
            sop_class_uid=seg.SOPClassUID,
            sop_instance_uid=seg.SOPInstanceUID,
            segment_number=numbers[label],
            source_series=SourceSeriesForSegmentation(source.series.uid),
        )
        group = VolumetricROIMeasurementsAndQualitativeEvaluations(**common, referenced_segment=segment)
        with_segment.append(group)
    return with_segment, without


def _sum_groups(measurements: Measurements, model: ModelIdentity, ids: ResultIdentifiers) -> Iterator[Any]:
    sums = {Region.TC: (TUMOUR_CORE, SUM_OF_CORE), Region.WT: (WHOLE_TUMOUR, SUM_OF_ALL)}
    for region, (finding, method) in sums.items():
        volume = _volume(measurements.volumes_ml[region.value], method)
        yield MeasurementsAndQualitativeEvaluations(**_common(tracking(ids, region), finding, model, [volume]))


def _of_all_lesions(measurements: Measurements) -> list[Measurement]:
    """What is said of enhancing tumour as a whole: the diameters of the largest lesion, and the sum of products."""
    largest = measurements.largest
    diameters = [] if largest is None else _diameters(largest, None)
    return [*diameters, _number(SUM_OF_PRODUCTS, measurements.sum_of_products_mm2, _SQUARE_MILLIMETRE)]


def _lesion_groups(
    measurements: Measurements, source: SourceImages, model: ModelIdentity, ids: ResultIdentifiers
) -> Iterator[Any]:
    """A group for each lesion that was measured, the largest first, with the lines where they lie in the patient."""
    frame = str(source.datasets[0].FrameOfReferenceUID)
    for number, lesion in enumerate(measurements.lesions, 1):
        name = Tracking(f"EENet ET lesion {number}", ids.uid(f"tracking-ET-lesion-{number}"))
        product = _number(PRODUCT, lesion.product_mm2, _SQUARE_MILLIMETRE)
        answer = codes.SCT.Yes if lesion.measurable else codes.SCT.No
        yield MeasurementsAndQualitativeEvaluations(
            **_common(name, FINDINGS[Label.ET].code, model, [*_diameters(lesion, frame), product]),
            qualitative_evaluations=[QualitativeEvaluation(MEASURABLE, answer)],
        )


def _common(name: Tracking, finding: Code, model: ModelIdentity, measured: Sequence[Measurement]) -> dict[str, Any]:
    return {
        "tracking_identifier": TrackingIdentifier(uid=name.uid, identifier=name.identifier),
        "finding_category": CATEGORY,
        "finding_type": finding,
        "finding_sites": [FindingSite(SITE)],
        "algorithm_id": _algorithm(model),
        "measurements": measured,
    }


def _volume(volume_ml: float, method: Code) -> Measurement:
    return Measurement(codes.SCT.Volume, round(volume_ml, _DIGITS), _MILLILITRE, method=method)


def _diameters(lesion: Lesion, frame_of_reference: str | None) -> list[Measurement]:
    """The two lengths, and the lines in a frame of reference if one is given."""
    lines = {
        codes.SCT.LongAxis: (lesion.longest_mm, lesion.longest),
        codes.SCT.ShortAxis: (lesion.perpendicular_mm, lesion.perpendicular),
    }
    return [
        Measurement(
            name,
            round(length, _DIGITS),
            codes.UCUM.Millimeter,
            method=codes.NCIt.RANO,
            referenced_coordinates=None if frame_of_reference is None else _line(ends, frame_of_reference),
        )
        for name, (length, ends) in lines.items()
    ]


def _number(name: Code, value: float, unit: Code) -> Measurement:
    return Measurement(name, round(value, _DIGITS), unit, method=codes.NCIt.RANO)


def _line(ends: tuple[Point, Point], frame_of_reference: str) -> list[CoordinatesForMeasurement3D]:
    points = np.round(np.array(ends) * _TO_LPS, _DIGITS)
    return [CoordinatesForMeasurement3D(GraphicTypeValues3D.POLYLINE, points, frame_of_reference)]


def _container(name: Code, items: Sequence[Dataset]) -> ContainerContentItem:
    container = ContainerContentItem(name=name, relationship_type=RelationshipTypeValues.CONTAINS)
    container.ContentSequence = ContentSequence(items)
    return container


def _evaluations(measurements: Measurements, quality: Mapping[str, float | str], warnings: Sequence[str]) -> list[Any]:
    """What is no number: whether anything was found, what the result is for, quality, warnings, methods."""
    found = codes.DCM.AllAlgorithmsSucceededWithFindings
    if measurements.empty:
        found = codes.DCM.AllAlgorithmsSucceededWithoutFindings
    texts = [_text(codes.DCM.Comment, NOTICE)]
    if measurements.empty:
        texts.append(_text(codes.DCM.Finding, NO_TUMOUR))
    texts += [_text(WARNING, warning) for warning in warnings if warning.strip()]
    texts += [_text(QUALITY_FIGURE, f"{name} = {_shown(value)}") for name, value in quality.items()]
    texts += [_text(codes.DCM.Comment, method) for method in _METHODS]
    tilt = f"The plane of the diameters is tilted against the axial plane by {measurements.tilt_degrees:.1f} degrees."
    if measurements.lesions:
        texts.append(_text(codes.DCM.Comment, tilt))
    return [CodeContentItem(_SUMMARY, found, RelationshipTypeValues.CONTAINS), *texts]


def _text(name: Code, text: str) -> TextContentItem:
    """A text in ASCII, so that it is the same in whatever character set the patient's name needs."""
    plain = printable(text).encode("ascii", "replace").decode()
    return TextContentItem(name, plain[:_LONGEST_TEXT], RelationshipTypeValues.CONTAINS)


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.5g}"
