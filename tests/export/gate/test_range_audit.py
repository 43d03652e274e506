"""Whether a network's tensors fit into FP16, measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from eenet_export.gate.range_audit import LARGEST, SQUARE_FITS, audit_ranges
from eenet_export.passes.float16 import Float16, Policy
from eenet_runtime.errors import ParityError
from tests.export.passes.onnx_graphs import copy_of, graph, node, numbers, op, run

SHAPE = (1, 4, 6, 5, 3)


def network(
    factor: float = 1.0, *, reader: str = "Norm/GroupNormalization", changes: Mapping[str, Any] = {}
) -> ir.Model:
    """A convolution that multiplies each channel with `factor`, a norm, and another convolution that halves.

    Args:
        factor: what the first convolution does.
        reader: what the sum at the end adds to the second convolution.
        changes: constants with other numbers.
    """
    identity = np.eye(4, dtype=np.float32)[:, :, None, None, None]
    constants = {
        "First/kernel": identity * np.float32(factor),
        "Last/kernel": identity / 2,
        "gamma": np.ones(4, np.float32),
        "beta": np.zeros(4, np.float32),
        "two": np.array([1, 1, 1, 1, 2], np.float32),
        **changes,
    }
    return graph(
        [
            op("First/Conv", "volume", "First/kernel"),
            op("Norm/GroupNormalization", "First/Conv", "gamma", "beta", num_groups=2, epsilon=1e-3),
            op("Last/Conv", "Norm/GroupNormalization", "Last/kernel"),
            op("Sum/Add", "Last/Conv", reader),
            op("Where/Greater", "Sum/Add", "Last/Conv"),
            op("Labels/Cast", "Where/Greater", to=ir.DataType.UINT8.value),
        ],
        ["Labels/Cast", "Sum/Add"],
        constants,
        opset=21,
        volume=SHAPE,
    )


def test_the_largest_magnitudes_over_all_cases_are_found() -> None:
    volumes = [numbers(*SHAPE, seed=seed) for seed in (1, 2, 3)]
    volumes[1][0, 2, 3, 1, 0] = -7.5  # the largest is negative, in the second case
    audit = audit_ranges(network(3.0), iter(volumes))
    assert audit.largest["First/Conv"] == pytest.approx(22.5)
    for name in ("Norm/GroupNormalization", "Last/Conv", "Sum/Add"):
        expected = max(float(np.abs(run(network(3.0), name, volume=volume)[0]).max()) for volume in volumes)
        assert audit.largest[name] == pytest.approx(expected, rel=1e-5)
    assert (audit.before_norms, audit.shifts) == ({}, {})


def test_only_floating_point_tensors_are_measured() -> None:
    assert set(audit_ranges(network(), [numbers(*SHAPE)]).largest) == {
        "First/Conv",
        "Norm/GroupNormalization",
        "Last/Conv",
        "Sum/Add",
    }


def test_the_graph_itself_is_not_changed() -> None:
    model = network()
    before = ir.to_proto(copy_of(model)).SerializeToString()
    audit_ranges(model, [numbers(*SHAPE)])
    assert ir.to_proto(model).SerializeToString() == before


def ones(magnitude: float) -> np.ndarray:
    """A volume with one voxel of this magnitude among small ones."""
    volume = numbers(*SHAPE) / 10
    volume[0, 1, 2, 3, 1] = magnitude
    return volume


def test_a_quarter_of_what_fp16_holds_still_passes_and_a_little_more_stops_the_export() -> None:
    assert LARGEST == 16376
    audit = audit_ranges(network(reader="Last/Conv"), [ones(LARGEST)])
    assert audit.largest["First/Conv"] == LARGEST
    message = (
        "^tensor First/Conv: magnitude 1.638e\\+04 found, FP16 graphs are made up to 16376; "
        "export FP32 only, or train with weight decay$"
    )
    with pytest.raises(ParityError, match=message):
        audit_ranges(network(reader="Last/Conv"), [ones(0.1), ones(-16378), ones(0.1)])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1, 77, 359])
def test_one_voxel_that_is_not_finite_stops_the_export_wherever_it_is(value: float, place: int) -> None:
    """Maxima of vector instructions step over what is not a number."""
    volume = numbers(*SHAPE)
    volume.flat[place] = value
    for volumes in ([volume, numbers(*SHAPE)], [numbers(*SHAPE), volume]):
        with pytest.raises(ParityError, match=r"tensor First/Conv: magnitude (nan|inf) found"):
            audit_ranges(network(), volumes)


def test_of_several_tensors_that_are_not_finite_the_first_is_named() -> None:
    kernel = np.eye(4, dtype=np.float32)[:, :, None, None, None] * np.float32(1e38)
    changes = {"gamma": np.full(4, 1e3, np.float32), "Last/kernel": kernel}
    with pytest.raises(ParityError, match="tensor Last/Conv: magnitude inf found"):
        audit_ranges(network(changes=changes), [numbers(*SHAPE)])


@pytest.mark.parametrize(("magnitude", "shift"), [(256, 1), (510, 1), (511, 2), (1020, 2), (9000, 2)])
def test_beyond_255_before_a_norm_a_shift_is_proposed(magnitude: float, shift: int) -> None:
    audit = audit_ranges(network(), [ones(magnitude)])
    assert audit.before_norms == {"First/Conv": magnitude}
    assert audit.shifts == {"First": shift}


def test_up_to_255_before_a_norm_there_is_nothing_to_do() -> None:
    assert SQUARE_FITS == 255
    assert np.isfinite(np.square(np.float16(SQUARE_FITS)))
    audit = audit_ranges(network(), [ones(SQUARE_FITS)])
    assert (audit.before_norms, audit.shifts) == ({}, {})


def test_a_convolution_with_another_reader_is_listed_and_not_shifted() -> None:
    audit = audit_ranges(network(reader="First/Conv"), [ones(400)])
    assert audit.before_norms == {"First/Conv": 400}
    assert audit.shifts == {}


def test_a_norm_behind_a_sum_is_listed_and_not_shifted() -> None:
    model = graph(
        [
            op("First/Conv", "volume", "kernel"),
            op("Sum/Add", "First/Conv", "volume"),
            op("Norm/GroupNormalization", "Sum/Add", "gamma", "beta", num_groups=2, epsilon=1e-3),
        ],
        ["Norm/GroupNormalization"],
        {
            "kernel": np.eye(4, dtype=np.float32)[:, :, None, None, None],
            "gamma": np.ones(4, np.float32),
            "beta": np.zeros(4, np.float32),
        },
        opset=21,
        volume=SHAPE,
    )
    audit = audit_ranges(model, [ones(200)])
    assert audit.before_norms == {"Sum/Add": 400}
    assert audit.shifts == {}


def test_large_tensors_that_feed_no_norm_are_no_concern() -> None:
    kernel = np.eye(4, dtype=np.float32)[:, :, None, None, None] * np.float32(1000)
    audit = audit_ranges(network(changes={"Last/kernel": kernel}), [numbers(*SHAPE)])
    assert audit.largest["Last/Conv"] > 1000
    assert (audit.before_norms, audit.shifts) == ({}, {})


def test_the_proposed_shifts_are_ones_that_the_fp16_pass_takes() -> None:
    model = network()
    shifts = audit_ranges(model, [ones(600)]).shifts
    half = Float16(Policy({"Sum/Add": "an output is FP32"}), shifts=shifts)
    half(model)
    assert half.report is not None
    assert half.report.scaled == {"First": 2}
    (between,) = run(model, "First/Conv", volume=ones(600))
    assert np.abs(between).max() == 150
    assert node(model, "First/Conv").outputs[0].dtype == ir.DataType.FLOAT16
