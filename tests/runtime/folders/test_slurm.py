"""The text that `plan` writes for Slurm, in a real Slurm of one node: killed, requeued, out of memory, all right.

Twelve tiny cases in four parts, with a stand-in for the network that notes what it computes. Skipped where Slurm and
munge are not installed or do not start. docs/scaling.md shows what such a run prints.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eenet_runtime.cli import app
from eenet_runtime.folders.shards import Shard
from tests.places import ROOT
from tests.runtime.folders.folder_process import FolderProcess, reported, results_of
from tests.slurm_cluster import Cluster, slurm
from tests.synthetic import Head, write_case

PARTS = 4
CASES_OF_A_PART = 3
CANCELLED, REQUEUED, HUNGRY, PLAIN = (str(index) for index in range(1, PARTS + 1))


def names_of(part: str) -> list[str]:
    """So many names that belong to a part."""
    every = (f"case{number:03}" for number in itertools.count())
    mine = (name for name in every if Shard(int(part), PARTS).holds(name))
    return list(itertools.islice(mine, CASES_OF_A_PART))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    folder = tmp_path / "slurm"
    folder.mkdir()
    with slurm(folder) as running:
        yield running


def until(true: Callable[[], bool], what: str, seconds: float = 120) -> None:
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, what
        time.sleep(0.05)


def put_in_front(folder: Path, log: Path, seconds: float, hungry: str) -> str:
    """A program `eenet-run` with the stand-in, and the PATH that finds it."""
    program = folder / "bin" / "eenet-run"
    program.parent.mkdir()
    command = (
        f'"{sys.executable}" -m tests.runtime.folders.slurm_stand_in "{log}" {seconds} {hungry} "{folder}/ate" "$@"'
    )
    python_path = os.pathsep.join([str(ROOT), *sys.path])
    program.write_text(f'#!/bin/sh\ncd "{ROOT}"\nPYTHONPATH="{python_path}" exec {command}\n')
    program.chmod(0o755)
    return f"{program.parent}:{os.environ['PATH']}"


@pytest.mark.slow
def test_an_array_that_is_cancelled_requeued_and_killed_ends_with_the_masks_of_one_process(
    cluster: Cluster, tiny_bundle: Path, head: Head, tmp_path: Path
) -> None:
    cases, output, log = tmp_path / "in", tmp_path / "out", tmp_path / "log"
    names = {part: names_of(part) for part in (CANCELLED, REQUEUED, HUNGRY, PLAIN)}
    for name in itertools.chain.from_iterable(names.values()):
        write_case(cases, name, head)
    path = put_in_front(tmp_path, log, 1.0, names[HUNGRY][1])
    cluster = Cluster(cluster.folder, {**cluster.environment, "PATH": path})
    texts = tmp_path / "texts"
    plan = ["plan", str(cases), "--model", str(tiny_bundle), "--output", str(output), "--shards", str(PARTS)]
    assert CliRunner().invoke(app, [*plan, "--threads", "1", "--write", str(texts)]).exit_code == 0
    script = [f"--output={tmp_path}/%a.txt", "--mem=700M", str(texts / "eenet.sbatch")]
    transcript = [f"$ sbatch eenet.sbatch      # {len(names) * CASES_OF_A_PART} cases, {PARTS} parts"]

    def computed() -> Counter[str]:
        return Counter(log.read_text().split() if log.exists() else [])

    def ask(expected: int) -> str:
        arguments = ["summary", str(output), "--expect", str(cases), "--expect-shards", str(PARTS), "--quiet"]
        result = CliRunner().invoke(app, arguments)
        transcript.append(f"$ eenet-run summary OUT --expect CASES --expect-shards {PARTS}; echo $?")
        transcript.extend([*result.stderr.replace(str(tmp_path) + "/", "").splitlines(), str(result.exit_code)])
        assert result.exit_code == expected
        return result.stderr

    job = cluster.submit(*script)
    until(lambda: computed()[names[CANCELLED][0]] > 0, "the first part does not begin")
    cluster.run("scancel", f"{job}_{CANCELLED}")
    transcript.append(f"$ scancel {job}_{CANCELLED}")
    until(lambda: computed()[names[REQUEUED][0]] > 0, "the second part does not begin")
    # What Slurm itself sends before the wall time is over.
    cluster.signal_script(f"{job}_{REQUEUED}", "USR1")
    transcript.append(f"$ scancel --batch --signal=USR1 {job}_{REQUEUED}      # as before the wall time")
    states = cluster.wait_for(job)
    done_then = {name: (output / f"{name}.json").stat().st_mtime_ns for name in reported(output)}
    restarts = {number: task["Restarts"] for number, task in cluster.tasks(job).items()}
    transcript.append("$ scontrol show job")
    transcript += [f"task {number}: {states[number]}, restarts {restarts[number]}" for number in sorted(states)]
    assert states[CANCELLED] == "CANCELLED"
    assert (states[REQUEUED], restarts[REQUEUED]) == ("COMPLETED", "1")
    assert states[HUNGRY] not in ("COMPLETED", "TIMEOUT")
    assert (states[PLAIN], restarts[PLAIN]) == ("COMPLETED", "0")
    errors = ask(3)
    assert {line.split(":")[0] for line in errors.splitlines() if line.startswith("missing shard")} == {
        f"missing shard {part}/{PARTS}" for part in (CANCELLED, HUNGRY)
    }

    again = cluster.submit(f"--array={CANCELLED},{HUNGRY}", *script)
    transcript.append(f"$ sbatch --array={CANCELLED},{HUNGRY} eenet.sbatch")
    assert set(cluster.wait_for(again).values()) == {"COMPLETED"}
    assert "12 expected: 12 done, 0 done before, 0 refused, 0 unfinished, 0 missing" in ask(0)
    (tmp_path / "transcript.txt").write_text("\n".join(transcript))

    summary = json.loads((output / "summary.json").read_text())
    assert (summary["done"], summary["refused"], summary["missing"]) == (12, 0, 0)
    # Finished cases were not touched again; an inference that was cut off is the only one that was begun twice.
    assert {name: (output / f"{name}.json").stat().st_mtime_ns for name in done_then} == done_then
    begun_twice = {name for name, times in computed().items() if times > 1}
    assert set(computed()) == set(itertools.chain.from_iterable(names.values()))
    assert max(computed().values()) <= 2
    assert begun_twice.isdisjoint(names[PLAIN])
    assert all(len(begun_twice & set(names[part])) <= 2 for part in (CANCELLED, REQUEUED, HUNGRY))
    single = FolderProcess(cases, tmp_path / "single", tiny_bundle, tmp_path / "log1", 0.0)
    assert single.finish()[0] == 0
    assert results_of(output) == results_of(single.output)
