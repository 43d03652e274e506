"""Folders of raw cases: killed, in parts, watched, and preprocessed without a model; nothing is ever half-written."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from eenet_runtime.cli import app
from eenet_runtime.files.atomic import is_leftover
from eenet_runtime.heads import pairs, pose
from tests.raw_cases import header_registration, write_raw_case
from tests.runtime.folders.folder_process import FolderProcess, reported
from tests.strip_stand_in import write_stand_in

NAMES = ["Raw_0", "Raw_1"]
KILLS = 3


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    for seed, name in enumerate(NAMES):
        write_raw_case(folder, name, seed)
    return folder


@pytest.fixture(scope="module")
def strip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stand_in(tmp_path_factory.mktemp("bundle") / "strip")


def raw_run(cases: Path, folder: Path, bundle: Path, strip: Path) -> FolderProcess:
    """`infer folder --raw`. A ball is no head: suspicions are warnings here."""
    options = ("--raw", "--warn", "--strip-bundle", str(strip), "--threads", "1", "--no-head-only")
    return FolderProcess(cases, folder / "out", bundle, folder / "log", options=options)


def preprocess_run(cases: Path, folder: Path, strip: Path) -> FolderProcess:
    options = ("--warn", "--strip-bundle", str(strip), "--threads", "1", "--no-preview")
    return FolderProcess(cases, folder / "out", folder, folder / "log", options=options, command=("preprocess",))


def written(output: Path) -> dict[str, str]:
    """Hashes of masks, pictures and images under their final names, in all folders."""
    return {
        str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(output.rglob("*"))
        if path.is_file() and not is_leftover(path) and path.name.endswith((".nii.gz", ".png"))
    }


@pytest.fixture(scope="module", params=["infer", "preprocess"])
def alone(
    request: pytest.FixtureRequest,
    cases: Path,
    strip: Path,
    tiny_bundle: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[FolderProcess, dict[str, str]]:
    """A run of either kind that was left alone, and what it wrote."""
    folder = tmp_path_factory.mktemp(str(request.param))
    run = raw_run(cases, folder, tiny_bundle, strip)
    run = run if request.param == "infer" else preprocess_run(cases, folder, strip)
    code, errors = run.finish()
    assert code == 0, errors
    results = written(run.output)
    # Mask and picture, or brain mask and four images.
    assert len(results) == len(NAMES) * (2 if request.param == "infer" else 5)
    return run, results


def test_a_raw_run_killed_at_random_moments_ends_like_one_left_alone(
    alone: tuple[FolderProcess, dict[str, str]], tmp_path: Path
) -> None:
    moments = random.Random(5)
    left_alone, expected = alone
    run = replace(left_alone, output=tmp_path / "out", log=tmp_path / "log")
    killed = 0
    for _ in range(KILLS):
        finished = reported(run.output)
        if len(finished) == len(NAMES):
            break
        run.log.unlink(missing_ok=True)
        process = run.start()
        while not run.computed() and process.poll() is None:
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.8))
        killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
        left = written(run.output)
        assert {name: expected[name] for name in left} == left, "something half-written lies under a final name"
        for name in reported(run.output):
            assert {n for n in expected if Path(n).name.startswith(name)} <= set(left)
    assert killed
    finished = reported(run.output)
    run.log.unlink(missing_ok=True)
    code, errors = run.finish()
    assert code == 0, errors
    assert not finished & set(run.computed()), "a finished case was computed again"
    assert written(run.output) == expected
    assert not [path for path in run.output.rglob("*") if is_leftover(path)]


@pytest.mark.parametrize("alone", ["infer"], indirect=True)
def test_parts_of_a_raw_folder_make_together_what_one_run_makes(
    alone: tuple[FolderProcess, dict[str, str]], tmp_path: Path
) -> None:
    left_alone, expected = alone
    done: list[str] = []
    for part in ("1/2", "2/2"):
        log = tmp_path / f"log-{part[0]}"
        run = replace(left_alone, output=tmp_path / "out", log=log, options=(*left_alone.options, "--shard", part))
        code, errors = run.finish()
        assert code == 0, errors
        done += run.computed()
        assert (tmp_path / "out" / f"summary-{part[0]}-of-2.json").exists()
    assert sorted(done) == NAMES
    assert written(tmp_path / "out") == expected


@pytest.mark.parametrize("alone", ["infer"], indirect=True)
def test_a_watched_raw_folder_makes_of_each_case_what_a_plain_run_makes(
    alone: tuple[FolderProcess, dict[str, str]], tmp_path: Path
) -> None:
    left_alone, expected = alone
    watching = ("--watch", "--settle", "0", "--poll", "0.1", "--stop-after-idle", "0.5")
    run = replace(left_alone, output=tmp_path / "out", log=tmp_path / "log", options=(*left_alone.options, *watching))
    code, errors = run.finish()
    assert code == 0, errors
    assert written(run.output) == expected


@pytest.fixture
def by_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (pairs, pose):
        monkeypatch.setattr(module, "register", header_registration)


def preprocess(cases: Path, output: Path, strip: Path, *options: str) -> Result:
    arguments = ["preprocess", str(cases), str(output), "--strip-bundle", str(strip), "--warn", "--no-preview"]
    return CliRunner().invoke(app, [*arguments, *options])


def test_preprocessed_cases_have_images_of_brats_a_brain_mask_on_the_t1ce_and_a_report(
    by_headers: None, cases: Path, strip: Path, tmp_path: Path
) -> None:
    case = NAMES[0]
    result = preprocess(cases / case, tmp_path, strip)
    assert result.exit_code == 0, result.output
    images = [nib.load(path) for path in sorted((tmp_path / "aligned" / case).iterdir())]
    assert [Path(image.get_filename()).name for image in images] == [
        f"{case}_{name}.nii.gz" for name in ("flair", "t1", "t1ce", "t2")
    ]
    assert {image.shape for image in images} == {(240, 240, 155)}
    assert len({image.affine.tobytes() for image in images}) == 1
    t1ce, mask = nib.load(cases / case / f"{case}_t1ce.nii.gz"), nib.load(tmp_path / f"{case}.nii.gz")
    brain = np.asarray(mask.dataobj)
    assert mask.shape == t1ce.shape
    assert np.array_equal(mask.affine, t1ce.affine)
    assert set(np.unique(brain)) == {0, 1}
    report = json.loads((tmp_path / f"{case}.json").read_text())
    assert report["mask"]["values"] == {"BACKGROUND": 0, "BRAIN": 1}
    assert report["volumes_ml"]["brain"] == pytest.approx(brain.sum() * 0.125, abs=0.01)
    assert report["bundle"] is report["engine"] is report["cleaning"] is None
    assert report["raw"]["way"] == "registered and stripped"
    assert report["settings"]["raw"]["pose"] == "sri24"
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["done"], summary["refused"], summary["bundle"]) == (1, 0, None)
    assert (tmp_path / "summary.csv").read_text().startswith("case_id,status,brain_ml,")


def test_preprocessing_again_keeps_what_is_finished_and_another_pose_makes_it_anew(
    by_headers: None, cases: Path, strip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert preprocess(cases / NAMES[0], out, strip).exit_code == 0
    before = written(out)
    assert f"keep {NAMES[0]}" in preprocess(cases / NAMES[0], out, strip, "--dry-run").output
    assert "done before" in preprocess(cases / NAMES[0], out, strip).output
    assert written(out) == before
    planned = preprocess(cases / NAMES[0], out, strip, "--dry-run", "--pose", "native").output
    assert f"compute {NAMES[0]}: raw was" in planned
    (out / "aligned" / NAMES[0] / f"{NAMES[0]}_t2.nii.gz").write_bytes(b"")
    planned = preprocess(cases / NAMES[0], out, strip, "--dry-run").output
    assert f"{NAMES[0]}_t2.nii.gz is not the file that its report describes" in planned


def test_preprocess_writes_the_very_images_that_infer_keeps(
    by_headers: None, cases: Path, strip: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    case = cases / NAMES[1]
    assert preprocess(case, tmp_path / "pre", strip, "--pose", "native").exit_code == 0
    arguments = ["infer", "folder", str(case), str(tmp_path / "seg"), "--model", str(tiny_bundle), "--no-preview"]
    raw = ["--raw", "--keep-aligned", "--warn", "--strip-bundle", str(strip)]
    result = CliRunner().invoke(app, [*arguments, *raw])
    assert result.exit_code == 0, result.output
    kept = {name: found for name, found in written(tmp_path / "seg").items() if name.startswith("aligned")}
    assert len(kept) == 4
    assert kept == {name: found for name, found in written(tmp_path / "pre").items() if name.startswith("aligned")}


def test_a_case_that_is_refused_is_named_the_others_are_done_and_the_exit_code_is_3(
    by_headers: None, cases: Path, strip: Path, tmp_path: Path
) -> None:
    mixed = tmp_path / "mixed"
    write_raw_case(mixed, "Good", 7)
    lacking = write_raw_case(mixed, "Lacking", 8)
    (lacking / "Lacking_flair.nii.gz").unlink()
    result = preprocess(mixed, tmp_path / "out", strip)
    assert result.exit_code == 3
    assert "refused Lacking" in result.output
    assert reported(tmp_path / "out") == {"Good"}
    assert preprocess(mixed, tmp_path / "out", strip, "--allow-missing", "flair").exit_code == 0
    assert reported(tmp_path / "out") == {"Good", "Lacking"}
