"""Every refusal that a user can meet: one line, the right exit code, no traceback, no file that looks like a mask."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eenet_runtime.volumes.labels import Modality
from tests.synthetic import Head, edit_manifest, make_head, write_bundle, write_case, write_volume

PROGRAM = Path(sys.executable).with_name("eenet-run")


def _run(*arguments: object, code: str = "") -> subprocess.CompletedProcess[str]:
    start = [sys.executable, "-c", f"import sys\n{code}\nfrom eenet_runtime.cli import main\nmain()"]
    return subprocess.run([*start, *map(str, arguments)], capture_output=True, text=True, check=False)


def _replace(name: str, change: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda folder: change(folder / "Bad" / f"Bad_{name}.nii.gz")


def _write(image: Callable[[Head], np.ndarray]) -> Callable[[Path], None]:
    head = make_head()
    return lambda path: (write_volume(path, image(head), head.affine), None)[1]


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _other_grid(path: Path) -> None:
    head = make_head()
    write_volume(path, head.images[Modality.T2], head.affine + np.diag([0, 0, 0.2, 0]))


def _with_nan(head: Head) -> np.ndarray:
    image = head.images[Modality.T2].astype(np.float32)
    image[20, 20, 10] = np.nan
    return image


BAD_CASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a missing modality": (_replace("t2", Path.unlink), "t2 missing for case Bad"),
    "different grids": (_replace("t2", _other_grid), "Bad_t2.nii.gz: t2 lies on another grid"),
    "a 4D file": (
        _replace("t2", _write(lambda head: np.stack([head.images[Modality.T2]] * 3, axis=-1))),
        "Bad_t2.nii.gz: 3 channels found, expected one 3D image",
    ),
    "a truncated gzip": (_replace("t2", _truncate), "Bad_t2.nii.gz: damaged or truncated"),
    "a text file": (
        _replace("t2", lambda path: (path.write_text("hello"), None)[1]),
        "Bad_t2.nii.gz: not a NIfTI file",
    ),
    "a zipped text": (
        _replace("t2", lambda path: (path.write_bytes(gzip.compress(b"hello" * 200)), None)[1]),
        "Bad_t2.nii.gz: not a NIfTI file",
    ),
    "all zeros": (
        _replace("t2", _write(lambda head: np.zeros(head.shape, np.int16))),
        "Bad_t2.nii.gz: all voxels are 0",
    ),
    "NaN": (_replace("t2", _write(_with_nan)), "Bad_t2.nii.gz: 1 voxel"),
    "a constant image": (
        _replace("t2", _write(lambda head: np.where(head.images[Modality.T2] != 0, 7, 0).astype(np.int16))),
        "Bad_t2.nii.gz: every non-zero voxel is 7",
    ),
}


@pytest.mark.parametrize("what", BAD_CASES)
def test_a_bad_case_is_refused_with_its_reason_and_the_good_one_is_done(
    what: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    damage, reason = BAD_CASES[what]
    for name in ("Bad", "Good"):
        write_case(tmp_path / "cases", name, make_head(), label=False)
    damage(tmp_path / "cases")
    output = tmp_path / "masks"
    output.mkdir()
    (output / "Bad.nii.gz").write_bytes(b"a mask of an earlier run")
    finished = _run("infer", "folder", tmp_path / "cases", output, "--model", tiny_bundle, "--quiet")
    assert finished.returncode == 3, finished.stderr
    (line,) = finished.stderr.strip().splitlines()
    assert line.startswith("refused Bad: ")
    assert reason in line
    left = {path.name for path in output.iterdir()}
    assert left == {"Good.nii.gz", "Good.json", "Good.png", "summary.json", "summary.csv"}
    summary = json.loads((output / "summary.json").read_text())
    assert (summary["done"], summary["refused"]) == (1, 1)


def _changed_byte(bundle: Path) -> None:
    path = bundle / "model.onnx.data"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_changed_byte, "model.onnx.data"),
        (lambda bundle: edit_manifest(bundle, {"schema_version": 3}), "schema version 3 found"),
    ],
)
def test_a_bad_bundle_is_refused_before_anything_is_written(
    damage: Callable[[Path], None], reason: str, tmp_path: Path
) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    damage(bundle)
    write_case(tmp_path / "cases", "A", make_head())
    finished = _run("infer", "folder", tmp_path / "cases", tmp_path / "masks", "--model", bundle)
    _expect_one_line(finished, reason)
    assert not (tmp_path / "masks").exists()


def test_no_engine_is_one_line_that_says_what_to_install(tiny_bundle: Path, tmp_path: Path) -> None:
    write_case(tmp_path / "cases", "A", make_head())
    arguments = ("infer", "folder", tmp_path / "cases", tmp_path / "masks", "--model", tiny_bundle)
    finished = _run(*arguments, code="sys.modules['onnxruntime'] = sys.modules['openvino'] = None")
    _expect_one_line(finished, 'pip install "eenet[cpu]"')
    assert not (tmp_path / "masks").exists()


def test_an_output_folder_that_cannot_be_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    write_case(tmp_path / "cases", "A", make_head())
    (tmp_path / "masks").write_text("a file")
    finished = _run("infer", "folder", tmp_path / "cases", tmp_path / "masks", "--model", tiny_bundle)
    _expect_one_line(finished, "a file stands where the output folder should be")


def test_a_full_disk_stops_the_run_and_leaves_nothing_half_written(tiny_bundle: Path, tmp_path: Path) -> None:
    write_case(tmp_path / "cases", "A", make_head())
    # The system refuses files above this size as it refuses them on a full disk: the write itself fails.
    code = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))"
    arguments = ("infer", "folder", tmp_path / "cases", tmp_path / "masks", "--model", tiny_bundle, "--quiet")
    finished = _run(*arguments, code=code)
    _expect_one_line(finished, "A.nii.gz: cannot be written")
    assert list((tmp_path / "masks").iterdir()) == []


def test_a_result_never_replaces_an_input(tiny_bundle: Path, tmp_path: Path) -> None:
    write_case(tmp_path, "A", make_head())
    paths = {name: tmp_path / "A" / f"A_{name}.nii.gz" for name in ("t1", "t1ce", "t2", "flair")}
    before = paths["t1"].read_bytes()
    options = [part for name, path in paths.items() for part in (f"--{name}", path)]
    finished = _run("infer", "case", *options, "--output", paths["t1"], "--model", tiny_bundle)
    _expect_one_line(finished, "would replace an input")
    assert paths["t1"].read_bytes() == before


def _expect_one_line(finished: subprocess.CompletedProcess[str], reason: str) -> None:
    assert finished.returncode == 2, finished.stderr
    (line,) = finished.stderr.strip().splitlines()
    assert reason in line
