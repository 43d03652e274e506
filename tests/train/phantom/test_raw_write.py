"""Folders of raw phantoms: layout, truth.json, resume, nothing half-written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("nilearn", reason="phantoms need the template that nilearn brings")

from eenet_runtime import find_cases
from eenet_runtime.errors import OutputError
from eenet_runtime.files.atomic import write_atomically
from eenet_runtime.volumes.labels import Modality
from eenet_train.phantom.nifti import write_nifti
from eenet_train.phantom.raw import SMALL, RawPhantom, RawSettings, make_raw_phantom, write
from eenet_train.phantom.raw.write import is_complete, write_raw_phantoms
from eenet_train.phantom.write import PhantomDone

CASE = "PhantomRawSmall_0005_{:04d}"


@pytest.fixture(scope="module")
def phantom() -> RawPhantom:
    return make_raw_phantom(5, 0, SMALL)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, phantom: RawPhantom) -> list[int]:
    """Replace the generator by one head under every name; the list holds the indices that were made."""
    made: list[int] = []

    def make(seed: int, index: int, settings: RawSettings) -> RawPhantom:
        made.append(index)
        parts = {name: getattr(phantom, name) for name in ("series", "grid", "brain", "labels", "tissue")}
        return RawPhantom(CASE.format(index), **parts)

    monkeypatch.setattr(write, "make_raw_phantom", make)
    return made


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_cases_are_discovered_and_the_truth_lies_apart(quick: list[int], tmp_path: Path) -> None:
    names = write_raw_phantoms(tmp_path, cases=2, seed=5, settings=SMALL)
    found = find_cases(tmp_path / "cases")
    assert [case.case_id for case in found.cases] == names == [CASE.format(0), CASE.format(1)]
    assert not found.refused
    assert all(set(case.images) == set(Modality) and case.label is None for case in found.cases)
    assert len(list((tmp_path / "truth" / names[0]).iterdir())) == 11
    assert "McConnell Brain Imaging Centre" in (tmp_path / "NOTICE.md").read_text()


def test_truth_json_tells_matrices_grids_and_what_each_series_is(
    quick: list[int], phantom: RawPhantom, tmp_path: Path
) -> None:
    (name,) = write_raw_phantoms(tmp_path, cases=1, seed=5, settings=SMALL)
    truth = json.loads((tmp_path / "truth" / name / "truth.json").read_text())
    assert truth["made_with"]["seed"] == 5
    assert truth["made_with"]["settings"]["voxel_mm"] == 4
    for modality, series in phantom.series.items():
        told = truth["series"][modality.value]
        np.testing.assert_array_equal(told["t1ce_to_series"], series.t1ce_to_series)
        image = nib.load(tmp_path / "cases" / name / f"{name}_{modality.value}.nii.gz")
        np.testing.assert_array_equal(told["affine"], image.affine)
        assert image.header.get_data_dtype() == np.int16
        assert told["shape"] == list(image.shape)
        assert told["orientation"] in ("axial", "sagittal", "coronal")
        for what, values in (("brain", series.brain), ("seg", series.labels > 0)):
            stored = nib.load(tmp_path / "truth" / name / f"{name}_{modality.value}_{what}.nii.gz")
            np.testing.assert_allclose(stored.affine, image.affine, atol=1e-5)
            np.testing.assert_array_equal(np.asarray(stored.dataobj) > 0, values)


def test_finished_cases_are_kept_and_incomplete_ones_made_again(quick: list[int], tmp_path: Path) -> None:
    names = write_raw_phantoms(tmp_path, cases=3, seed=5, settings=SMALL)
    before = tree(tmp_path)
    (tmp_path / "cases" / names[0] / f"{names[0]}_t2.nii.gz").unlink()
    (tmp_path / "truth" / names[2] / f"{names[2]}_t2_seg.nii.gz").unlink()
    quick.clear()
    seen: list[PhantomDone] = []
    write_raw_phantoms(tmp_path, cases=3, seed=5, settings=SMALL, progress=seen.append)
    assert sorted(quick) == [0, 2]
    assert tree(tmp_path) == before
    assert {done.case_id for done in seen if done.reused} == {names[1]}


@pytest.mark.parametrize("breaks", ["truth.json", "phantom_seg", "_t2.nii"])
def test_a_run_that_breaks_leaves_no_half_written_case(
    breaks: str, quick: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def guarded(writer: object) -> object:
        def run(path: Path, *arguments: object) -> None:
            if breaks in path.name:
                raise OSError(28, "No space left on device", str(path))
            writer(path, *arguments)  # type: ignore[operator]

        return run

    with monkeypatch.context() as patch:
        patch.setattr(write, "write_atomically", guarded(write_atomically))
        patch.setattr(write, "write_nifti", guarded(write_nifti))
        with pytest.raises(OutputError, match="No space left on device"):
            write_raw_phantoms(tmp_path, cases=1, seed=5, settings=SMALL)
    assert not is_complete(tmp_path, CASE.format(0))
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "NOTICE.md"]
    write_raw_phantoms(tmp_path, cases=1, seed=5, settings=SMALL)
    assert is_complete(tmp_path, CASE.format(0))


@pytest.mark.parametrize(("cases", "seed", "workers"), [(0, 1, 1), (1, -1, 1), (1, 1, 0)])
def test_impossible_numbers_are_refused(cases: int, seed: int, workers: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must"):
        write_raw_phantoms(tmp_path, cases=cases, seed=seed, workers=workers)
