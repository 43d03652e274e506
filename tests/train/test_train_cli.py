"""`eenet-train` as a user meets it: options, exit codes, what is printed where."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main

from eenet_train import cli
from eenet_train.phantom.layouts import PhantomLayout
from eenet_train.phantom.raw import RAW, Range
from eenet_train.phantom.settings import STANDARD
from eenet_train.phantom.write import PhantomDone
from eenet_train.recipe.settings import read_settings
from tests.synthetic import TINY_2MM, make_head, write_case

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def eenet_train(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the program in this process: exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["eenet-train", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        output = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return end.value.code, output.out, output.err

    return run


def _refused(result: tuple[int, str, str]) -> str:
    """The message of a refusal: exit code 2, one line on standard error, nothing on standard output."""
    code, out, err = result
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("eenet-train: ")
    return lines[0].removeprefix("eenet-train: ")


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """Three cases with labels, of three patients."""
    head = make_head()
    for factor, name in enumerate("ABC", start=1):
        images = {modality: image * np.int16(factor) for modality, image in head.images.items()}
        write_case(tmp_path / "cases", name, replace(head, images=images))
    return tmp_path / "cases"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small preset in place of `eenet-fast`, and four layers in place of EENet."""
    from keras import Model, layers

    from eenet_runtime.volumes import presets

    def stand_in(preset: presets.GeometryPreset, **_: object) -> Any:
        volume = layers.Input((*preset.shape, 4), name="volume")
        return Model(volume, layers.Conv3D(4, 1, activation="softmax", name="last")(volume))

    monkeypatch.setitem(presets.PRESETS, "eenet-fast", replace(TINY_2MM, name="eenet-fast"))
    monkeypatch.setattr("eenet_train.fit.fit.build_eenet", stand_in)


def test_help_answers_without_tensorflow_and_nilearn() -> None:
    script = (
        "import sys; from eenet_train import cli; sys.argv = ['eenet-train', '--help']\n"
        "try: cli.main()\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print(sorted({'tensorflow', 'keras', 'nilearn'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "Make phantoms and train EENet." in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", ["phantom", "check", "fit", "summary"])
def test_every_argument_and_option_has_a_help_text(name: str) -> None:
    program = typer.main.get_command(cli.app)
    command = program.commands[name]  # type: ignore[attr-defined]
    assert command.help
    for parameter in command.params:
        assert getattr(parameter, "help", None), parameter.name


def test_the_run_folder_is_named_by_o_or_output() -> None:
    command = typer.main.get_command(cli.app).commands["fit"]  # type: ignore[attr-defined]
    (output,) = (parameter for parameter in command.params if parameter.name == "output")
    assert set(output.opts) == {"-o", "--output"}


def test_phantoms_are_asked_for_as_the_options_say_and_each_is_told_of_on_standard_error(
    eenet_train: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Path, dict[str, Any]]] = []

    def write(output: Path, *, progress: Callable[[PhantomDone], None], **options: Any) -> None:
        asked.append((output, options))
        progress(PhantomDone("Phantom_0007_0003", 1, 2, reused=True))
        progress(PhantomDone("Phantom_0007_0004", 2, 2, reused=False))

    monkeypatch.setattr("eenet_train.phantom.write.write_phantoms", write)
    options = ("--cases", 2, "--seed", 7, "--first-index", 3, "--workers", 2)
    for layout in PhantomLayout:
        code, out, err = eenet_train("phantom", "out", *options, "--layout", layout.value)
        assert (code, out) == (0, "")
        assert err == "[1/2] Phantom_0007_0003 (kept)\n[2/2] Phantom_0007_0004\n"
        wanted = {"cases": 2, "seed": 7, "first_index": 3, "workers": 2, "layout": layout, "settings": STANDARD}
        assert asked.pop() == (Path("out"), wanted)


def test_raw_phantoms_are_asked_for_as_the_options_say(eenet_train: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Path, dict[str, Any]]] = []

    def write(output: Path, *, progress: Callable[[PhantomDone], None], **options: Any) -> None:
        asked.append((output, options))

    monkeypatch.setattr("eenet_train.phantom.raw.write.write_raw_phantoms", write)
    options = ("--raw", "--cases", 2, "--seed", 7, "--first-index", 3, "--workers", 2)
    assert eenet_train("phantom", "out", *options)[0] == 0
    assert asked.pop() == (Path("out"), {"cases": 2, "seed": 7, "first_index": 3, "workers": 2, "settings": RAW})
    assert eenet_train("phantom", "out", *options, "--size", "small", "--turn", 60, 80)[0] == 0
    settings = asked.pop()[1]["settings"]
    assert settings.voxel_mm == 4
    assert (settings.turn.degrees, settings.turn.mm) == (Range(0, 60), Range(0, 80))


@pytest.mark.parametrize(
    "options", [("--raw", "--layout", "nnunet"), ("--size", "small"), ("--turn", 60, 80)], ids=lambda o: o[0]
)
def test_raw_options_without_raw_and_layouts_with_it_are_wrong_usage(
    eenet_train: Command, tmp_path: Path, options: tuple[object, ...]
) -> None:
    code, _, err = eenet_train("phantom", tmp_path / "out", *options)
    assert code == 2
    assert "--raw" in err or "--layout" in err
    assert not (tmp_path / "out").exists()


def test_phantoms_in_a_file_are_refused(eenet_train: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = _refused(eenet_train("phantom", tmp_path / "file", "--cases", 1))
    assert message.startswith(f"{tmp_path / 'file'}: cannot write phantoms")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("phantom", "x", "--layout", "brats1999"), "brats1999"),
        (("phantom", "x", "--cases", "0"), "--cases"),
        (("phantom", "x", "--seed", "-1"), "--seed"),
        (("fit", "x"), "--output"),
        (("fit", "x", "-o", "y", "--crop", "32"), "--crop"),
        (("fit", "x", "-o", "y", "--steps", "many"), "--steps"),
        (("fit", "x", "-o", "y", "--validation", "-1"), "--validation"),
        (("fit", "x", "-o", "y", "--max-minutes", "-1"), "--max-minutes"),
    ],
)
def test_wrong_options_are_named_and_exit_with_2(eenet_train: Command, arguments: tuple[str, ...], reason: str) -> None:
    code, out, err = eenet_train(*arguments)
    assert (code, out) == (2, "")
    assert reason in err


@pytest.mark.tf
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--preset", "eenet-1"), "unknown preset 'eenet-1'; known presets: eenet-144, eenet-108, eenet-fast"),
        (("--steps", 10, "--warmup-steps", 10), "10 warm-up steps found, expected fewer than the 10 steps"),
        (("--crop", 32, 33), "W = 33 is not a multiple of 32"),
        (("--learning-rate", 0), "learning rate 0.0 found"),
        (("--validation", 3), "3 validation cases asked for among 3 cases with labels"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_written(
    eenet_train: Command, cases: Path, tmp_path: Path, options: tuple[object, ...], reason: str
) -> None:
    assert reason in _refused(eenet_train("fit", cases, "-o", tmp_path / "run", *options))
    assert not (tmp_path / "run").exists()


@pytest.mark.tf
def test_data_that_cannot_be_used_are_refused(eenet_train: Command, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert _refused(eenet_train("fit", missing, "-o", tmp_path / "run")) == f"{missing}: no such folder"
    (tmp_path / "empty").mkdir()
    assert "no case found" in _refused(eenet_train("fit", tmp_path / "empty", "-o", tmp_path / "run"))
    write_case(tmp_path / "bare", "A", make_head(), label=False)
    assert "none with a label" in _refused(eenet_train("fit", tmp_path / "bare", "-o", tmp_path / "run"))


@pytest.mark.tf
@pytest.mark.usefixtures("small")
def test_unusable_cases_are_told_of_in_one_line(eenet_train: Command, cases: Path, tmp_path: Path) -> None:
    (cases / "A" / "A_t1.nii.gz").write_text("no image")
    (cases / "C" / "C_flair.nii.gz").unlink()
    message = _refused(eenet_train("fit", cases, "-o", tmp_path / "run", "--validation", 1))
    assert message.startswith(f"{cases}: 2 cases cannot be used: ")
    assert "flair missing for case C" in message
    assert "A_t1.nii.gz" in message


@pytest.mark.tf
@pytest.mark.usefixtures("small")
def test_a_training_prints_its_result_and_goes_on_where_it_stopped(
    eenet_train: Command, cases: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    arguments = ("fit", cases, "-o", run, "--steps", 4, "--steps-per-epoch", 2, "--warmup-steps", 0, "--validation", 1)
    code, out, _ = eenet_train(*arguments, "--crop", 32, 32, "--max-minutes", 0)
    assert code == 0
    assert "3 cases prepared; recipe eenet, eenet-fast, 4 steps in 2 epochs" in out
    assert f"{run / 'model.keras'}: 2 of 4 steps, loss " in out
    assert out.splitlines()[-1].startswith("validation Dice: ET ")
    assert "holds a run already" in _refused(eenet_train(*arguments, "--crop", 32, 32))
    assert "started with crop = (32, 32), now (64, 64)" in _refused(
        eenet_train(*arguments, "--resume", "--crop", 64, 64)
    )
    code, out, _ = eenet_train("fit", "-o", run, "--resume")
    assert code == 0
    assert "4 of 4 steps" in out


@pytest.mark.tf
@pytest.mark.usefixtures("small")
def test_the_settings_of_a_run_reproduce_it(eenet_train: Command, cases: Path, tmp_path: Path) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    arguments = ("--steps", 4, "--steps-per-epoch", 2, "--warmup-steps", 0, "--validation", 1, "--crop", 32, 32)
    assert eenet_train("fit", cases, "-o", first, *arguments)[0] == 0
    assert eenet_train("fit", "-o", again, "--config", first / "config.yaml")[0] == 0
    for name in ("config.yaml", "log.csv", "validation.csv", "run.json", "split.json"):
        assert (again / name).read_bytes() == (first / name).read_bytes(), name


@pytest.mark.tf
@pytest.mark.usefixtures("small")
def test_a_training_starts_from_the_weights_of_another_run_and_says_what_it_found(
    eenet_train: Command, cases: Path, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    arguments = ("--steps", 2, "--steps-per-epoch", 2, "--warmup-steps", 0, "--validation", 1)
    assert eenet_train("fit", cases, "-o", first, *arguments)[0] == 0
    code, out, _ = eenet_train("fit", cases, "-o", tmp_path / "second", *arguments, "--weights", first)
    assert code == 0
    assert "loaded by name" in out
    assert "100.0% loaded" in (tmp_path / "second" / "initial_weights.txt").read_text()
    code, _, err = eenet_train("fit", cases, "-o", tmp_path / "third", *arguments, "--weights", cases)
    assert code == 2
    assert str(cases) in err
    assert "Traceback" not in err


@pytest.mark.tf
@pytest.mark.usefixtures("small")
def test_frozen_batch_norms_are_kept_in_the_settings_and_a_resumed_run_cannot_begin_to_freeze_them(
    eenet_train: Command, cases: Path, tmp_path: Path
) -> None:
    plain, frozen, again = (tmp_path / name for name in ("plain", "frozen", "again"))
    arguments = ("--steps", 2, "--steps-per-epoch", 2, "--warmup-steps", 0, "--validation", 0)
    assert eenet_train("fit", cases, "-o", plain, *arguments)[0] == 0
    assert eenet_train("fit", cases, "-o", frozen, *arguments, "--freeze-batch-norms")[0] == 0
    assert eenet_train("fit", "-o", again, "--config", frozen / "config.yaml")[0] == 0
    found = [read_settings(run / "config.yaml").recipe.frozen_batch_norms for run in (plain, frozen, again)]
    assert found == [False, True, True]
    message = _refused(eenet_train("fit", "-o", plain, "--resume", "--freeze-batch-norms"))
    assert "started with recipe.frozen_batch_norms = False, now True" in message


@pytest.mark.tf
@pytest.mark.usefixtures("small")
def test_the_folds_of_a_cross_validation_are_gathered_in_a_table_and_a_picture(
    eenet_train: Command, cases: Path, tmp_path: Path
) -> None:
    arguments = ("--steps", 2, "--steps-per-epoch", 2, "--warmup-steps", 0, "--folds", 3, "--cache", tmp_path / "cache")
    runs = [tmp_path / f"fold{fold}" for fold in range(3)]
    for fold, run in enumerate(runs):
        assert eenet_train("fit", cases, "-o", run, *arguments, "--fold", fold)[0] == 0
    code, out, _ = eenet_train("summary", *runs, "-o", tmp_path / "summary")
    assert code == 0
    assert "0 of 3" in out or "fold0" in out
    assert {path.name for path in (tmp_path / "summary").iterdir()} == {"summary.json", "summary.csv", "summary.png"}


@pytest.mark.tf
@pytest.mark.usefixtures("small")
def test_bad_cases_are_left_out_only_on_request_and_named(eenet_train: Command, cases: Path, tmp_path: Path) -> None:
    (cases / "B" / "B_t1.nii.gz").write_text("no image")
    arguments = ("fit", cases, "-o", tmp_path / "run", "--steps", 2, "--steps-per-epoch", 2, "--warmup-steps", 0)
    message = _refused(eenet_train(*arguments, "--validation", 1))
    assert f"'eenet-train check {cases}' lists them all" in message
    code, out, _ = eenet_train(*arguments, "--validation", 1, "--skip-bad")
    assert code == 0
    assert "2 cases prepared, 1 left out" in out
    assert "left out 1 cases: B" in out
    assert "B_t1.nii.gz" in json.loads((tmp_path / "run" / "split.json").read_text())["skipped"]["B"]


def test_check_lists_bad_cases_and_exits_with_3(eenet_train: Command, cases: Path, tmp_path: Path) -> None:
    code, out, _ = eenet_train("check", cases)
    assert code == 0
    (cases / "B" / "B_t1.nii.gz").write_text("no image")
    (cases / "C" / "C_flair.nii.gz").unlink()
    code, out, _ = eenet_train("check", cases, "--json", tmp_path / "check.json")
    assert code == 3
    assert "B_t1.nii.gz" in out
    assert "flair missing for case C" in out
    assert json.loads((tmp_path / "check.json").read_text())["bad"] == 2


@pytest.mark.tf
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("terminal", [False, True])
def test_progress_bars_are_for_terminals_only(
    eenet_train: Command, cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: terminal)
    arguments = ("--steps", 2, "--steps-per-epoch", 2, "--warmup-steps", 0, "--validation", 0)
    code, out, err = eenet_train("fit", cases, "-o", tmp_path / "run", *arguments)
    assert code == 0
    assert ("preparing cases: 3/3" in err) == terminal
    assert ("━" in out) == terminal
    assert ("\r" in out + err or "\x1b" in out + err or "\b" in out + err) == terminal
    assert "loss: " in out
