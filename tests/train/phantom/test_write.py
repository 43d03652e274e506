"""Folders of phantoms in the four layouts; one small stand-in phantom, except where the real one matters."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from eenet_runtime.errors import OutputError
from eenet_runtime.volumes.labels import Label, Modality
from eenet_train.phantom import write
from eenet_train.phantom.layouts import PhantomLayout, case_files, is_complete, write_case, write_dataset_json
from eenet_train.phantom.nifti import nifti_bytes, write_nifti
from eenet_train.phantom.settings import BRATS_AFFINE, Phantom, PhantomSettings
from eenet_train.phantom.write import PhantomDone, write_phantoms

SHAPE = (6, 5, 4)


def tiny_phantom(seed: int, index: int, settings: PhantomSettings | None = None) -> Phantom:
    """A phantom of a few voxels that holds every class; stands in for the real generator."""
    rng = np.random.default_rng((seed, index))
    labels = rng.integers(0, 4, SHAPE).astype(np.uint8)
    labels.flat[:4] = list(Label)
    images = {modality: rng.integers(1, 1000, SHAPE).astype(np.int16) for modality in Modality}
    return Phantom(f"Phantom_{seed:04d}_{index:04d}", images, labels, BRATS_AFFINE.copy())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replace the generator; the list holds the indices that were made."""
    made: list[int] = []

    def make(seed: int, index: int, settings: PhantomSettings | None = None) -> Phantom:
        made.append(index)
        return tiny_phantom(seed, index)

    monkeypatch.setattr(write, "make_phantom", make)
    return made


EXPECTED_FILES = {
    PhantomLayout.BRATS2020: ["{0}/{0}_t1", "{0}/{0}_t1ce", "{0}/{0}_t2", "{0}/{0}_flair", "{0}/{0}_seg"],
    PhantomLayout.BRATS2023: ["{0}/{0}-t1n", "{0}/{0}-t1c", "{0}/{0}-t2w", "{0}/{0}-t2f", "{0}/{0}-seg"],
    PhantomLayout.MSD: ["imagesTr/{0}", "labelsTr/{0}"],
    PhantomLayout.NNUNET: [*(f"imagesTr/{{0}}_000{channel}" for channel in range(4)), "labelsTr/{0}"],
}
FILE_VALUES = {
    PhantomLayout.BRATS2020: {Label.NCR: 1, Label.ED: 2, Label.ET: 4},
    PhantomLayout.BRATS2023: {Label.NCR: 1, Label.ED: 2, Label.ET: 3},
    PhantomLayout.MSD: {Label.NCR: 2, Label.ED: 1, Label.ET: 3},
    PhantomLayout.NNUNET: {Label.NCR: 1, Label.ED: 2, Label.ET: 3},
}


def load(path: Path) -> NDArray[np.generic]:
    return np.asanyarray(nib.load(path).dataobj)


def tree(folder: Path) -> dict[str, str]:
    """Relative path and SHA-256 of every file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("layout", PhantomLayout)
def test_each_layout_has_its_own_names(layout: PhantomLayout, tmp_path: Path) -> None:
    write_case(tiny_phantom(1, 2), tmp_path, layout)
    expected = {f"{name.format('Phantom_0001_0002')}.nii.gz" for name in EXPECTED_FILES[layout]}
    assert set(tree(tmp_path)) == expected
    assert {str(file) for file in case_files("Phantom_0001_0002", layout)} == expected


@pytest.mark.parametrize("layout", PhantomLayout)
def test_each_layout_has_its_own_label_values(layout: PhantomLayout, tmp_path: Path) -> None:
    phantom = tiny_phantom(1, 2)
    write_case(phantom, tmp_path, layout)
    stored = load(tmp_path / case_files(phantom.case_id, layout)[-1])
    assert stored.dtype == np.uint8
    np.testing.assert_array_equal(stored == 0, phantom.labels == 0)
    for label, value in FILE_VALUES[layout].items():
        np.testing.assert_array_equal(stored == value, phantom.labels == label)


@pytest.mark.parametrize("layout", [PhantomLayout.BRATS2020, PhantomLayout.BRATS2023, PhantomLayout.NNUNET])
def test_one_file_for_each_modality_in_the_networks_order(layout: PhantomLayout, tmp_path: Path) -> None:
    phantom = tiny_phantom(1, 2)
    write_case(phantom, tmp_path, layout)
    for file, modality in zip(case_files(phantom.case_id, layout), Modality, strict=False):
        stored = load(tmp_path / file)
        assert stored.dtype == np.int16
        np.testing.assert_array_equal(stored, phantom.images[modality])


def test_decathlon_images_hold_flair_t1_t1gd_t2_in_one_file(tmp_path: Path) -> None:
    phantom = tiny_phantom(1, 2)
    write_case(phantom, tmp_path, PhantomLayout.MSD)
    write_dataset_json(tmp_path, PhantomLayout.MSD)
    stored = load(tmp_path / "imagesTr/Phantom_0001_0002.nii.gz")
    order = (Modality.FLAIR, Modality.T1, Modality.T1CE, Modality.T2)
    np.testing.assert_array_equal(stored, np.stack([phantom.images[modality] for modality in order], axis=-1))
    described = json.loads((tmp_path / "dataset.json").read_text())
    assert described["modality"] == {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
    assert described["labels"]["1"] == "edema"
    assert described["labels"]["3"] == "enhancing tumour"
    assert described["training"] == [
        {"image": "./imagesTr/Phantom_0001_0002.nii.gz", "label": "./labelsTr/Phantom_0001_0002.nii.gz"}
    ]


def test_the_nnunet_description_names_channels_and_labels(tmp_path: Path) -> None:
    write_case(tiny_phantom(1, 2), tmp_path, PhantomLayout.NNUNET)
    write_dataset_json(tmp_path, PhantomLayout.NNUNET)
    described = json.loads((tmp_path / "dataset.json").read_text())
    assert described["channel_names"] == {"0": "T1", "1": "T1ce", "2": "T2", "3": "FLAIR"}
    assert described["labels"] == {"background": 0, "NCR": 1, "ED": 2, "ET": 3}
    assert described["numTraining"] == 1
    assert described["file_ending"] == ".nii.gz"


def test_files_have_the_header_of_brats(tmp_path: Path) -> None:
    write_case(tiny_phantom(1, 2), tmp_path, PhantomLayout.BRATS2020)
    for file in case_files("Phantom_0001_0002", PhantomLayout.BRATS2020):
        image = nib.load(tmp_path / file)
        np.testing.assert_array_equal(image.affine, BRATS_AFFINE)
        header = image.header
        assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 1)
        np.testing.assert_array_equal(image.get_qform(), BRATS_AFFINE)
        assert header.get_zooms() == (1.0, 1.0, 1.0)
        assert header.get_xyzt_units()[0] == "mm"


def test_the_gzip_header_holds_neither_date_nor_name() -> None:
    content = nifti_bytes(np.arange(120, dtype=np.int16).reshape(SHAPE), BRATS_AFFINE)
    assert content[:3] == b"\x1f\x8b\x08"
    assert content[3] == 0  # no flags: no name, no comment
    assert content[4:8] == b"\0\0\0\0"  # no date
    assert len(gzip.decompress(content)) == 352 + 240


def test_cases_do_not_depend_on_number_order_or_batches(quick: list[int], tmp_path: Path) -> None:
    write_phantoms(tmp_path / "all", cases=4, seed=3, layout=PhantomLayout.BRATS2023)
    write_phantoms(tmp_path / "parts", cases=2, seed=3, layout=PhantomLayout.BRATS2023, first_index=2)
    write_phantoms(tmp_path / "parts", cases=2, seed=3, layout=PhantomLayout.BRATS2023)
    assert tree(tmp_path / "all") == tree(tmp_path / "parts")


def test_finished_cases_are_not_made_again_and_incomplete_ones_are(quick: list[int], tmp_path: Path) -> None:
    names = write_phantoms(tmp_path, cases=3, seed=3, layout=PhantomLayout.BRATS2020)
    before = tree(tmp_path)
    (tmp_path / names[1] / f"{names[1]}_t2.nii.gz").unlink()
    quick.clear()
    seen: list[PhantomDone] = []
    again = write_phantoms(tmp_path, cases=4, seed=3, layout=PhantomLayout.BRATS2020, progress=seen.append)
    assert sorted(quick) == [1, 3]
    assert again == [f"Phantom_0003_{index:04d}" for index in range(4)]
    after = tree(tmp_path)
    assert {name: after[name] for name in before} == before
    assert [(done.done, done.total) for done in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert {done.case_id for done in seen if done.reused} == {names[0], names[2]}


@pytest.mark.parametrize("layout", PhantomLayout)
def test_a_run_that_breaks_leaves_no_half_written_case(
    layout: PhantomLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def breaks_on_the_last_file(path: Path, data: NDArray[np.int16], affine: NDArray[np.float64]) -> None:
        calls.append(path)
        if "seg" in path.name or "labelsTr" in path.parts:
            raise OSError(28, "No space left on device", str(path))
        write_nifti(path, data, affine)

    monkeypatch.setattr("eenet_train.phantom.layouts.write_nifti", breaks_on_the_last_file)
    monkeypatch.setattr(write, "make_phantom", tiny_phantom)
    with pytest.raises(OutputError, match="No space left on device"):
        write_phantoms(tmp_path, cases=1, seed=3, layout=layout)
    assert calls
    assert not is_complete(tmp_path, "Phantom_0003_0000", layout)
    assert not [path for path in tmp_path.rglob("*") if "partial" in path.name]

    monkeypatch.setattr("eenet_train.phantom.layouts.write_nifti", write_nifti)
    write_phantoms(tmp_path, cases=1, seed=3, layout=layout)
    assert is_complete(tmp_path, "Phantom_0003_0000", layout)


def test_an_image_that_cannot_be_written_is_an_output_error_that_names_it(tmp_path: Path) -> None:
    target = tmp_path / "missing" / "image.nii.gz"
    with pytest.raises(OutputError, match=r"image\.nii\.gz: cannot be written"):
        write_nifti(target, np.zeros((2, 2, 2), np.int16), np.eye(4))


def test_an_output_that_is_a_file_is_refused(quick: list[int], tmp_path: Path) -> None:
    target = tmp_path / "taken"
    target.write_text("not a folder")
    with pytest.raises(OutputError, match="taken: cannot write phantoms"):
        write_phantoms(target, cases=1, seed=3)
    assert not quick


@pytest.mark.parametrize(("cases", "seed", "workers"), [(0, 1, 1), (1, -1, 1), (1, 1, 0)])
def test_impossible_numbers_are_refused(cases: int, seed: int, workers: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must"):
        write_phantoms(tmp_path, cases=cases, seed=seed, workers=workers)


def test_the_templates_licence_notice_goes_with_the_phantoms(quick: list[int], tmp_path: Path) -> None:
    write_phantoms(tmp_path, cases=1, seed=3)
    assert "McConnell Brain Imaging Centre" in (tmp_path / "NOTICE.md").read_text()


@pytest.mark.slow
def test_two_processes_write_the_same_bytes_as_one(tmp_path: Path) -> None:
    pytest.importorskip("nilearn", reason="phantoms need the template that nilearn brings")
    write_phantoms(tmp_path / "one", cases=2, seed=4, workers=1)
    write_phantoms(tmp_path / "two", cases=2, seed=4, workers=2)
    assert len(tree(tmp_path / "one")) == 11
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
