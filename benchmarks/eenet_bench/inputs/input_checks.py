"""False alarms and hits of the input checks, rule by rule, on sound cases and on cases with known faults."""

from __future__ import annotations

import json
import multiprocessing
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Final

import numpy as np

from eenet_bench.inputs.input_faults import cut_to_head, variants
from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.cases.content_checks import RULES, Finding, Severity, find_problems
from eenet_runtime.cases.content_checks.alignment import GAIN, best_move
from eenet_runtime.cases.content_checks.head_size import extent_mm, volume_ml
from eenet_runtime.cases.content_checks.sample import HeadSample, take_sample
from eenet_runtime.cases.content_checks.swaps import (
    ENHANCEMENT_MARGIN,
    FLUID_MARGIN,
    KIN_MARGIN,
    enhancement,
    fluid_brightness,
    kinship,
)
from eenet_runtime.cases.preprocessing import CaseImages, read_case, read_label
from eenet_runtime.files.atomic import write_atomically
from eenet_runtime.files.nifti import is_nifti_name, nifti_stem, read_volume
from eenet_runtime.folders.tables import format_table
from eenet_runtime.volumes.labels import CHANNEL_ORDER, Modality
from eenet_runtime.volumes.presets import EENET_144

SEED: Final = 0
"""Of the directions in which images are moved, and of the noise."""


@dataclass
class VariantRow:
    """What the checks said of one variant of all cases.

    Attributes:
        name: the variant.
        rules: those of which one should speak; empty for a sound variant.
        cases: how many were looked at.
        hits: cases for which one of them spoke.
        refused: cases that the default policy refuses.
        others: how often each other rule spoke.
    """

    name: str
    rules: tuple[str, ...]
    cases: int = 0
    hits: int = 0
    refused: int = 0
    others: dict[str, int] = field(default_factory=dict)

    def add(self, findings: Sequence[Finding]) -> None:
        """Take in one case."""
        said = {finding.rule for finding in findings}
        self.cases += 1
        self.hits += bool(said & set(self.rules))
        self.refused += any(finding.severity is Severity.CERTAIN for finding in findings)
        for rule in said - set(self.rules):
            self.others[rule] = self.others.get(rule, 0) + 1


@dataclass(frozen=True)
class Measure:
    """How far sound cases stay from a threshold.

    Attributes:
        name: what is measured.
        threshold: beyond which the rule speaks.
        values: of each case as it is.
    """

    name: str
    threshold: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class HeadRow:
    """One image by itself: a real head, of which only size, background and voxels can be judged."""

    name: str
    litres: float
    extent_mm: tuple[float, float, float]
    findings: tuple[str, ...]


@dataclass(frozen=True)
class InputCheckStudy:
    """Everything that was measured.

    Attributes:
        rows: by variant.
        measures: distances from the thresholds, on the cases as they are.
        heads: single images.
        milliseconds: time of all checks together, of each case as it is.
    """

    rows: tuple[VariantRow, ...]
    measures: tuple[Measure, ...]
    heads: tuple[HeadRow, ...]
    milliseconds: tuple[float, ...]


@dataclass(frozen=True)
class StudiedCase:
    """What the checks said of one case.

    Attributes:
        findings: of each variant: its name, the rules that should speak, and what was said.
        distances: what the rules measure of the case as it is, by name and threshold.
        milliseconds: time of all checks together, of the case as it is.
    """

    findings: tuple[tuple[str, tuple[str, ...], tuple[Finding, ...]], ...]
    distances: Mapping[tuple[str, str], float]
    milliseconds: float


def study_input_checks(
    cases: Sequence[CaseFiles],
    heads: Path | None = None,
    workers: int = 1,
    on_case: Callable[[int, int, str], None] = lambda done, of, case: None,
) -> InputCheckStudy:
    """Measure the checks.

    Args:
        cases: sound and complete; those with a label are also given it as an image.
        heads: a folder of single images, searched for NIfTI files; none by default.
        workers: processes; each needs about 1 GB of memory. The figures do not depend on it.
        on_case: told the number of cases done, of how many, and the name of the last.

    Raises:
        CaseError: a case that cannot be read.
        ValueError: no case.
    """
    if not cases:
        raise ValueError("no case to study")
    rows: dict[str, VariantRow] = {}
    values: dict[tuple[str, str], list[float]] = {}
    milliseconds = []
    for done, (files, studied) in enumerate(_study_all(cases, workers), start=1):
        on_case(done, len(cases), files.case_id)
        for key, value in studied.distances.items():
            values.setdefault(key, []).append(value)
        for name, rules, findings in studied.findings:
            rows.setdefault(name, VariantRow(name, rules)).add(findings)
        milliseconds.append(studied.milliseconds)
    measures = tuple(Measure(name, threshold, tuple(found)) for (name, threshold), found in values.items())
    single = tuple(_head_row(path) for path in _images_below(heads)) if heads else ()
    return InputCheckStudy(tuple(rows.values()), measures, single, tuple(milliseconds))


def study_case(files: CaseFiles) -> StudiedCase:
    """Look at one case, and at all its variants without most of their air."""
    images = read_case(files)
    labels = read_label(files, images) if files.label is not None else None
    started = time.perf_counter()
    find_problems(images, EENET_144)
    milliseconds = 1000 * (time.perf_counter() - started)
    images, labels = cut_to_head(images, labels)
    # Drawn for each case by its name: neither order nor number of the others matters.
    rng = np.random.default_rng([SEED, zlib.crc32(files.case_id.encode())])
    findings = tuple(
        (variant.name, tuple(sorted(variant.rules)), find_problems(variant.images, EENET_144))
        for variant in variants(images, labels, rng)
    )
    return StudiedCase(findings, _distances(images), milliseconds)


def _study_all(cases: Sequence[CaseFiles], workers: int) -> Iterator[tuple[CaseFiles, StudiedCase]]:
    """All cases, in their order."""
    if workers <= 1:
        yield from ((files, study_case(files)) for files in cases)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from zip(cases, pool.map(study_case, cases), strict=True)


def _distances(images: CaseImages) -> dict[tuple[str, str], float]:
    """What the rules measure of a case as it is, and of its contrasts with two names exchanged, by threshold."""
    sample = take_sample(images)
    fluid, kin = f"< {-FLUID_MARGIN:g}", f"< {-KIN_MARGIN:g}"
    exchanged = {pair: _exchanged(sample, *pair) for pair in combinations(CHANNEL_ORDER, 2)}
    of_t2 = [wrong for pair, wrong in exchanged.items() if Modality.T2 in pair]
    of_flair = [wrong for pair, wrong in exchanged.items() if Modality.FLAIR in pair and Modality.T2 not in pair]
    gain = max(best_move(sample, modality).gain for modality in images.volumes)
    return {
        ("fluid brighter in t2 than elsewhere, in s.d.", fluid): _fluid_lead(sample),
        ("the same, t2 exchanged with another", fluid): max(map(_fluid_lead, of_t2)),
        ("flair more like the t2 than t1 and t1ce are", kin): _kin_lead(sample),
        ("the same, flair exchanged with t1 or t1ce", kin): max(map(_kin_lead, of_flair)),
        ("bright over dark tail of t1ce - t1, logarithm", f"< {-ENHANCEMENT_MARGIN:g}"): enhancement(sample),
        ("gain by moving an image", f"> {GAIN:g}"): gain,
        ("head, litres", "> 2.4"): max(volume_ml(sample, modality) for modality in images.volumes) / 1000,
        ("head's length, mm", "outside 130 to 210"): extent_mm(sample)[0],
        ("head's width, mm", "outside 100 to 175"): extent_mm(sample)[1],
        ("head's height, mm", "outside 80 to 190"): extent_mm(sample)[2],
    }


def _exchanged(sample: HeadSample, first: Modality, second: Modality) -> HeadSample:
    values = {**sample.values, first: sample.values[second], second: sample.values[first]}
    return HeadSample(values, sample.spacing_mm)


def _fluid_lead(sample: HeadSample) -> float:
    brightness = fluid_brightness(sample)
    return brightness[Modality.T2] - max(value for name, value in brightness.items() if name is not Modality.T2)


def _kin_lead(sample: HeadSample) -> float:
    related = kinship(sample)
    return related[Modality.FLAIR] - max(related[Modality.T1], related[Modality.T1CE])


def _images_below(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if is_nifti_name(path)]


def _head_row(path: Path) -> HeadRow:
    images = CaseImages(nifti_stem(path), {Modality.T1: read_volume(path)})
    sample = take_sample(images)
    findings = find_problems(images, EENET_144)
    told = tuple(f"{finding.rule} ({finding.severity.value})" for finding in findings)
    return HeadRow(images.case_id, volume_ml(sample, Modality.T1) / 1000, extent_mm(sample), told)


def input_check_tables(study: InputCheckStudy) -> str:
    """The study as text."""
    sound = [row for row in study.rows if not row.rules]
    faulty = [row for row in study.rows if row.rules]
    parts = [
        "sound cases: alarms\n" + format_table(["variant", "cases", "alarms"], [_sound_cells(row) for row in sound]),
        "faults: found\n"
        + format_table(["fault", "cases", "found", "refused", "other rules"], [_fault_cells(row) for row in faulty]),
        "rules\n" + format_table(["rule", "sound cases", "alarms", "faults for it", "found"], _by_rule(sound, faulty)),
        "distance of the cases as they are\n"
        + format_table(["measure", "speaks", "smallest", "median", "largest"], [_cells(m) for m in study.measures]),
        f"milliseconds: median {np.median(study.milliseconds):.1f}, largest {max(study.milliseconds):.1f}",
    ]
    if study.heads:
        cells = [[h.name, f"{h.litres:.2f}", _sides(h.extent_mm), ", ".join(h.findings) or "-"] for h in study.heads]
        parts.append("single images\n" + format_table(["image", "litres", "mm", "findings"], cells))
    return "\n\n".join(parts)


def _sound_cells(row: VariantRow) -> list[str]:
    return [row.name, str(row.cases), _counted(row.others)]


def _fault_cells(row: VariantRow) -> list[str]:
    return [row.name, str(row.cases), str(row.hits), str(row.refused), _counted(row.others)]


def _by_rule(sound: Sequence[VariantRow], faulty: Sequence[VariantRow]) -> list[list[str]]:
    """For each rule: alarms on sound cases, and hits on the faults that it alone should find."""
    cases = sum(row.cases for row in sound)
    table = []
    for rule in RULES:
        own = [row for row in faulty if row.rules == (rule,)]
        alarms = sum(row.others.get(rule, 0) for row in sound)
        counts = (cases, alarms, sum(row.cases for row in own), sum(row.hits for row in own))
        table.append([rule, *map(str, counts)])
    return table


def _cells(measure: Measure) -> list[str]:
    ordered = (min(measure.values), float(np.median(measure.values)), max(measure.values))
    return [measure.name, measure.threshold, *(f"{value:.2f}" for value in ordered)]


def _counted(others: Mapping[str, int]) -> str:
    return ", ".join(f"{rule} {count}" for rule, count in sorted(others.items())) or "-"


def _sides(extent: tuple[float, float, float]) -> str:
    return " x ".join(f"{side:.0f}" for side in extent)


def write_study(study: InputCheckStudy, path: Path) -> None:
    """Write everything that was measured as JSON.

    Raises:
        OutputError: the file cannot be written.
    """
    write_atomically(path, (json.dumps(asdict(study), indent=2) + "\n").encode())
