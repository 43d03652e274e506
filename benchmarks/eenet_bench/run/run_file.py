"""A run's `results.json`, read again for a comparison: what is compared, as arrays, and what must be the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from eenet_bench.measuring.bootstrap import Rounds, as_rounds
from eenet_bench.run.latency import NETWORK, TOTAL
from eenet_bench.run.run import SCHEMA_VERSION
from eenet_runtime.errors import DatasetError


@dataclass(frozen=True)
class EngineRun:
    """One engine of a run.

    Attributes:
        seconds: by stage, `total` among them: (rounds, runs). First each case once; of a stage outside the network
            then each case again, as often as it was repeated.
        cpu_seconds: processor seconds, likewise.
        peak_rss_bytes: of its process, None if unknown.
        lowest_dice: of its masks against the reference's, None if nothing was compared.
    """

    seconds: Mapping[str, Rounds]
    cpu_seconds: Mapping[str, Rounds]
    peak_rss_bytes: int | None
    lowest_dice: float | None


@dataclass(frozen=True)
class RunFile:
    """A run, as far as a comparison cares.

    Attributes:
        path: of the file.
        cpu, threads, preset: must be the same.
        cases: SHA-256 of their files; must be the same.
        bundle_id, commit, versions: may differ, and are shown then.
        calibration, cpu_calibration: seconds and processor seconds of a fixed piece of work, by round.
        noisy: what was found about the machine, empty where it was quiet.
        others_share: share of the processors that other programs used, None if unknown.
        engines: by name.
    """

    path: Path
    cpu: str
    threads: int
    preset: str
    cases: Mapping[str, Mapping[str, str]]
    bundle_id: str
    commit: str
    versions: Mapping[str, str]
    calibration: Rounds
    cpu_calibration: Rounds
    noisy: tuple[str, ...]
    others_share: float | None
    engines: Mapping[str, EngineRun]


def read_run(path: Path) -> RunFile:
    """Read and check a file.

    Raises:
        DatasetError: it cannot be read, or is no `results.json` of `eenet-bench run`.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise DatasetError(f"{path}: not JSON ({error})") from error
    if not isinstance(content, dict) or content.get("kind") != "run" or content.get("schema_version") != SCHEMA_VERSION:
        raise DatasetError(f"{path}: no results.json of eenet-bench run, schema version {SCHEMA_VERSION}")
    try:
        return _parsed(path, content)
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: a field is missing or has the wrong type ({error})") from error


def _parsed(path: Path, content: dict[str, Any]) -> RunFile:
    environment, noise = content["environment"], content["noise"]
    measured = [entry for entry in content["results"] if entry["latency"]]
    versions = {entry["name"]: f"{entry['name']} {entry['latency']['version']}" for entry in measured}
    return RunFile(
        path=path,
        cpu=environment["cpu"],
        threads=content["settings"]["threads"] or environment["system"]["threads"],
        preset=content["preset"],
        cases=content["cases"],
        bundle_id=content["bundle_id"],
        commit=environment["commit"],
        versions=versions,
        calibration=_calibration(measured, "calibration_s"),
        cpu_calibration=_calibration(measured, "calibration_cpu_s"),
        noisy=tuple(noise["findings"]),
        others_share=noise["others_share"],
        engines={entry["name"]: _engine(entry) for entry in measured},
    )


def _engine(entry: dict[str, Any]) -> EngineRun:
    samples = entry["latency"]["samples"]
    numbers = sorted({sample["round"] for sample in samples})
    stages = [*samples[0]["stages_s"], TOTAL]
    repeats = min(len(sample.get("outside", ())) for sample in samples)

    def rounds(stage: str, values: Callable[[dict[str, Any]], float]) -> Rounds:
        found = []
        for number in numbers:
            own = [sample for sample in samples if sample["round"] == number]
            if stage not in (NETWORK, TOTAL) and repeats:
                # These were measured in one thread, and do not go together with those that were not.
                own = [sample["outside"][repeat] for repeat in range(repeats) for sample in own]
            found.append([values(sample) for sample in own])
        return as_rounds(found)

    dice = [value for row in entry["parity"] for value in row["patient_dice"].values()]
    return EngineRun(
        seconds={stage: rounds(stage, partial(_stage_seconds, stage=stage)) for stage in stages},
        cpu_seconds={stage: rounds(stage, partial(_stage_processor_seconds, stage=stage)) for stage in stages},
        peak_rss_bytes=entry["latency"]["peak_rss_bytes"],
        lowest_dice=min(dice, default=None),
    )


def _stage_seconds(sample: dict[str, Any], stage: str) -> float:
    return float(sample["total_s"] if stage == TOTAL else sample["stages_s"].get(stage, 0.0))


def _stage_processor_seconds(sample: dict[str, Any], stage: str) -> float:
    return float(sample["cpu_s"].get(stage, 0.0))


def _calibration(measured: Sequence[dict[str, Any]], name: str) -> Rounds:
    """The median over engines and cases, by round."""
    samples = [sample for entry in measured for sample in entry["latency"]["samples"]]
    numbers = sorted({sample["round"] for sample in samples})
    return as_rounds([[median(s[name] for s in samples if s["round"] == number)] for number in numbers])
