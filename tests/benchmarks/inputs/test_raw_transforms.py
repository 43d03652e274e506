"""The study of known transforms: what is measured of a right and of a wrong registration, and what is kept."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from eenet_bench.inputs import raw_transforms
from eenet_bench.inputs.raw_transforms import KINDS, TransformRow, study_transforms, transform_tables
from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.cases.discovery import find_cases
from eenet_runtime.errors import DatasetError
from eenet_runtime.files.nifti import Volume
from eenet_runtime.heads.registration import Registration, RegistrationQuality
from tests.raw_cases import write_raw_case

SHARP = RegistrationQuality(1.3, 0.08, 0.1, 12, 12, 0.95, 150.0)
FLAT = RegistrationQuality(1.1, 0.002, 0.006, 12, 12, 0.95, 150.0)


@pytest.fixture
def phantoms(tmp_path: Path) -> tuple[list[CaseFiles], Path]:
    """Two cases whose series lie where their headers say, with their truth."""
    for seed, name in enumerate(("A", "B")):
        case = write_raw_case(tmp_path / "cases", name, seed)
        folder = tmp_path / "truth" / name
        folder.mkdir(parents=True)
        series = {kind: {"t1ce_to_series": np.eye(4).tolist(), "slab_mm": None} for kind in ("t1", "t2", "flair")}
        (folder / "truth.json").write_text(json.dumps({"series": series}))
        t1ce = nib.load(case / f"{name}_t1ce.nii.gz")
        brain = (np.asarray(t1ce.dataobj) > 20).astype(np.uint8)
        nib.save(nib.Nifti1Image(brain, t1ce.affine), folder / f"{name}_t1ce_brain.nii.gz")
    return list(find_cases(tmp_path / "cases").cases), tmp_path / "truth"


def found(offset_mm: float, quality: RegistrationQuality, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Let registration believe unmoved headers, or miss them along one axis; the headers that it was shown."""
    headers: list[np.ndarray] = []

    def register(fixed: Volume, moving: Volume, **options: object) -> Registration:
        headers.append(moving.grid.affine)
        matrix = np.eye(4)
        matrix[0, 3] = offset_mm
        return Registration(matrix, quality, "native", 0.0)

    monkeypatch.setattr(raw_transforms, "register", register)
    return headers


def test_a_registration_that_finds_the_truth_has_no_error_and_one_that_misses_it_in_silence_is_named(
    phantoms: tuple[list[CaseFiles], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases, truth = phantoms
    found(0.0, SHARP, monkeypatch)
    rows = study_transforms(cases, truth, tmp_path / "right.jsonl")
    right = [row for row in rows if row.kind == "as scanned"]
    assert [row.largest_mm for row in right] == pytest.approx([0, 0])
    assert not any(row.is_missed for row in right)
    found(5.0, SHARP, monkeypatch)
    rows = study_transforms(cases, truth, tmp_path / "wrong.jsonl")
    wrong = [row for row in rows if row.kind == "as scanned"]
    assert [row.mean_mm for row in wrong] == pytest.approx([5, 5])
    assert all(row.is_missed for row in wrong)
    assert "A as scanned (t1): wrong by 5.0 mm, nothing said" in transform_tables(rows)
    found(5.0, FLAT, monkeypatch)
    rows = study_transforms(cases, truth, tmp_path / "told.jsonl")
    assert not any(row.is_missed for row in rows)
    assert {row.rules["registration-peak"] for row in rows} == {"certain"}


def test_another_patients_series_has_no_truth_and_must_be_doubted(
    phantoms: tuple[list[CaseFiles], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases, truth = phantoms
    found(0.0, SHARP, monkeypatch)
    rows = study_transforms(cases, truth, tmp_path / "lines.jsonl")
    strangers = [row for row in rows if row.kind.startswith("another patient's")]
    assert {(row.case_id, row.moving) for row in strangers} == {(c, m) for c in "AB" for m in ("t1", "t2", "flair")}
    assert all(row.mean_mm is None and row.is_missed for row in strangers)


def test_the_kinds_do_to_a_series_what_they_say(
    phantoms: tuple[list[CaseFiles], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases, truth = phantoms
    found(0.0, SHARP, monkeypatch)
    by_kind: dict[str, list[TransformRow]] = {}
    for row in study_transforms(cases, truth, tmp_path / "lines.jsonl"):
        by_kind.setdefault(row.kind, []).append(row)
    kinds = {kind.name: kind for kind in KINDS}
    for name, rows in by_kind.items():
        kind = kinds[name]
        for row in rows:
            if kind.stranger is None:
                assert kind.degrees[0] - 1e-6 <= row.degrees <= kind.degrees[1] + 1e-6
            if kind.slab_mm is not None:
                assert row.slab_mm is not None
                # To whole slices.
                assert kind.slab_mm[0] - 4 <= row.slab_mm <= kind.slab_mm[1] + 4


def test_a_study_that_was_stopped_goes_on_and_registers_nothing_twice(
    phantoms: tuple[list[CaseFiles], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases, truth = phantoms
    headers = found(0.0, SHARP, monkeypatch)
    lines = tmp_path / "lines.jsonl"
    study_transforms(cases[:1], truth, lines)
    assert len(headers) == len(KINDS)
    lines.write_text(lines.read_text() + '{"case_id": "B", "ki')
    rows = study_transforms(cases, truth, lines)
    assert len(headers) == 2 * len(KINDS)
    assert len(rows) == 2 * len(KINDS)
    study_transforms(cases, truth, lines)
    assert len(headers) == 2 * len(KINDS)


def test_a_phantom_without_its_truth_is_refused_by_name(
    phantoms: tuple[list[CaseFiles], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases, truth = phantoms
    (truth / "A" / "truth.json").unlink()
    with pytest.raises(DatasetError, match=r"A/truth\.json: no truth found"):
        study_transforms(cases, truth, tmp_path / "lines.jsonl")
