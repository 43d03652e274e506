"""Which cases are finished: proved by hashes, never by the mere existence of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.files.nifti import hash_or_none
from eenet_runtime.results.mask_settings import MaskSettings, PreprocessSettings
from eenet_runtime.results.report import CaseReport, read_report
from eenet_runtime.results.result_files import OutputSettings, ResultPaths

HashOf: TypeAlias = Callable[[Path], str | None]
"""Gives the SHA-256 of a file, None for one that cannot be read."""


@dataclass(frozen=True)
class Standing:
    """Where a case stands before a run.

    Attributes:
        report: the report of the finished case, None where it must be computed.
        why: why it must be computed, in one line; None for a finished case.
    """

    report: CaseReport | None
    why: str | None


def standing_of(
    files: CaseFiles,
    paths: ResultPaths,
    settings: MaskSettings | PreprocessSettings,
    outputs: OutputSettings,
    hash_of: HashOf = hash_or_none,
) -> Standing:
    """Whether the results of a case are what this run would make of it.

    They are if its report names these settings and these label values, the hash of every input is what it was, and
    every result that is asked for is there with the hash that the report gives it. Cheap questions come first; files
    are hashed last, and one that cannot be read is another file.

    Args:
        files: the case.
        paths: where its results are.
        settings, outputs: what this run would make them with, and which.
        hash_of: gives the hash of a file.
    """
    report = read_report(paths.report)
    if report is None:
        return Standing(None, "no finished result")
    difference = next(_differences(report, files, paths, settings, outputs, hash_of), None)
    return Standing(report, None) if difference is None else Standing(None, difference)


def _differences(
    report: CaseReport,
    files: CaseFiles,
    paths: ResultPaths,
    settings: MaskSettings | PreprocessSettings,
    outputs: OutputSettings,
    hash_of: HashOf,
) -> Iterator[str]:
    for name, wanted in vars(settings).items():
        found = report.settings.get(name)
        if found != wanted:
            yield f"{name} was {_shown(found)}, is {_shown(wanted)}"
    values = outputs.values_for(files)
    if report.mask.get("values") != values:
        yield f"label values were {_shown(report.mask.get('values'))}, are {_shown(values)}"
    for name, path in paths.of(outputs, files.images).items():
        if name not in report.outputs:
            yield f"made without {name}"
        elif hash_of(path) != report.outputs[name].get("sha256"):
            yield f"{path.name} is not the file that its report describes"
    yield from _changed_inputs(report, files, hash_of)


def _changed_inputs(report: CaseReport, files: CaseFiles, hash_of: HashOf) -> Iterator[str]:
    if set(report.inputs) != {modality.value for modality in files.images}:
        yield "made from other modalities"
        return
    hashes = {source.path: hash_of(source.path) for source in files.images.values()}
    for modality, source in files.images.items():
        entry = report.inputs[modality.value]
        if (entry.get("sha256"), entry.get("channel")) != (hashes[source.path], source.channel):
            yield f"{modality.value} has changed"
    label = hash_of(files.label) if files.label is not None else None
    if (report.label or {}).get("sha256") != label:
        yield "the label has changed"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(
            f"{name} {item:g}" if isinstance(item, float) else f"{name} {item}" for name, item in value.items()
        )
    return str(value)
