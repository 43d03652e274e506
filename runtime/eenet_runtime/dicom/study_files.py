"""Writing the results of a study: DICOM objects, mask, picture and report, all of them or none."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from eenet_runtime.dicom.instance import FileSource
from eenet_runtime.dicom.result import DicomOutputs, StudySegmentation, segment_study
from eenet_runtime.dicom.studies import Study
from eenet_runtime.errors import OutputError, ResultPathError
from eenet_runtime.files.atomic import make_output_folder, remove_leftovers, sha256_of_file, write_atomically
from eenet_runtime.files.nifti import labels_to_bytes
from eenet_runtime.results.report import CaseReport, WrittenFile, make_report
from eenet_runtime.results.report_entries import SeriesEntry
from eenet_runtime.results.result_files import written
from eenet_runtime.segmenter.probability_maps import probability_maps_to_bytes
from eenet_runtime.segmenter.segmentation import Stopwatch
from eenet_runtime.segmenter.segmenter import Segmenter
from eenet_runtime.volumes.labels import LabelScheme, Modality

MASK: Final = "mask.nii.gz"
PREVIEW: Final = "preview.png"
PROBABILITIES: Final = "probabilities.nii.gz"
REPORT: Final = "report.json"
_OURS: Final = re.compile(
    r"mask\.nii\.gz|preview\.png|probabilities\.nii\.gz|report\.json|(seg|probabilities|report|preview|overlay_\d+)\.dcm"
)
"""Every name that a result may have."""


@dataclass(frozen=True)
class StudyOutputs:
    """What to write for a study besides its report.

    Attributes:
        dicom: which objects.
        scheme: label values of the NIfTI mask; by default those of BraTS 2023.
        preview: whether to draw the PNG.
    """

    dicom: DicomOutputs = field(default_factory=DicomOutputs)
    scheme: LabelScheme | None = None
    preview: bool = True


def is_result(name: str) -> bool:
    """Whether a file of this name in a folder of results is one."""
    return _OURS.fullmatch(name) is not None


def segment_study_to_files(
    segmenter: Segmenter, study: Study, folder: Path, outputs: StudyOutputs = StudyOutputs()
) -> CaseReport:
    """Segment one study and write its results into a folder of its own.

    The report, `report.json`, is written last: where it is, the others are whole. Results of an earlier run are removed
    first, so that a refused study never leaves an old mask that looks like its own.

    Args:
        segmenter: the loaded model.
        study: what to segment, settled.
        folder: made if it is not there.
        outputs: what to write.

    Raises:
        CaseError, BackendError: the study is refused; no result is left in the folder.
        ResultPathError: the folder is the study's own.
        OutputError: something could not be written; no result is left in the folder.
    """
    clear([study], folder)
    make_output_folder(folder)
    try:
        result = segment_study(segmenter, study, keep_probabilities=outputs.dicom.probabilities)
        return write_study(segmenter, result, folder, outputs)
    except BaseException:
        _remove(folder)
        raise


def clear(studies: Iterable[Study], folder: Path) -> None:
    """Remove from a folder what an earlier run left in it; nothing where there is no such folder.

    Raises:
        ResultPathError: a file of a study lies in it, which a result might replace.
        OutputError: an earlier result cannot be removed.
    """
    place = folder.resolve()
    if any(path.resolve().parent == place for study in studies for path in _files_of(study)):
        raise ResultPathError(f"{folder}: files of a study lie here, expected another folder for results")
    if not folder.is_dir():
        return
    remove_leftovers(folder, is_result)
    if left := _remove(folder):
        raise OutputError(left[0])


def write_study(
    segmenter: Segmenter, result: StudySegmentation, folder: Path, outputs: StudyOutputs = StudyOutputs()
) -> CaseReport:
    """Write what was asked for, then the report; see `segment_study_to_files`."""
    segmentation = result.segmentation
    scheme = outputs.scheme or segmentation.scheme
    watch = Stopwatch()
    results: dict[str, WrittenFile] = {}
    with watch.stage("write"):
        content = labels_to_bytes(scheme.to_file(segmentation.labels), segmentation.reference)
        results["mask"] = written(folder / MASK, content)
    if outputs.preview:
        with watch.stage("preview"):
            results["preview"] = written(folder / PREVIEW, result.preview)
    if outputs.dicom.probabilities and segmentation.probabilities is not None:
        with watch.stage("probabilities"):
            maps = probability_maps_to_bytes(segmentation.probabilities, segmentation.reference)
            results["probabilities"] = written(folder / PROBABILITIES, maps)
    with watch.stage("dicom"):
        for name, path in result.save_dicom(folder, outputs.dicom).items():
            results[f"{name}.dcm"] = WrittenFile(path, sha256_of_file(path))
    segmentation.seconds.update(watch.seconds)
    report = make_report(
        segmentation,
        _inputs(result),
        segmenter.bundle,
        result.settings,
        scheme=scheme,
        written=results,
        dicom={"measurements": result.measurements.as_json(), "seg": outputs.dicom.seg.value},
    )
    write_atomically(folder / REPORT, report.to_json().encode())
    return report


def _inputs(result: StudySegmentation) -> dict[str, dict[str, Any]]:
    """The series that were used and why; by number, for their names and identifiers are the patient's."""
    volumes = result.segmentation.images.volumes
    return {
        modality.value: asdict(
            SeriesEntry(
                series=decision.series.label,
                slices=len(decision.series.slices),
                confidence=str(decision.confidence),
                reasons=tuple(str(reason) for reason in decision.reasons),
                chosen=_why(result, modality),
                sha256=volumes[modality].sha256,
            )
        )
        for modality, decision in sorted(result.chosen.items())
    }


def _why(result: StudySegmentation, modality: Modality) -> str:
    return next(answer.why for answer in result.study.answers if answer.role is modality)


def _files_of(study: Study) -> set[Path]:
    sources = {piece.instance.source for one in study.decisions for piece in one.series.slices}
    return {source.path for source in sources if isinstance(source, FileSource)}


def _remove(folder: Path) -> list[str]:
    """Take every result away; one line for each that the system does not let go."""
    left = []
    for path in folder.iterdir() if folder.is_dir() else ():
        if is_result(path.name):
            try:
                path.unlink()
            except OSError as error:
                left.append(f"{path}: of an earlier run, cannot be removed ({error.strerror or error})")
    return left
