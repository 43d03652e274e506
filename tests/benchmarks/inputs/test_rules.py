"""The small parts of the study of the input checks: what a variant is, and what a table says of one."""

from __future__ import annotations

import numpy as np
import pytest

from eenet_bench.inputs.input_checks import InputCheckStudy, VariantRow, input_check_tables
from eenet_bench.inputs.input_faults import cut_to_head, variants
from eenet_runtime.volumes.labels import Modality
from tests.brain import make_brain


@pytest.mark.parametrize("margin", [2, 1000])
def test_a_case_is_cut_to_its_head_and_never_beyond_its_grid(margin: int) -> None:
    images = make_brain()
    head = np.any([volume.data != 0 for volume in images.volumes.values()], axis=0)
    places = np.argwhere(head)
    expected = np.minimum(places.max(axis=0) + 1 + margin, head.shape) - np.maximum(places.min(axis=0) - margin, 0)
    cut, labels = cut_to_head(images, head.astype(np.uint8), margin)
    assert labels is not None
    assert cut.grid.shape == labels.shape == tuple(expected)
    assert np.array_equal(labels != 0, np.any([volume.data != 0 for volume in cut.volumes.values()], axis=0))
    # The voxels stay where they were in the patient.
    corner = np.append(np.maximum(places.min(axis=0) - margin, 0), 1)
    assert np.allclose(cut.grid.affine[:, 3], images.grid.affine @ corner)


def test_images_are_moved_by_2_4_8_and_12_mm() -> None:
    names = [variant.name for variant in variants(make_brain(), None, np.random.default_rng(0))]
    moved = {name for name in names if "moved by" in name}
    assert moved == {f"{modality.value} moved by {mm} mm" for modality in Modality for mm in (2, 4, 8, 12)}


def test_a_table_names_the_rules_that_spoke_and_has_a_dash_for_none() -> None:
    silent = VariantRow("silent", (), cases=3)
    alarmed = VariantRow("alarmed", (), cases=3, others={"negative": 1, "coverage": 2})
    table = input_check_tables(InputCheckStudy((silent, alarmed), (), (), (1.0,)))
    cells = {line.split()[0]: line.split(maxsplit=2)[2] for line in table.splitlines() if line.startswith(("si", "al"))}
    assert cells["silent"].strip() == "-"
    assert cells["alarmed"].strip() == "coverage 2, negative 1"
