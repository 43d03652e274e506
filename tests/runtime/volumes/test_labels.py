"""Network classes and the numbers that files hold for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from eenet_runtime.errors import CaseError
from eenet_runtime.volumes.labels import BRATS2020, LABEL_SCHEMES, Label, LabelScheme

CLASSES = np.random.default_rng(0).integers(0, 4, (5, 6, 7)).astype(np.uint8)


@pytest.mark.parametrize("scheme", LABEL_SCHEMES.values(), ids=lambda scheme: scheme.name)
@pytest.mark.parametrize("dtype", ["u1", "i2", ">i2", "f4", "f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_class_comes_back_from_its_file_value(scheme: LabelScheme, dtype: str, order: Any) -> None:
    values = scheme.to_file(np.array(CLASSES, order=order))
    for label in Label:
        assert (values[label == CLASSES] == scheme.file_values[label]).all()
    stored = values.astype(dtype)
    stored.setflags(write=False)
    found = scheme.from_file(stored, "x")
    np.testing.assert_array_equal(found, CLASSES)
    assert found.dtype == values.dtype == np.uint8
    # As the file lies in memory, so does what becomes of it: nothing is transposed on the way.
    assert found.strides == values.strides == np.zeros((5, 6, 7), np.uint8, order=order).strides


def test_translating_changes_no_argument() -> None:
    labels = CLASSES.copy()
    for scheme in LABEL_SCHEMES.values():
        assert not np.shares_memory(scheme.to_file(labels), labels)
        assert not np.shares_memory(scheme.from_file(scheme.to_file(labels), "x"), labels)
    np.testing.assert_array_equal(labels, CLASSES)


@pytest.mark.parametrize("value", [3, 5, 255, -1, 256, 1.5, np.nan, np.inf])
def test_a_value_that_the_scheme_does_not_know_is_refused_by_name(value: float) -> None:
    values = BRATS2020.to_file(CLASSES).astype(np.float64)
    values[2, 3, 4] = value
    with pytest.raises(CaseError, match=rf"^x: label values {value:g} found, expected only 0, 1, 2, 4 "):
        BRATS2020.from_file(values, "x")


def test_several_unknown_values_are_told_in_order_and_at_most_five() -> None:
    values = BRATS2020.to_file(CLASSES).astype(np.int16)
    values[0, 0, :3] = 33, 100, -3
    with pytest.raises(CaseError, match=r"^x: label values -3, 33, 100 found"):
        BRATS2020.from_file(values, "x")
    values[0, 1, :4] = 9, 8, 7, 6
    with pytest.raises(CaseError, match=r"^x: label values -3, 6, 7, 8, 9 found"):
        BRATS2020.from_file(values, "x")


@pytest.mark.parametrize("factor", [0.9999999, 1.0000002])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_label_a_rounding_away_from_its_whole_number_is_that_label(factor: float, order: Any) -> None:
    stored = np.array(BRATS2020.to_file(CLASSES).astype(np.float32) * np.float32(factor), order=order)
    found = BRATS2020.from_file(stored, "x")
    np.testing.assert_array_equal(found, CLASSES)
    assert found.strides == np.zeros((5, 6, 7), np.uint8, order=order).strides


@pytest.mark.parametrize(("value", "label"), [(0.9991, 1), (1.0009, 1), (-0.0009, 0), (3.9995, 3)])
def test_labels_are_taken_to_a_thousandth(value: float, label: int) -> None:
    values = np.array([[[0.0, value]]])
    assert BRATS2020.from_file(values, "x").tolist() == [[[0, label]]]


@pytest.mark.parametrize("value", [0.9989, 1.0011, 0.002])
def test_a_label_farther_away_is_refused_with_all_its_digits(value: float) -> None:
    with pytest.raises(CaseError, match=rf"^x: label values {value} found, expected only 0, 1, 2, 4 "):
        BRATS2020.from_file(np.array([[[0.0, 1.0, value]]]), "x")


def test_only_the_labels_that_are_wrong_are_named_not_those_a_rounding_away() -> None:
    with pytest.raises(CaseError, match=r"^x: label values 1\.5, 3 found"):
        BRATS2020.from_file(np.array([[[0.9999999, 1.5, 3.0, 1.9999999]]]), "x")
