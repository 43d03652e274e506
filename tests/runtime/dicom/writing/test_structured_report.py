"""The report holds the measurements, ties them to the segments, and says who measured and what it is not for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from eenet_runtime.dicom.writing.identifiers import device_uid, tracking
from eenet_runtime.dicom.writing.model_identity import ModelIdentity
from eenet_runtime.dicom.writing.saving import dataset_bytes, save_dataset
from eenet_runtime.dicom.writing.seg import segmentation_object
from eenet_runtime.dicom.writing.structured_report import NO_TUMOUR, report_object
from eenet_runtime.volumes.labels import Label, Region
from eenet_runtime.volumes.measurements import Measurements, measure
from tests.dicom_oracles import errors_of
from tests.dicom_results import MODEL, ResultInputs, identifiers, result_inputs
from tests.dicom_studies import CORONAL, SAGITTAL, FakeSeries, oblique
from tests.dicom_study import tumour_on
from tests.report_oracles import (
    AIR_FIELDS,
    air_problems,
    below,
    code_of,
    dumped,
    named,
    own_equipment,
    segment_groups,
    template_errors,
    without_segment,
)

QUALITY: Final[dict[str, float | str]] = {
    "peak of registration t1": 0.0531234,
    "strip": "strip-deepbet 0011223344556677",
}
WARNINGS: Final = ("thick slices: 5.5 mm", "the FLAIR may be turned")


def with_classes(inputs: ResultInputs, *classes: int) -> ResultInputs:
    return replace(inputs, labels=tumour_on(inputs.source.grid.shape, classes))


def made(inputs: ResultInputs, model: ModelIdentity = MODEL) -> tuple[Dataset, Dataset | None, Measurements]:
    """The report, the Segmentation that it refers to, and what was measured."""
    measured = measure(inputs.labels, inputs.source.grid)
    seg = segmentation_object(inputs.labels, inputs.source, model, inputs.ids)
    return report_object(measured, inputs.source, seg, model, inputs.ids, QUALITY, WARNINGS), seg, measured


def report_and_seg(inputs: ResultInputs) -> tuple[Dataset, Dataset]:
    report, seg, _ = made(inputs)
    assert seg is not None
    return report, seg


def value_of(group: Dataset, code: str) -> float:
    """A number of a group, whose decimal text and float are the same."""
    (item,) = named(group, code)
    measured = item.MeasuredValueSequence[0]
    assert float(measured.NumericValue) == measured.FloatingPointValue
    return float(measured.NumericValue)


def group_called(report: Dataset, name: str) -> Dataset:
    (found,) = (
        item for item in below(report) if code_of(item) == "125007" and named(item, "112039")[0].TextValue == name
    )
    return found


def texts(report: Dataset) -> list[str]:
    return [str(item.TextValue) for item in below(report) if item.ValueType == "TEXT"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> ResultInputs:
    """A tumour of three classes on an axial series."""
    return result_inputs(tmp_path_factory.mktemp("inputs") / "in")


@pytest.fixture(scope="module")
def usual(inputs: ResultInputs) -> tuple[Dataset, Dataset, Measurements]:
    """Its report, the Segmentation and what was measured; tests that change one read it from `written`."""
    report, seg, measured = made(inputs)
    assert seg is not None
    return report, seg, measured


@pytest.mark.parametrize(
    "series",
    [
        FakeSeries(),
        FakeSeries(orientation=SAGITTAL),
        FakeSeries(orientation=CORONAL),
        FakeSeries(orientation=oblique(-0.4, 0.6), spacing=(6.6, 0.9, 1.1), shape=(16, 63, 61)),
    ],
    ids=["axial", "sagittal", "coronal", "oblique"],
)
def test_highdicom_reads_the_numbers_that_were_measured(series: FakeSeries, tmp_path: Path) -> None:
    inputs = result_inputs(tmp_path / "in", series)
    report, _, measured = made(inputs)
    save_dataset(report, tmp_path / "report.dcm")
    content = hd.sr.srread(tmp_path / "report.dcm").content
    assert len(content.get_volumetric_roi_measurement_groups()) == 3
    expected = measured.as_json()
    for label in (Label.NCR, Label.ED, Label.ET):
        name = tracking(inputs.ids, label)
        (group,) = content.get_volumetric_roi_measurement_groups(tracking_uid=name.uid)
        (volume,) = group.get_measurements(name=codes.SCT.Volume)
        assert (volume.value, volume.unit.value) == (expected["volumes_ml"][label.name], "ml")
        assert group.tracking_identifier == name.identifier
    (largest,) = content.get_volumetric_roi_measurement_groups(tracking_uid=tracking(inputs.ids, Label.ET).uid)
    lesion = expected["lesions"][0]
    for axis, length in ((codes.SCT.LongAxis, "longest_mm"), (codes.SCT.ShortAxis, "perpendicular_mm")):
        (found,) = largest.get_measurements(name=axis)
        assert (found.value, found.unit.value, found.method) == (lesion[length], "mm", codes.NCIt.RANO)


def test_sums_are_measurements_without_a_segment_that_say_how_they_were_made(
    usual: tuple[Dataset, Dataset, Measurements],
) -> None:
    report, _, measured = usual
    for region, method in ((Region.TC, "NCR/NET and ET"), (Region.WT, "NCR/NET, ED and ET")):
        group = group_called(report, f"EENet {region}")
        assert not named(group, "121191")
        assert value_of(group, "118565006") == round(measured.volumes_ml[region.value], 3)
        (how,) = named(named(group, "118565006")[0], "370129005")
        assert how.ConceptCodeSequence[0].CodeMeaning == f"Sum of the segments {method}"
    assert any("sums that overlap the segments, so no segments of their own" in text for text in texts(report))


def test_each_lesion_has_its_lines_where_they_lie_in_the_patient(tmp_path: Path) -> None:
    series = FakeSeries(shape=(6, 40, 60), spacing=(4.0, 2.0, 2.0), orientation=oblique())
    inputs = result_inputs(tmp_path / "in", series)
    labels = np.zeros_like(inputs.labels)
    labels[5:25, 10:22, 1:4] = labels[40:50, 20:28, 2:5] = Label.ET
    report, _, measured = made(replace(inputs, labels=labels))
    assert len(measured.lesions) == 2
    for number, lesion in enumerate(measured.lesions, 1):
        group = group_called(report, f"EENet ET lesion {number}")
        for code, length, ends in (
            ("103339001", lesion.longest_mm, lesion.longest),
            ("103340004", lesion.perpendicular_mm, lesion.perpendicular),
        ):
            assert value_of(group, code) == round(length, 3)
            (line,) = (item for item in named(group, code)[0].ContentSequence if item.ValueType == "SCOORD3D")
            assert line.ReferencedFrameOfReferenceUID == inputs.source.datasets[0].FrameOfReferenceUID
            points = np.array(line.GraphicData).reshape(2, 3) * [-1, -1, 1]
            np.testing.assert_allclose(points, ends, atol=1e-3)
        assert value_of(group, "PPD") == round(lesion.product_mm2, 3)
        (answer,) = named(group, "MEASURABLE")
        assert answer.ConceptCodeSequence[0].CodeMeaning == "Yes"
    assert value_of(group_called(report, "EENet ET"), "SPD") == round(measured.sum_of_products_mm2, 3)


def test_a_lesion_that_is_too_small_to_follow_is_said_to_be(tmp_path: Path) -> None:
    inputs = result_inputs(tmp_path / "in", FakeSeries(spacing=(1.0, 1.0, 1.0)))
    report, _, measured = made(inputs)
    assert measured.measurable == ()
    (answer,) = named(group_called(report, "EENet ET lesion 1"), "MEASURABLE")
    assert answer.ConceptCodeSequence[0].CodeMeaning == "No"
    assert value_of(group_called(report, "EENet ET"), "SPD") == 0


def test_a_class_without_a_voxel_has_a_volume_of_0_and_no_segment(inputs: ResultInputs) -> None:
    report, seg = report_and_seg(with_classes(inputs, 2, 3))
    assert len(seg.SegmentSequence) == len(segment_groups(report)) == 2
    group = group_called(report, "EENet NCR")
    assert value_of(group, "118565006") == 0
    assert not named(group, "121191")
    assert air_problems(report, seg) == []


def test_an_empty_mask_is_reported_with_zeros_in_words_and_without_a_segment(
    inputs: ResultInputs, tmp_path: Path
) -> None:
    report, seg, _ = made(replace(inputs, labels=np.zeros_like(inputs.labels)))
    assert seg is None
    assert segment_groups(report) == []
    for name in ("NCR", "ED", "ET", "TC", "WT"):
        assert value_of(group_called(report, f"EENet {name}"), "118565006") == 0
    assert value_of(group_called(report, "EENet ET"), "SPD") == 0
    assert NO_TUMOUR in texts(report)
    (summary,) = (item for item in below(report) if code_of(item) == "111017")
    assert summary.ConceptCodeSequence[0].CodeMeaning == "All algorithms succeeded; without findings"
    save_dataset(report, tmp_path / "report.dcm")
    assert errors_of(tmp_path / "report.dcm") == []
    assert len(hd.sr.srread(tmp_path / "report.dcm").content.get_image_measurement_groups()) == len(
        without_segment(report)
    )


def test_a_report_with_a_tumour_does_not_say_that_there_is_none(usual: tuple[Dataset, Dataset, Measurements]) -> None:
    report, _, _ = usual
    assert NO_TUMOUR not in texts(report)
    (summary,) = (item for item in below(report) if code_of(item) == "111017")
    assert summary.ConceptCodeSequence[0].CodeMeaning == "All algorithms succeeded; with findings"


def test_it_says_what_it_is_not_for_how_good_the_images_were_and_what_to_look_into(
    usual: tuple[Dataset, Dataset, Measurements],
) -> None:
    said = texts(usual[0])
    assert "research use, not for diagnosis" in said
    assert "peak of registration t1 = 0.053123" in said
    assert "strip = strip-deepbet 0011223344556677" in said
    assert set(WARNINGS) <= set(said)


def test_it_names_the_model_its_hash_and_the_engine(usual: tuple[Dataset, Dataset, Measurements]) -> None:
    report, _, _ = usual
    said = texts(report)
    for text in ("EENet eenet-demo", "0123456789abcdef", "engine=openvino 2026.1", "precision=int8"):
        assert text in said
    assert "0123456789abcdef (eenet 0.1.0)" in said
    (uid,) = named(report, "121012")
    assert str(uid.UID) == device_uid(MODEL.bundle_id)
    assert report.ManufacturerModelName == "EENet eenet-demo"


def test_nobody_has_looked_at_it_and_it_says_so(usual: tuple[Dataset, Dataset, Measurements]) -> None:
    report, _, _ = usual
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    assert report.CompletionFlag == "COMPLETE"
    assert (report.SeriesNumber, report.Modality) == (901, "SR")
    assert report.SeriesDescription == "EENet measurements (research, not for diagnosis)"


def test_another_model_is_another_device_and_another_report(inputs: ResultInputs) -> None:
    other = replace(MODEL, bundle_id="fedcba9876543210")
    others = replace(inputs, ids=identifiers(inputs.source, other.bundle_id))
    first, second = made(inputs)[0], made(others, other)[0]
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert named(first, "121012")[0].UID != named(second, "121012")[0].UID
    devices = [own_equipment(one) for one in (first, second)]
    assert len({one.DeviceUID for one in devices if one is not None}) == 2


def test_the_same_input_gives_the_same_bytes_and_dates_are_the_images_own(
    usual: tuple[Dataset, Dataset, Measurements], tmp_path: Path
) -> None:
    first, again = usual[0], made(result_inputs(tmp_path / "again"))[0]
    assert dataset_bytes(first) == dataset_bytes(again)
    assert (str(first.ContentDate), str(first.ContentTime)) == ("20260102", "100000")
    assert "InstanceCreationDate" not in first


@pytest.mark.parametrize(
    ("character_set", "patient"),
    [
        ("ISO_IR 100", "Müller^Jürgen"),
        ("ISO_IR 192", "Łuczak^Zażółć=山田^太郎"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ],
    ids=["Latin", "UTF-8", "Japanese"],
)
def test_the_patients_name_survives_in_its_own_characters(character_set: Any, patient: str, tmp_path: Path) -> None:
    inputs = result_inputs(tmp_path / "in", FakeSeries(patient=patient, character_set=character_set))
    measured = measure(inputs.labels, inputs.source.grid)
    report = report_object(measured, inputs.source, None, MODEL, inputs.ids, {}, ("größer als 5 mm \\ schräg",))
    save_dataset(report, tmp_path / "report.dcm")
    found = dcmread(tmp_path / "report.dcm")
    assert str(found.PatientName) == patient
    assert "gr??er als 5 mm \\ schr?g" in texts(found)
    assert errors_of(tmp_path / "report.dcm") == []
    japanese = not isinstance(character_set, str)
    assert patient.split("=")[0] in dumped(tmp_path / "report.dcm", to_utf8=not japanese)


def test_on_enhanced_mr_the_evidence_is_the_one_file(tmp_path: Path) -> None:
    series = FakeSeries(tags={"ScanningSequence": "SE", "EchoTime": 12, "RepetitionTime": 500})
    inputs = result_inputs(tmp_path / "in", series, as_enhanced=True)
    report, seg = report_and_seg(inputs)
    assert air_problems(report, seg) == []
    save_dataset(report, tmp_path / "report.dcm")
    assert errors_of(tmp_path / "report.dcm") == []


def test_dciodvfy_and_dsrdump_find_nothing_wrong(tmp_path: Path) -> None:
    report, _, _ = made(result_inputs(tmp_path / "in", FakeSeries(orientation=oblique())))
    save_dataset(report, tmp_path / "report.dcm")
    assert errors_of(tmp_path / "report.dcm") == []
    text = dumped(tmp_path / "report.dcm")
    assert "Comprehensive 3D SR Document" in text
    assert '(118565006,SCT,"Volume")' in text
    assert "research use, not for diagnosis" in text


@pytest.mark.slow
@pytest.mark.parametrize("classes", [(2, 3), ()], ids=["without necrosis", "empty"])
def test_pixelmeds_validator_of_templates_finds_no_error(
    classes: tuple[int, ...], inputs: ResultInputs, tmp_path: Path
) -> None:
    report, _, _ = made(with_classes(inputs, *classes))
    save_dataset(report, tmp_path / "report.dcm")
    assert template_errors(tmp_path / "report.dcm") == []


def test_every_field_of_the_profile_is_there(usual: tuple[Dataset, Dataset, Measurements]) -> None:
    assert air_problems(*usual[:2]) == []


def without(code: str) -> Callable[[Dataset], None]:
    """Takes away, of the first item that has one, a child about a concept."""

    def change(report: Dataset) -> None:
        for item in (report, *below(report)):
            kept = [child for child in item.get("ContentSequence", []) if code_of(child) != code]
            if "ContentSequence" in item and len(kept) < len(item.ContentSequence):
                item.ContentSequence = kept
                return
        raise AssertionError(f"nothing about {code}")

    return change


def equipment_without(keyword: str) -> Callable[[Dataset], None]:
    def change(report: Dataset) -> None:
        item = own_equipment(report)
        assert item is not None
        delattr(item, keyword)

    return change


def another_class(report: Dataset) -> None:
    report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"


def another_template(report: Dataset) -> None:
    report.ContentTemplateSequence[0].TemplateIdentifier = "1501"


def another_group_template(report: Dataset) -> None:
    segment_groups(report)[1].ContentTemplateSequence[0].TemplateIdentifier = "1501"


def another_uid(report: Dataset) -> None:
    named(segment_groups(report)[0], "112040")[0].UID = "2.25.1"


def another_unit(report: Dataset) -> None:
    unit = named(segment_groups(report)[2], "118565006")[0].MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0]
    unit.CodeValue = "cm3"


def no_equipment(report: Dataset) -> None:
    report.ContributingEquipmentSequence = report.ContributingEquipmentSequence[:1]


def no_evidence(report: Dataset) -> None:
    del report.CurrentRequestedProcedureEvidenceSequence


MUTATIONS: Final[dict[str, Callable[[Dataset], None]]] = {
    "Comprehensive 3D SR": another_class,
    "root template 1500": another_template,
    "template 1411 for a segment's group": another_group_template,
    "language": without("121049"),
    "observer type": without("121005"),
    "device observer UID": without("121012"),
    "device observer name": without("121013"),
    "device observer manufacturer": without("121014"),
    "device observer model": without("121015"),
    "device observer serial number": without("121016"),
    "procedure reported": without("121058"),
    "tracking identifier": without("112039"),
    "tracking UID": without("112040"),
    "the same tracking as the segments'": another_uid,
    "finding": without("121071"),
    "finding site": without("363698007"),
    "referenced segment": without("121191"),
    "source series": without("121232"),
    "volume": without("118565006"),
    "volumes in millilitres": another_unit,
    "algorithm name": without("111001"),
    "algorithm version": without("111003"),
    "algorithm parameters": without("111002"),
    "algorithm family": without("111000"),
    "contributing equipment": no_equipment,
    "equipment's manufacturer": equipment_without("Manufacturer"),
    "equipment's model": equipment_without("ManufacturerModelName"),
    "equipment's software versions": equipment_without("SoftwareVersions"),
    "equipment's device UID": equipment_without("DeviceUID"),
    "evidence": no_evidence,
}
"""For each field of the profile a report that lacks it."""


def test_there_is_a_mutation_for_every_field() -> None:
    assert set(MUTATIONS) == set(AIR_FIELDS)


@pytest.fixture(scope="module")
def written(
    usual: tuple[Dataset, Dataset, Measurements], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """The report and the Segmentation as files, to be read and changed."""
    folder = tmp_path_factory.mktemp("air")
    paths = folder / "report.dcm", folder / "seg.dcm"
    for dataset, path in zip(usual, paths, strict=False):
        assert isinstance(dataset, Dataset)
        save_dataset(dataset, path)
    return paths


@pytest.mark.parametrize("field", MUTATIONS)
def test_the_checker_notices_a_report_that_lacks_a_field(field: str, written: tuple[Path, Path]) -> None:
    report, seg = map(dcmread, written)
    MUTATIONS[field](report)
    assert field in air_problems(report, seg)
