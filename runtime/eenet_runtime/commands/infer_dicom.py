"""`eenet-run infer dicom`: a study from the scanner in, a segmentation on the patient's own series out."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eenet_runtime.commands.option_groups import spread
from eenet_runtime.commands.options import EngineOptions, ModelOptions
from eenet_runtime.commands.raw_options import (
    StripBundleOption,
    StripCommandOption,
    StrippedOption,
    raw_settings_of,
)
from eenet_runtime.commands.support import ExitCode
from eenet_runtime.errors import CaseError, DatasetError
from eenet_runtime.printable import printable

if TYPE_CHECKING:
    from eenet_runtime.dicom.many_studies import StudyOutcome
    from eenet_runtime.dicom.platforms import PlatformCall
    from eenet_runtime.dicom.studies import FoundStudies
    from eenet_runtime.dicom.study_files import StudyOutputs
    from eenet_runtime.segmenter.raw_settings import RawSettings
    from eenet_runtime.volumes.labels import Modality


class SegChoice(StrEnum):
    """How a DICOM SEG stores its voxels."""

    BINARY = "binary"
    LABELMAP = "labelmap"


class Contract(StrEnum):
    """Whose environment names the folders."""

    MERCURE = "mercure"
    MAP = "map"


@dataclass(frozen=True)
class StudyOptions:
    """Which series are used."""

    series: Annotated[
        list[str] | None,
        typer.Option(
            metavar="<contrast>=<series>",
            help="Settle a contrast by hand: t1ce=<UID>, or the number that classify prints; may be given again.",
        ),
    ] = None
    rules: Annotated[
        Path | None, typer.Option(metavar="<file>", help="Rules of this site (TOML), before the toolkit's own.")
    ] = None

    def choices(self) -> dict[Modality, str]:
        """Series by contrast."""
        from eenet_runtime.cases.case_files import MODALITY_WORDS

        found: dict[Modality, str] = {}
        for text in self.series or ():
            word, is_pair, wanted = text.partition("=")
            modality = MODALITY_WORDS.get(word.strip().lower())
            if not is_pair or modality is None or not wanted.strip() or modality in found:
                raise typer.BadParameter(
                    f"{text!r}: expected a contrast, once, and a series, as in t1ce=5", param_hint="--series"
                )
            found[modality] = wanted.strip()
        return found


@dataclass(frozen=True)
class StudyOutputOptions:
    """What is written for a study."""

    seg: Annotated[SegChoice, typer.Option(help="How the segmentation object stores its voxels.")] = SegChoice.BINARY
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Write probability maps, too.")] = False
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Write preview and outlines as Secondary Capture.")
    ] = True
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False

    def outputs(self) -> StudyOutputs:
        """The same for the library."""
        from eenet_runtime.dicom.result import DicomOutputs
        from eenet_runtime.dicom.study_files import StudyOutputs
        from eenet_runtime.dicom.writing.seg import SegKind

        return StudyOutputs(DicomOutputs(SegKind(self.seg.value), self.pictures, self.probabilities))


@spread
def infer_dicom(
    model: ModelOptions,
    engine: EngineOptions,
    studies: StudyOptions,
    outputs: StudyOutputOptions,
    study: Annotated[
        Path | None, typer.Argument(help="A folder tree, a medium with a DICOMDIR, a ZIP of one, or a file.")
    ] = None,
    output: Annotated[
        Path | None, typer.Argument(help="Folder for the results; of several studies each gets study-<n> in it.")
    ] = None,
    from_env: Annotated[
        Contract | None,
        typer.Option("--from-env", help="Take STUDY and OUTPUT from the environment, as this platform sets it."),
    ] = None,
    strip_bundle: StripBundleOption = None,
    strip_command: StripCommandOption = None,
    stripped: StrippedOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be used and why; write nothing.")] = False,
) -> None:
    """Segment DICOM studies; the results refer to the T1ce's own images.

    Series are registered and stripped where they need it. A study in which a contrast is ambiguous or missing is
    refused (exit code 3), its candidates named; the others go on.
    """
    call = None
    if from_env is not None:
        call = _call_of(from_env, study, output)
        study, output = call.study, call.output
        model = replace(model, allow_missing=[*(model.allow_missing or ()), *call.allow_missing])
        outputs = outputs if call.seg is None else replace(outputs, seg=SegChoice(call.seg))
    if study is None or (output is None and not dry_run):
        raise typer.BadParameter("expected a study and an output folder, or --from-env", param_hint="STUDY OUTPUT")
    choices = {**(call.series if call is not None else {}), **studies.choices()}
    found = _found(study, studies, choices, engine.threads)
    if dry_run:
        _show(found, model.missing())
        return
    assert output is not None
    if call is not None and len(found.studies) != 1:
        raise DatasetError(f"{call.platform}: {len(found.studies)} studies found, expected one")
    outcomes = _run(found, output, model, engine, raw_settings_of(strip_bundle, strip_command, stripped), outputs)
    for outcome in outcomes:
        if call is not None and outcome.report is not None:
            call.write_result(outcome.report)
    if any(outcome.report is None for outcome in outcomes):
        raise typer.Exit(ExitCode.SOME_CASES_FAILED)


def _call_of(contract: Contract, study: Path | None, output: Path | None) -> PlatformCall:
    from eenet_runtime.dicom.platforms import call_from

    if study is not None or output is not None:
        raise typer.BadParameter("the environment names study and output; leave them out", param_hint="--from-env")
    return call_from(contract.value, os.environ)


def _found(study: Path, studies: StudyOptions, choices: dict[Modality, str], threads: int | None) -> FoundStudies:
    from eenet_runtime.dicom.many_studies import settled_studies
    from eenet_runtime.dicom.studies import find_studies

    return settled_studies(find_studies(study, studies.rules, threads=threads), choices)


def _show(found: FoundStudies, missing: frozenset[Modality]) -> None:
    """Every decision with its reasons, and whether each study would be taken."""
    from eenet_runtime.dicom.explain import describe

    typer.echo(describe(found, explain=True))
    refused = 0
    for study in found.studies:
        try:
            study.chosen(missing)
        except CaseError as error:
            typer.echo(printable(f"would refuse {error}"))
            refused += 1
        else:
            typer.echo(f"would segment study {study.number}")
    if refused:
        raise typer.Exit(ExitCode.SOME_CASES_FAILED)


def _run(
    found: FoundStudies,
    output: Path,
    model: ModelOptions,
    engine: EngineOptions,
    raw: RawSettings,
    outputs: StudyOutputOptions,
) -> list[StudyOutcome]:
    """Segment them, and tell of each when it is done."""
    from eenet_runtime.commands.progress import tell_warnings
    from eenet_runtime.dicom.many_studies import segment_studies

    bundle = model.opened()
    outcomes = []
    load = partial(model.load, engine, bundle, 1, raw)
    for outcome in segment_studies(load, found, output, outputs.outputs(), model.missing()):
        outcomes.append(outcome)
        name = outcome.study.case_id
        if outcome.report is None:
            typer.echo(printable(f"refused {name}: {outcome.reason}"), err=True)
        elif not outputs.quiet:
            tell_warnings(outcome.report)
            volumes = ", ".join(f"{region} {volume:.1f} ml" for region, volume in outcome.report.volumes_ml.items())
            seconds = sum(outcome.report.seconds.values())
            typer.echo(printable(f"{name}: {volumes}, {seconds:.1f} s, in {outcome.folder}"))
    return outcomes
