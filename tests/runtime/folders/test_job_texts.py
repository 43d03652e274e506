"""The texts for schedulers are what their own programs take; Slurm's is run in test_slurm."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from eenet_runtime.cli import app
from eenet_runtime.errors import DatasetError
from eenet_runtime.folders.job_texts import Job, kubernetes, slurm, snakemake
from eenet_runtime.folders.planning import Division
from tests.synthetic import Head, write_case

DIVISION = Division(shards=200, threads=4, memory_mb=1280, at_once=4, shard_s=60)
JOB = Job(Path("/data/my cases"), Path("/data/out"), Path("/models/eenet{v2}"), DIVISION, wall_s=3600)


def test_slurms_script_is_one_for_bash_and_names_array_memory_signal_and_requeue(tmp_path: Path) -> None:
    text = slurm(JOB)
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    options = {line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH")}
    assert {"--array=1-200", "--mem=1280M", "--time=60", "--requeue", "--signal=B:USR1@120"} <= options
    assert "'/data/my cases'" in text
    assert '--shard "$SLURM_ARRAY_TASK_ID/200"' in text


def test_kubernetes_job_follows_its_schema() -> None:
    validate = pytest.importorskip("kubernetes_validate").validate
    content = yaml.safe_load(kubernetes(JOB))
    validate(content, validate_version(), strict=True)
    spec = content["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 200, 4)
    container = spec["template"]["spec"]["containers"][0]
    assert container["volumeMounts"][0]["mountPath"] == "/"
    subprocess.run(["sh", "-n"], input=container["args"][0], text=True, check=True)


def validate_version() -> str:
    """The newest Kubernetes whose schemas are at hand."""
    import kubernetes_validate

    return str(kubernetes_validate.latest_version())


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (3, 0), (2, 2), (7, 7)])
def test_the_shell_of_a_pod_passes_on_what_a_run_says_but_for_refusals(
    tmp_path: Path, code: int, expected: int
) -> None:
    script = yaml.safe_load(kubernetes(JOB))["spec"]["template"]["spec"]["containers"][0]["args"][0]
    stand_in(tmp_path, f'echo "$@" > {tmp_path}/said; exit {code}')
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "JOB_COMPLETION_INDEX": "16"}
    assert subprocess.run(["sh", "-c", script], env=environment, check=False).returncode == expected
    assert "--shard 17/200" in (tmp_path / "said").read_text()


def test_sigterm_of_a_pod_reaches_the_run(tmp_path: Path) -> None:
    script = yaml.safe_load(kubernetes(JOB))["spec"]["template"]["spec"]["containers"][0]["args"][0]
    stand_in(tmp_path, "trap 'exit 143' TERM; echo ready; while :; do sleep 0.1; done")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "JOB_COMPLETION_INDEX": "0"}
    with subprocess.Popen(["sh", "-c", script], env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.wait(timeout=30) == 143


def stand_in(folder: Path, body: str) -> None:
    """A shell script in the place of `eenet-run`."""
    path = folder / "eenet-run"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_a_folder_with_a_line_break_in_its_name_gets_no_script() -> None:
    with pytest.raises(DatasetError, match="characters that do not print"):
        replace(JOB, cases=Path("/data/a\nrm -r x"))


def test_braces_in_paths_stay_braces_for_snakemake() -> None:
    text = snakemake(JOB)
    assert "eenet{{v2}}" in text
    assert "--shard {wildcards.part}/200" in text


def test_snakemake_runs_every_part_and_then_the_summary(tmp_path: Path) -> None:
    program = shutil.which("snakemake", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("snakemake is not installed beside this Python")
    stand_in(tmp_path, f'echo "$@" >> {tmp_path}/said; [ "$1" = summary ] || exit 3')
    division = Division(shards=3, threads=1, memory_mb=256, at_once=1, shard_s=None)
    (tmp_path / "Snakefile").write_text(snakemake(Job(tmp_path / "in", tmp_path / "out", tmp_path, division, 60)))
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)}
    command = [program, "--cores", "1", "--quiet", "all"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=300)
    *parts, summary = (tmp_path / "said").read_text().splitlines()
    assert sorted(line.split("--shard ")[1] for line in parts) == ["1/3", "2/3", "3/3"]
    assert summary.startswith("summary ")


def test_texts_are_written_on_request_and_printed_one_at_a_time(tmp_path: Path, head: Head, tiny_bundle: Path) -> None:
    write_case(tmp_path / "in", "A", head)
    arguments = ["plan", str(tmp_path / "in"), "--model", str(tiny_bundle), "--output", str(tmp_path / "out")]
    assert CliRunner().invoke(app, [*arguments, "--shards", "7", "--write", str(tmp_path / "texts")]).exit_code == 0
    assert {path.name for path in (tmp_path / "texts").iterdir()} == {"eenet.sbatch", "eenet-job.yaml", "Snakefile"}
    printed = CliRunner().invoke(app, [*arguments, "--shards", "7", "--text", "slurm"]).stdout
    assert printed == (tmp_path / "texts" / "eenet.sbatch").read_text()
    assert CliRunner().invoke(app, [*arguments, "--text", "cron"]).exit_code == 2
