"""The studies of one tree, one after the other: each its own result, and one that is refused stops no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from eenet_runtime.dicom.studies import FoundStudies, Study
from eenet_runtime.dicom.study_files import StudyOutputs, clear, segment_study_to_files
from eenet_runtime.errors import CaseError, DatasetError
from eenet_runtime.results.report import CaseReport
from eenet_runtime.segmenter.segmenter import Segmenter
from eenet_runtime.volumes.labels import Modality


@dataclass(frozen=True)
class StudyOutcome:
    """What became of one study: a report, or the reason why it was refused."""

    study: Study
    folder: Path
    report: CaseReport | None = None
    reason: str = ""


def settled_studies(found: FoundStudies, choices: Mapping[Modality, str]) -> FoundStudies:
    """The studies with series that somebody chose by hand; a choice is for the study that has the series.

    Raises:
        DatasetError: no study has it, or several have one of this number.
    """
    studies = {study.number: study for study in found.studies}
    for modality, wanted in choices.items():
        holders = [
            study
            for study in studies.values()
            if any(wanted in (one.series.uid, one.series.label) for one in study.decisions)
        ]
        if len(holders) > 1:
            numbers = ", ".join(str(study.number) for study in holders)
            raise DatasetError(
                f"studies {numbers} all have a series of the number given for {modality}, expected its UID"
            )
        # Where none has it the study's own message says so.
        holder = holders[0] if holders else found.studies[0]
        studies[holder.number] = studies[holder.number].settled({modality: wanted})
    return replace(found, studies=tuple(studies.values()))


def folders_of(found: FoundStudies, output: Path) -> dict[int, Path]:
    """Where the results of each study go, by its number: one study's into the folder itself."""
    if len(found.studies) == 1:
        return {found.studies[0].number: output}
    return {study.number: output / study.case_id for study in found.studies}


def segment_studies(
    load: Callable[[], Segmenter],
    found: FoundStudies,
    output: Path,
    outputs: StudyOutputs,
    allow_missing: frozenset[Modality] = frozenset(),
) -> Iterator[StudyOutcome]:
    """Segment studies.

    Args:
        load: gives the model; asked only when a study is there that can be segmented.
        found: the studies, settled.
        output: where results go, see `folders_of`.
        outputs: what to write.
        allow_missing: contrasts that a study may lack.

    Yields:
        What became of each, in order.

    Raises:
        BackendError, BundleError: no study can be done.
        OutputError: the same; or, as ResultPathError, files of a study lie where results would go.
    """
    folders = folders_of(found, output)
    # An earlier run may have found other studies here: none of its results shall look like one of this run's.
    for folder in {output, *output.glob("study-*"), *folders.values()}:
        clear(found.studies, folder)
    segmenter: Segmenter | None = None
    try:
        for study in found.studies:
            folder = folders[study.number]
            try:
                study.chosen(allow_missing)  # before the model is loaded: a refused study costs nothing
                segmenter = segmenter or load()
                yield StudyOutcome(study, folder, segment_study_to_files(segmenter, study, folder, outputs))
            except CaseError as error:
                yield StudyOutcome(study, folder, reason=str(error))
    finally:
        if segmenter is not None:
            segmenter.close()
