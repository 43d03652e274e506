"""Fixtures that several tests of the training share."""

from __future__ import annotations

import numpy as np
import pytest

from eenet_runtime.labels import Label
from eenet_train.data import FULL, PreparedCase
from tests.synthetic import TINY_2MM


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
