"""Agreement of the engines of a run: each computes in its own process, and all are held against one reference."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from eenet_bench.run.latency import EngineLostError, Worker
from eenet_bench.run.parity import BundleParityRow, compare_on_both_grids, require_bundle_parity
from eenet_bench.run.subjects import KERAS
from eenet_export.gate.gate import Form
from eenet_export.gate.parity import ORACLE, ParityCase, ParityLimits
from eenet_runtime.bundle.manifest import Bundle
from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.errors import ParityError


@dataclass
class RunParity:
    """What the comparison gave.

    Attributes:
        reference: its name: `oracle` (Keras with float64 statistics), or the FP32 graph where Keras did not run.
        rows: by engine; each case in its order.
        truth: Dice of the finished masks against the cases' labels, by engine, case and region.
        problems: what could not even be compared, by engine.
    """

    reference: str = ""
    rows: dict[str, list[BundleParityRow]] = field(default_factory=dict)
    truth: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def measure_run_parity(
    workers: Sequence[Worker],
    cases: Sequence[CaseFiles],
    bundle: Bundle,
    on_step: Callable[[str], None],
    *,
    enabled: bool = True,
) -> RunParity:
    """Let all engines compute the same inputs and compare what they give; an engine that fails gets a `reason`.

    Args:
        workers: of all engines; those that cannot run are left out.
        cases: the cases.
        bundle: the verified bundle.
        on_step: told in words what happens.
        enabled: False to compare nothing.

    Raises:
        CaseError: a case that cannot be read.
    """
    found = RunParity()
    running = [worker for worker in workers if not worker.reason]
    if not enabled or not running:
        return found
    judge = _reference_of(running)
    found.reference = ORACLE if judge.subject.backend == KERAS else judge.subject.name
    with tempfile.TemporaryDirectory(prefix="eenet-bench-") as folder:
        for files in cases:
            case = ParityCase.read(files, bundle.manifest.preset)
            what = "oracle" if judge.subject.backend == KERAS else "probabilities"
            on_step(f"comparing on {case.case_id}: {found.reference}")
            try:
                reference = Form(found.reference, partial(judge.compute, what, folder=Path(folder)))
                expected = reference.run(case.volume, check_labels=False)
            except EngineLostError:
                return RunParity()
            for worker in running:
                if worker is judge and found.reference != ORACLE:
                    continue
                on_step(f"comparing on {case.case_id}: {worker.subject.name}")
                try:
                    result = _form(worker, bundle, Path(folder)).run(case.volume, check_labels=True)
                    row = compare_on_both_grids(case, expected, result)
                except EngineLostError:
                    continue
                except ParityError as error:
                    found.problems.setdefault(worker.subject.name, str(error))
                    continue
                found.rows.setdefault(worker.subject.name, []).append(row)
    _measure_truth(running, cases, found, on_step)
    return found


def check_rows(rows: Sequence[BundleParityRow], limits: ParityLimits) -> str:
    """The first figure beyond the limits, in words; empty where there is none, or nothing was compared."""
    if not rows:
        return ""
    try:
        require_bundle_parity(rows, limits)
    except ParityError as error:
        return str(error)
    return ""


def worst_case(rows: Sequence[BundleParityRow]) -> tuple[float | None, float]:
    """The largest difference of a probability (None from labels alone) and the lowest Dice on the patient's grid."""
    differences = [row.max_abs_difference for row in rows if row.max_abs_difference is not None]
    return max(differences, default=None), min(value for row in rows for value in row.patient_dice.values())


def mean_dice(truth: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Mean over the cases, by region."""
    regions = next(iter(truth.values()), {})
    return {region: sum(case[region] for case in truth.values()) / len(truth) for region in regions}


def _reference_of(running: Sequence[Worker]) -> Worker:
    """Keras, which also is the oracle; else ONNX Runtime with the FP32 graph; else whatever runs first."""
    for backend in (KERAS, "onnxruntime"):
        for worker in running:
            if worker.subject.backend == backend and worker.subject.precision == "fp32":
                return worker
    return running[0]


def _form(worker: Worker, bundle: Bundle, folder: Path) -> Form:
    subject = worker.subject
    name = KERAS if subject.backend == KERAS else subject.name
    artifact = next((a for a in bundle.manifest.artifacts if a.path == (subject.paths or ("",))[0]), None)
    labels_only = artifact is not None and not artifact.probabilities_name
    probabilities = None if labels_only else partial(worker.compute, "probabilities", folder=folder)
    # Keras has no labels of its own: they are the largest of its probabilities.
    labels = None if subject.backend == KERAS else partial(worker.compute, "labels", folder=folder)
    return Form(name, probabilities, labels)


def _measure_truth(
    running: Sequence[Worker], cases: Sequence[CaseFiles], found: RunParity, on_step: Callable[[str], None]
) -> None:
    for files in (files for files in cases if files.label is not None):
        on_step(f"Dice against the label of {files.case_id}")
        for worker in running:
            if dice := worker.dice(files.case_id):
                found.truth.setdefault(worker.subject.name, {})[files.case_id] = dice
