"""The command line of folder runs: what options do, what is printed, and with which code it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from eenet_runtime.cli import app
from tests.synthetic import Head, write_case


@pytest.fixture
def cases(head: Head, tmp_path: Path) -> Path:
    for name in ("A", "B"):
        write_case(tmp_path / "in", name, head)
    return tmp_path / "in"


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_a_folder_run_shows_a_line_for_each_case_and_a_table(cases: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    result = run("infer", "folder", cases, tmp_path / "out", "-m", tiny_bundle, "--threads", 1)
    assert result.exit_code == 0
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == ["[1/2] A", "[2/2] B"]
    assert "\r" not in result.stderr  # the line that is rewritten is for terminals
    assert result.stdout.split()[0] == "case"
    again = run("infer", "folder", cases, tmp_path / "out", "-m", tiny_bundle)
    assert again.stderr.splitlines() == ["[1/2] A: done before", "[2/2] B: done before"]
    assert "network s" not in again.stdout


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(cases: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    arguments = ("infer", "folder", cases, tmp_path / "out", "-m", tiny_bundle, "--no-preview")
    assert run(*arguments, "--dry-run").stdout.splitlines() == [
        "compute A: no finished result",
        "compute B: no finished result",
    ]
    assert not (tmp_path / "out").exists()
    assert run(*arguments, "--quiet").exit_code == 0
    assert run(*arguments, "--dry-run").stdout.splitlines() == ["keep A", "keep B"]
    assert run(*arguments, "--dry-run", "--strict").stdout.splitlines()[0] == "compute A: checks was default, is strict"
    assert run(*arguments, "--dry-run", "--warn").stdout.splitlines()[0] == "compute A: checks was default, is warn"
    assert run(*arguments, "--dry-run", "--min-tumour-ml", 1).stdout.startswith("compute A: postprocessing was ")
    assert run(*arguments, "--dry-run", "--overwrite").stdout.splitlines()[1] == "compute B: --overwrite"


def test_shards_are_gathered_by_the_summary_command(cases: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    (cases / "B" / "B_t1.nii.gz").unlink()
    output = tmp_path / "out"
    codes = [
        run("infer", "folder", cases, output, "-m", tiny_bundle, "-q", "--no-preview", "--shard", f"{i}/3").exit_code
        for i in (1, 2, 3)
    ]
    assert sorted(codes) == [0, 0, 3]
    result = run("summary", output, "--html")
    assert result.exit_code == 3
    assert [line.split()[0] for line in result.stdout.splitlines()[2:]] == ["A", "B"]
    assert result.stderr.startswith("refused B: ")
    assert json.loads((output / "summary.json").read_text())["done"] == 1
    assert "NOT FOR DIAGNOSIS" in (output / "index.html").read_text()


def test_html_writes_a_page_at_the_end_of_a_run(cases: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    assert run("infer", "folder", cases, tmp_path / "out", "-m", tiny_bundle, "-q", "--html").exit_code == 0
    assert "A.png" in (tmp_path / "out" / "index.html").read_text()


def test_one_case_gets_the_same_options(cases: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    images = [f"--{word}={cases / 'A' / f'A_{word}.nii.gz'}" for word in ("t1", "t1ce", "t2", "flair")]
    output = tmp_path / "out" / "mask.nii.gz"
    result = run("infer", "case", *images, "-o", output, "-m", tiny_bundle, "--probabilities", "--labels", "msd")
    assert result.exit_code == 0
    report = json.loads((tmp_path / "out" / "mask.json").read_text())
    assert set(report["outputs"]) == {"mask", "preview", "probabilities"}
    assert report["mask"]["scheme"] == "msd"


def test_one_case_tells_its_warnings_like_a_folder(head: Head, tiny_bundle_2mm: Path, tmp_path: Path) -> None:
    write_case(tmp_path / "in", "A", head, label=False)
    images = [f"--{word}={tmp_path / 'in' / 'A' / f'A_{word}.nii.gz'}" for word in ("t1", "t1ce", "t2", "flair")]
    folder = run("infer", "folder", tmp_path / "in", tmp_path / "many", "-m", tiny_bundle_2mm)
    case = run("infer", "case", *images, "-o", tmp_path / "one" / "A.nii.gz", "-m", tiny_bundle_2mm)
    warnings = [line for line in folder.stderr.splitlines() if line.startswith("    ")]
    assert any(line.startswith("    notice: resampled from ") for line in warnings)
    assert case.stderr.splitlines() == warnings
    assert run("infer", "case", *images, "-q", "-o", tmp_path / "A.nii.gz", "-m", tiny_bundle_2mm).stderr == ""


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("m_probabilities.nii.gz", "is kept for probability maps"),
        ("M_Probabilities.nii.gz", "is kept for probability maps"),
        ("summary.nii.gz", "is kept for the run's summary"),
        ("summary-1-of-2.nii.gz", "is kept for the run's summary"),
        (".nii.gz", "expected a name ending in .nii.gz"),
        ("mask.nii", "expected a name ending in .nii.gz"),
    ],
)
def test_a_mask_cannot_have_a_name_that_is_kept_for_something_else(
    cases: Path, tiny_bundle: Path, tmp_path: Path, name: str, reason: str
) -> None:
    images = [f"--{word}={cases / 'A' / f'A_{word}.nii.gz'}" for word in ("t1", "t1ce", "t2", "flair")]
    result = run("infer", "case", *images, "-o", tmp_path / "out" / name, "-m", tiny_bundle)
    assert result.exit_code == 2
    assert reason in " ".join(result.stderr.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_a_watch_tells_of_a_refused_case_at_once_and_once(cases: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    (cases / "B" / "B_t1.nii.gz").unlink()
    watch = ("--watch", "--settle", 0, "--poll", 0.05, "--stop-after-idle", 0.3, "--no-preview")
    for quiet in ((), ("--quiet",)):
        result = run("infer", "folder", cases, tmp_path / "out", "-m", tiny_bundle, *watch, *quiet)
        assert result.exit_code == 3
        assert [line.split(":")[0] for line in result.stderr.splitlines()].count("refused B") == 1


def test_a_time_limit_refuses_the_case_that_takes_longer(cases: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    arguments = ("infer", "folder", cases, tmp_path / "out", "-m", tiny_bundle, "-q", "--time-limit", 0.001)
    result = run(*arguments)
    assert result.exit_code == 3
    assert "the limit is 0.001 s" in result.stderr
    assert not list((tmp_path / "out").glob("*.nii.gz"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--labels", "brats1999"), "expected one of brats2020, brats2023, msd"),
        (("--allow-missing", "pet"), "expected one of t1, "),
        (("--settle", "-1"), "--settle"),
        (("--time-limit", "0"), "--time-limit"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    cases: Path, tiny_bundle: Path, tmp_path: Path, options: tuple[str, ...], reason: str
) -> None:
    result = run("infer", "folder", cases, tmp_path / "out", "-m", tiny_bundle, *options)
    assert result.exit_code == 2
    assert reason in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()


def test_every_option_is_explained_once() -> None:
    for command in ("folder", "case"):
        text = run("infer", command, "--help").stdout
        for option in ("--model", "--device", "--precision", "--strict / --warn", "--allow-missing", "--probabilities"):
            assert text.count(f"{option} ") == 1, option
