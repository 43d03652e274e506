"""Fixtures that several tests of the training share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from eenet_runtime.volumes.labels import Label
from eenet_train.data.data import FULL, PreparedCase, PreparedDataset
from eenet_train.runs.run_folder import RunFolder
from tests.synthetic import TINY_2MM
from tests.train.stand_in import build_stand_in, easy_dataset, short_settings


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreparedCase, ...]:
    """Five cases of random voxels, without the detour over files of images; all have a margin of background."""
    folder = tmp_path_factory.mktemp("drawn")
    cases = []
    for index in range(5):
        rng = np.random.default_rng(index)
        volume = np.zeros((*TINY_2MM.shape, 4), dtype=np.float16)
        target = np.zeros((*TINY_2MM.shape, 4), dtype=np.uint8)
        volume[8:56, 4:50] = rng.normal(0, 1, (48, 46, 24, 4))
        target[..., Label.BACKGROUND] = FULL
        target[40:46, 10:16, 8:16] = np.eye(4, dtype=np.uint8)[rng.integers(0, 4, (6, 6, 8))] * FULL
        case = PreparedCase(f"C{index}", folder / f"{index}.volume.npy", folder / f"{index}.target.npy")
        np.save(case.volume_path, volume)
        np.save(case.target_path, target)
        cases.append(case)
    return tuple(cases)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """Six cases that the stand-in learns in ten steps. Shared: do not change them."""
    return easy_dataset(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def stand_in() -> Iterator[None]:
    """Train four layers instead of EENet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eenet_train.fit.fit.build_eenet", build_stand_in)
        yield


@pytest.fixture(scope="module")
def finished(stand_in: None, dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of five epochs that nothing disturbed. Shared: do not change it."""
    from eenet_train.fit.fit import fit

    run = RunFolder(tmp_path_factory.mktemp("runs") / "finished")
    fit(dataset, run.path, short_settings())
    return run
