"""The golden case is drawn, small, the same every time, and shows a network all that it was trained on."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from eenet_export.gate.golden import POSITIONS, describe_golden, draw_head, make_golden, write_golden
from eenet_runtime.bundle.manifest import TIE
from eenet_runtime.errors import ExportError, OutputError
from eenet_runtime.selftest.golden import STEPS_PER_UNIT, expand, golden_from_bytes
from eenet_runtime.volumes.labels import CHANNEL_ORDER, Label, Modality
from eenet_runtime.volumes.presets import EENET_108, EENET_144, EENET_FAST, GeometryPreset
from tests.golden import add_golden
from tests.synthetic import BIAS, CLASSIFIER, TINY, write_bundle

ALL = (EENET_144, EENET_108, EENET_FAST, TINY)


def classify(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """The classifier of `tests.synthetic`, in NumPy."""
    powers = np.exp(volume @ CLASSIFIER + BIAS)
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float32)


@pytest.mark.parametrize("preset", ALL, ids=lambda preset: preset.name)
def test_the_head_fills_every_geometry_and_is_normalised_like_a_case(preset: GeometryPreset) -> None:
    coarse, repeats = draw_head(preset, 0)
    volume = expand(coarse, repeats)
    assert volume.shape == (*preset.shape, 4)
    inside = (volume != 0).any(axis=-1)
    assert 0.2 < inside.mean() < 0.5
    assert not inside[0].any()
    assert not inside[:, -1].any()
    for channel in range(4):
        assert abs(volume[inside][:, channel].mean()) < 0.05
        assert abs(volume[inside][:, channel].std() - 1) < 0.1
    assert np.abs(coarse.astype(int)).max() < 127, "nothing is clipped"


def test_the_tumour_looks_like_one_in_every_modality() -> None:
    coarse, _ = draw_head(EENET_FAST, 0)
    values = coarse.astype(np.float64) / STEPS_PER_UNIT
    channel = {modality: index for index, modality in enumerate(CHANNEL_ORDER)}
    rim = values[..., channel[Modality.T1CE]] > 2
    bright = values[..., channel[Modality.FLAIR]] > 1.5
    assert 0.005 < rim.mean() < 0.05
    assert bright.sum() > 2 * rim.sum(), "the oedema is larger than the rim"
    dark_in_t1ce = values[..., channel[Modality.T1CE]] < -0.5
    assert (bright | rim)[:, 24:].sum() != (bright | rim)[:, :24].sum(), "left and right differ"
    core = dark_in_t1ce & (values[..., channel[Modality.T2]] > 1)
    assert core.sum() > 0.1 * rim.sum()


def test_the_same_seed_gives_the_same_bytes_and_another_one_another_head(tmp_path: Path) -> None:
    contents = []
    for index, seed in enumerate((0, 0, 1)):
        write_golden(make_golden(TINY, classify, seed), tmp_path / f"{index}.npz")
        contents.append((tmp_path / f"{index}.npz").read_bytes())
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    case = make_golden(TINY, classify)
    write_golden(case, tmp_path / "golden.npz")
    read = golden_from_bytes((tmp_path / "golden.npz").read_bytes(), TINY, "golden.npz")
    assert read.repeats == case.repeats
    for name in ("coarse", "labels", "ties", "positions", "probabilities"):
        assert np.array_equal(getattr(read, name), getattr(case, name)), name


def test_a_full_size_case_is_a_few_hundred_kilobytes(tmp_path: Path) -> None:
    write_golden(make_golden(EENET_144, classify), tmp_path / "golden.npz")
    assert 50_000 < (tmp_path / "golden.npz").stat().st_size < 300_000


def test_probabilities_are_kept_of_every_class_that_was_found() -> None:
    case = make_golden(EENET_FAST, classify)
    at_positions = case.labels.ravel()[case.positions]
    assert len(case.positions) == POSITIONS
    assert np.bincount(at_positions).tolist() == [POSITIONS // 4] * 4
    assert np.array_equal(case.probabilities.argmax(axis=-1), at_positions)
    assert min(case.voxels_by_class().values()) > 500
    assert all(f"{label.name} {count}" in describe_golden(case) for label, count in case.voxels_by_class().items())


def test_voxels_that_may_go_either_way_are_marked() -> None:
    def torn(volume: NDArray[np.float32]) -> NDArray[np.float32]:
        probabilities = np.zeros((*volume.shape[:3], 4), dtype=np.float32)
        probabilities[..., Label.BACKGROUND] = 0.6
        probabilities[..., Label.ED] = 0.4
        probabilities[:8, ..., Label.BACKGROUND] = 0.5 + 0.4 * TIE
        probabilities[:8, ..., Label.ED] = 0.5 - 0.4 * TIE
        return probabilities

    ties = make_golden(TINY, torn).ties
    assert ties[:8].all()
    assert not ties[8:].any()


def test_a_model_that_computes_nonsense_gets_no_golden_case() -> None:
    with pytest.raises(ExportError, match="golden case"):
        make_golden(TINY, lambda volume: classify(volume) * np.float32("nan"))
    with pytest.raises(ExportError, match="golden case"):
        make_golden(TINY, lambda volume: classify(volume)[..., :3])


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"golden\.npz: cannot be written"):
        write_golden(make_golden(TINY, classify), tmp_path / "nowhere" / "golden.npz")
    assert list(tmp_path.iterdir()) == []


def test_no_image_and_no_path_of_anybody_is_in_the_file(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    add_golden(folder)
    content = (folder / "golden.npz").read_bytes()
    assert str(tmp_path).encode() not in content
    shutil.rmtree(folder)
    # The input depends on nothing but the geometry and the seed.
    assert np.array_equal(draw_head(TINY, 0)[0], golden_from_bytes(content, TINY, "golden.npz").coarse)
