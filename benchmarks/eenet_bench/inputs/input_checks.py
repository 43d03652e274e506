"""False alarms and hits of the input checks, rule by rule, on sound cases and on cases with known faults."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from eenet_bench.inputs.input_faults import Variant, variants
from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.cases.content_checks import RULES, Finding, Severity, find_problems
from eenet_runtime.cases.content_checks.alignment import GAIN, best_move
from eenet_runtime.cases.content_checks.head_size import extent_mm, volume_ml
from eenet_runtime.cases.content_checks.sample import take_sample
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
from eenet_runtime.volumes.labels import Modality
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


def study_input_checks(
    cases: Sequence[CaseFiles], heads: Path | None = None, on_case: Callable[[str], None] = lambda case: None
) -> InputCheckStudy:
    """Measure the checks.

    Args:
        cases: sound, complete, with labels.
        heads: a folder of single images, searched for NIfTI files; none by default.
        on_case: told each case before it is worked on.

    Raises:
        CaseError: a case that cannot be read.
    """
    rng = np.random.default_rng(SEED)
    rows: dict[str, VariantRow] = {}
    values: dict[tuple[str, str], list[float]] = {}
    milliseconds = []
    for files in cases:
        on_case(files.case_id)
        images = read_case(files)
        for key, value in _distances(images).items():
            values.setdefault(key, []).append(value)
        for variant in variants(images, read_label(files, images), rng):
            started = time.perf_counter()
            findings = find_problems(variant.images, EENET_144)
            if variant.images is images:
                milliseconds.append(1000 * (time.perf_counter() - started))
            _row(rows, variant).add(findings)
    measures = tuple(Measure(name, threshold, tuple(found)) for (name, threshold), found in values.items())
    single = tuple(_head_row(path) for path in _images_below(heads)) if heads else ()
    return InputCheckStudy(tuple(rows.values()), measures, single, tuple(milliseconds))


def _row(rows: dict[str, VariantRow], variant: Variant) -> VariantRow:
    return rows.setdefault(variant.name, VariantRow(variant.name, tuple(sorted(variant.rules))))


def _distances(images: CaseImages) -> dict[tuple[str, str], float]:
    """What the rules about contrasts measure, by name and threshold."""
    sample = take_sample(images)
    brightness, related = fluid_brightness(sample), kinship(sample)
    others = max(value for modality, value in brightness.items() if modality is not Modality.T2)
    pair = frozenset({Modality.T1, Modality.T1CE})
    other_pairs = max(value for names, value in related.items() if names != pair)
    gain = max(best_move(sample, modality).gain for modality in images.volumes)
    return {
        ("fluid brighter in t2 than elsewhere, in s.d.", f"< {-FLUID_MARGIN:g}"): brightness[Modality.T2] - others,
        ("t1 and t1ce more alike than other pairs", f"< {-KIN_MARGIN:g}"): related[pair] - other_pairs,
        ("bright over dark tail of t1ce - t1, logarithm", f"< {-ENHANCEMENT_MARGIN:g}"): enhancement(sample),
        ("gain by moving an image", f"> {GAIN:g}"): gain,
        ("head, litres", "> 2.4"): max(volume_ml(sample, modality) for modality in images.volumes) / 1000,
        ("head's length, mm", "outside 130 to 210"): extent_mm(sample)[0],
        ("head's width, mm", "outside 100 to 175"): extent_mm(sample)[1],
        ("head's height, mm", "outside 80 to 190"): extent_mm(sample)[2],
    }


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
