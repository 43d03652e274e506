"""The degraded mode: a case without a modality, where that was allowed by name and trained for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eenet_runtime.bundle.manifest import Manifest, open_bundle
from eenet_runtime.cases.case_files import case_from_paths
from eenet_runtime.cases.discovery import find_cases
from eenet_runtime.cases.missing_modality import MAY_BE_MISSING, missing_warnings, require_modalities
from eenet_runtime.cases.preprocessing import prepare, read_case
from eenet_runtime.errors import BundleError, CaseError
from eenet_runtime.segmenter.segmenter import Segmenter
from eenet_runtime.volumes.labels import CHANNEL_ORDER, Label, Modality
from tests.synthetic import TINY, Head, case_files, edit_manifest, write_bundle, write_case

T1, T1CE, T2, FLAIR = CHANNEL_ORDER


@pytest.fixture(scope="module")
def dropout_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that says it was trained with modality dropout. Shared: do not change it."""
    return write_bundle(tmp_path_factory.mktemp("bundles") / "dropout", TINY, modality_dropout=0.02)


def test_a_case_that_lacks_an_allowed_modality_is_segmented_and_says_so(
    tmp_path: Path, head: Head, dropout_bundle: Path
) -> None:
    files = case_files(tmp_path, "A", head)
    lacking = replace(files, images={name: files.images[name] for name in (T1, T1CE, FLAIR)})
    with Segmenter(dropout_bundle, threads=1, allow_missing={T2}) as segmenter:
        result, complete = segmenter.segment(lacking), segmenter.segment(files)
    assert any("degraded mode: the t2 is missing" in warning for warning in result.warnings)
    assert not any("degraded" in warning for warning in complete.warnings)
    assert result.labels.shape == head.shape
    # The model tells NCR by its brightness in T2: what is missing is really not there.
    assert np.count_nonzero(result.labels == Label.NCR) != np.count_nonzero(complete.labels == Label.NCR)


@pytest.mark.parametrize("missing", MAY_BE_MISSING)
def test_zeros_stand_in_and_the_other_images_are_as_ever(tmp_path: Path, head: Head, missing: Modality) -> None:
    files = case_files(tmp_path, "A", head)
    complete = prepare(read_case(files), TINY).volume
    lacking = replace(files, images={name: source for name, source in files.images.items() if name is not missing})
    images = read_case(lacking)
    assert images.missing == lacking.missing == (missing,)
    volume = prepare(images, TINY).volume
    for channel, modality in enumerate(CHANNEL_ORDER):
        expected = np.zeros(TINY.shape) if modality is missing else complete[..., channel]
        np.testing.assert_array_equal(volume[..., channel], expected)


def test_a_bundle_that_names_no_modality_dropout_refuses_the_mode(tiny_bundle: Path) -> None:
    with pytest.raises(BundleError, match="t2 allowed to be missing, but its manifest names no training with modality"):
        Segmenter(tiny_bundle, threads=1, allow_missing={T2})


def test_the_t1_can_never_be_missing(dropout_bundle: Path) -> None:
    with pytest.raises(BundleError, match="written on its grid"):
        Segmenter(dropout_bundle, threads=1, allow_missing={T1})
    with pytest.raises(CaseError, match=r"case A: no t1 found, expected all four modalities$"):
        require_modalities("A", {T1CE, T2, FLAIR}, {T1})


def test_what_was_not_allowed_by_name_is_refused(tmp_path: Path, head: Head, dropout_bundle: Path) -> None:
    files = case_files(tmp_path, "A", head)
    lacking = replace(files, images={name: files.images[name] for name in (T1, T1CE, T2)})
    with (
        Segmenter(dropout_bundle, threads=1, allow_missing={T2}) as segmenter,
        pytest.raises(CaseError, match=r"case A: no flair found, expected all four modalities, or all but t2$"),
    ):
        segmenter.segment(lacking)


def test_two_missing_are_refused_even_if_each_is_allowed() -> None:
    with pytest.raises(
        CaseError, match="no t2 and no flair found, expected all four modalities, or all but t2 or flair"
    ):
        require_modalities("A", {T1, T1CE}, {T2, FLAIR})


def test_a_manifest_keeps_what_it_says_of_modality_dropout(dropout_bundle: Path) -> None:
    manifest = open_bundle(dropout_bundle).manifest
    assert manifest.modality_dropout == 0.02
    assert Manifest.from_json(manifest.to_json(), "again") == manifest


def test_a_bundle_of_before_says_no(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "old", TINY, modality_dropout=0.5)
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('  "modality_dropout": 0.5,\n', ""))
    edit_manifest(folder, {})
    assert "modality_dropout" not in path.read_text()
    assert open_bundle(folder).manifest.modality_dropout == 0


@pytest.mark.parametrize("layout", ["brats2020", "brats2023", "nnunet", "flat"])
def test_a_folder_is_searched_for_cases_that_lack_an_allowed_modality(tmp_path: Path, head: Head, layout: str) -> None:
    write_case(tmp_path, "A", head, layout)
    write_case(tmp_path, "B", head, layout)
    whole = {case.case_id: case for case in find_cases(tmp_path).cases}
    whole["A"].images[T2].path.unlink()
    (complete,) = find_cases(tmp_path).cases
    assert complete.case_id == "B"
    assert [refused.case_id for refused in find_cases(tmp_path).refused] == ["A"]
    lacking, complete = find_cases(tmp_path, {T2}).cases
    assert (lacking.missing, complete.missing) == ((T2,), ())
    assert lacking.images == {name: source for name, source in whole["A"].images.items() if name is not T2}
    assert lacking.scheme == whole["A"].scheme
    assert [refused.case_id for refused in find_cases(tmp_path, {FLAIR}).refused] == ["A"]


def test_a_folder_keeps_refusing_a_case_without_t1_or_without_two(tmp_path: Path, head: Head) -> None:
    for case, gone in (("A", (T1,)), ("B", (T2, FLAIR))):
        files = case_files(tmp_path, case, head)
        for modality in gone:
            files.images[modality].path.unlink()
    found = find_cases(tmp_path, set(Modality))
    assert found.cases == ()
    assert [refused.case_id for refused in found.refused] == ["A", "B"]


def test_a_case_can_be_given_by_three_paths(tmp_path: Path, head: Head) -> None:
    files = case_files(tmp_path, "A", head)
    paths = {name: files.images[name].path for name in (T1, T2, FLAIR)}
    assert case_from_paths("A", paths).missing == (T1CE,)


def test_a_warning_names_each_missing_modality() -> None:
    assert missing_warnings(()) == ()
    (warning,) = missing_warnings((FLAIR,))
    assert warning.code == "degraded-mode"
    assert "the flair is missing" in warning.text
    assert "zeros" in warning.text
