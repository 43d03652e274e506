"""What judges and reads reports: other people's programs, and what IHE's AI Results profile asks of one, as a table."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset

from tests.debian_parts import require

_JAVA_LIMITS: Final = " ".join(
    # The templates' rules are larger than what newer Javas let through by default; and one file needs no optimiser.
    ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
    + [f"-Djdk.xml.{name}=0" for name in ("xpathExprGrpLimit", "xpathExprOpLimit", "xpathTotalOpLimit")]
)


def template_errors(path: Path) -> list[str]:
    """Errors that PixelMed's validator of templates finds in a report."""
    command = [require("DicomSRValidator", "pixelmed-apps"), str(path)]
    environment = {**os.environ, "JAVA_TOOL_OPTIONS": _JAVA_LIMITS}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=environment)
    lines = (done.stdout + done.stderr).splitlines()
    assert "Found Root Template TID_1500 (MeasurementReport)" in lines, "the validator did not find its template"
    assert "IOD validation complete" in lines, "the validator did not come to its end"
    return [line for line in lines if "Error" in line]


def dumped(path: Path, *, to_utf8: bool = False) -> str:
    """A report as dcmtk's dsrdump reads it, codes and whole texts shown; of Japanese sets it converts none."""
    command = [require("dsrdump", "dcmtk"), "+Pc", "+Pl", *(["+U8"] if to_utf8 else []), str(path)]
    done = subprocess.run(command, capture_output=True, check=True)
    complaints = done.stderr.decode("ascii", "replace").splitlines()
    # dsrdump says so of every set but Latin 1, and reads the report all the same.
    assert [line for line in complaints if "SpecificCharacterSet" not in line.replace(" ", "")] == []
    return done.stdout.decode("utf-8", "replace")


def below(item: Dataset) -> Iterator[Dataset]:
    """All content items below one, the nearest first on each way."""
    for child in item.get("ContentSequence", []):
        yield child
        yield from below(child)


def code_of(item: Dataset) -> str:
    """The concept that a content item is about."""
    return str(item.ConceptNameCodeSequence[0].CodeValue)


def named(item: Dataset, code: str) -> list[Dataset]:
    """The children of an item that are about a concept."""
    return [child for child in item.get("ContentSequence", []) if code_of(child) == code]


def segment_groups(report: Dataset) -> list[Dataset]:
    """The groups that refer to a segment."""
    containers = named(report, "126010")
    return [group for one in containers for group in named(one, "125007") if named(group, "121191")]


def without_segment(report: Dataset) -> list[Dataset]:
    """The groups that refer to none, wherever they stand."""
    return [item for item in below(report) if code_of(item) == "125007" and not named(item, "121191")]


def own_equipment(dataset: Dataset) -> Dataset | None:
    """The item of the processing algorithm in Contributing Equipment Sequence."""
    items: list[Dataset] = list(dataset.get("ContributingEquipmentSequence", []))
    for item in items:
        purpose = item.get("PurposeOfReferenceCodeSequence", [Dataset()])[0]
        if purpose.get("CodeValue") == "109102":
            return item
    return None


def _everywhere(code: str) -> Callable[[Dataset, Dataset], bool]:
    def holds(report: Dataset, seg: Dataset) -> bool:
        groups = segment_groups(report)
        return bool(groups) and all(named(group, code) for group in groups)

    return holds


def _at_root(code: str) -> Callable[[Dataset, Dataset], bool]:
    return lambda report, seg: len(named(report, code)) == 1


def _equipment(keyword: str) -> Callable[[Dataset, Dataset], bool]:
    def holds(report: Dataset, seg: Dataset) -> bool:
        mine, other = own_equipment(report), own_equipment(seg)
        return mine is not None and other is not None and bool(mine.get(keyword)) and mine[keyword] == other[keyword]

    return holds


def _same_tracking(report: Dataset, seg: Dataset) -> bool:
    segments = {segment.SegmentNumber: (segment.TrackingID, segment.TrackingUID) for segment in seg.SegmentSequence}
    for group in segment_groups(report):
        (reference,), (name,), (uid,) = named(group, "121191"), named(group, "112039"), named(group, "112040")
        number = reference.ReferencedSOPSequence[0].ReferencedSegmentNumber
        if segments.pop(number, None) != (name.TextValue, uid.UID):
            return False
    return not segments


def _volumes_in_millilitres(report: Dataset, seg: Dataset) -> bool:
    units = [
        number.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0]
        for group in segment_groups(report)
        for number in named(group, "118565006")
    ]
    return bool(units) and all((unit.CodeValue, unit.CodingSchemeDesignator) == ("ml", "UCUM") for unit in units)


def _evidence(report: Dataset, seg: Dataset) -> bool:
    listed = {
        str(one.ReferencedSOPInstanceUID)
        for study in report.get("CurrentRequestedProcedureEvidenceSequence", [])
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }
    images = {str(one.ReferencedSOPInstanceUID) for one in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    return listed == images | {str(seg.SOPInstanceUID)}


AIR_FIELDS: Final[dict[str, Callable[[Dataset, Dataset], bool]]] = {
    "Comprehensive 3D SR": lambda report, seg: report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34",
    "root template 1500": lambda report, seg: report.ContentTemplateSequence[0].TemplateIdentifier == "1500",
    "template 1411 for a segment's group": lambda report, seg: all(
        group.ContentTemplateSequence[0].TemplateIdentifier == "1411" for group in segment_groups(report)
    ),
    "language": _at_root("121049"),
    "observer type": _at_root("121005"),
    "device observer UID": _at_root("121012"),
    "device observer name": _at_root("121013"),
    "device observer manufacturer": _at_root("121014"),
    "device observer model": _at_root("121015"),
    "device observer serial number": _at_root("121016"),
    "procedure reported": _at_root("121058"),
    "tracking identifier": _everywhere("112039"),
    "tracking UID": _everywhere("112040"),
    "the same tracking as the segments'": _same_tracking,
    "finding": _everywhere("121071"),
    "finding site": _everywhere("363698007"),
    "referenced segment": lambda report, seg: len(segment_groups(report)) == len(seg.SegmentSequence),
    "source series": _everywhere("121232"),
    "volume": _everywhere("118565006"),
    "volumes in millilitres": _volumes_in_millilitres,
    "algorithm name": _everywhere("111001"),
    "algorithm version": _everywhere("111003"),
    "algorithm parameters": _everywhere("111002"),
    "algorithm family": _everywhere("111000"),
    "contributing equipment": lambda report, seg: own_equipment(report) is not None,
    "equipment's manufacturer": _equipment("Manufacturer"),
    "equipment's model": _equipment("ManufacturerModelName"),
    "equipment's software versions": _equipment("SoftwareVersions"),
    "equipment's device UID": _equipment("DeviceUID"),
    "evidence": _evidence,
}
"""What the profile (Rev. 1.1, sections on the SR and on equipment, as its implementers quote it) asks of a report: for
each field whether a report, with the Segmentation that it is about, has it."""


def air_problems(report: Dataset, seg: Dataset) -> list[str]:
    """The fields of the profile that a report lacks."""
    lacking = []
    for name, holds in AIR_FIELDS.items():
        try:
            fine = holds(report, seg)
        except (AttributeError, KeyError, IndexError, ValueError):
            fine = False
        if not fine:
            lacking.append(name)
    return lacking
