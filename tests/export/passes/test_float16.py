"""FP16 by policy: what stays FP32 really does, Casts stand only where types meet, and nothing overflows unseen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eenet_export.passes.counted import constant
from eenet_export.passes.float16 import Float16, HalfReport, Policy, shrink_before_norms
from eenet_export.passes.outputs import Outputs
from eenet_runtime.errors import ExportError
from tests.export.passes.onnx_graphs import copy_of, graph, group_norm, node, nodes, numbers, op, run, valid

SHAPE = (1, 4, 6, 5, 3)
HALF, SINGLE = ir.DataType.FLOAT16, ir.DataType.FLOAT
ENDS = Policy({"Model_Outputs/Softmax": "the probabilities are FP32"})
EPSILON = 1e-3


def network(**changes: Any) -> ir.Model:
    """Two convolutions with a norm, an upsampling and a residual in between, and the outputs `labels`, `probabilities`.

    Args:
        changes: constants with other numbers, `First/kernel` as `First_kernel`.
    """
    constants: dict[str, Any] = {
        "First/kernel": numbers(8, 4, 3, 3, 3, seed=1) / 5,
        "First/bias": numbers(8, seed=2) / 5,
        "Norm/gamma": np.abs(numbers(8, seed=3)) + np.float32(0.5),
        "Norm/beta": numbers(8, seed=4),
        "Side/kernel": numbers(8, 8, 1, 1, 1, seed=5) / 5,
        "scales": np.array([1, 1, 1, 1, 2], np.float32),
        "Model_Outputs/kernel": numbers(4, 8, 1, 1, 1, seed=6),
        "Model_Outputs/bias": numbers(4, seed=7),
    }
    constants.update({name.replace("_", "/", 1): value for name, value in changes.items()})
    nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    model = graph(
        [
            op("First/Conv", "volume", "First/kernel", "First/bias", pads=[1] * 6),
            op("Norm/GroupNormalization", "First/Conv", "Norm/gamma", "Norm/beta", num_groups=4, epsilon=EPSILON),
            op("Act/Relu", "Norm/GroupNormalization"),
            op("Side/Conv", "Act/Relu", "Side/kernel"),
            op("Sum/Add", "Act/Relu", "Side/Conv"),
            op("Up/Resize", "Sum/Add", "", "scales", **nearest),
            op("Model_Outputs/Conv", "Up/Resize", "Model_Outputs/kernel", "Model_Outputs/bias"),
            op("Model_Outputs/Softmax", "Model_Outputs/Conv", axis=1),
        ],
        ["Model_Outputs/Softmax"],
        constants,
        opset=21,
        volume=SHAPE,
    )
    Outputs(1)(model)
    return model


def halved(model: ir.Model, policy: Policy = ENDS, **options: Any) -> HalfReport:
    """Run the pass, let ONNX check the graph, and give the report."""
    half = Float16(policy, **options)
    half(model)
    valid(model)
    assert half.report is not None
    return half.report


def float_types(each: ir.Node) -> set[ir.DataType]:
    """Of what a node reads and makes, but for the scales of a Resize, which ONNX wants in FP32."""
    inputs = [value for index, value in enumerate(each.inputs) if (each.op_type, index) != ("Resize", 2)]
    found = {value.dtype for value in (*inputs, *each.outputs) if value is not None and value.dtype is not None}
    return found & {HALF, SINGLE}


KEPT = st.sets(
    st.sampled_from(
        [
            "First/Conv",
            "Norm/GroupNormalization",
            "Act/Relu",
            "Side/Conv",
            "Sum/Add",
            "Up/Resize",
            "Model_Outputs/Conv",
            "Labels/*",
        ]
    )
)


@settings(max_examples=40)
@given(KEPT, st.booleans())
def test_under_any_policy_kept_nodes_are_fp32_and_the_others_fp16(kept: set[str], half_input: bool) -> None:
    model = network()
    policy = Policy({**ENDS.reasons, **dict.fromkeys(kept, "chosen by this test")})
    computing = [str(each.name) for each in model.graph]
    report = halved(model, policy, half_input=half_input)
    for name in computing:
        assert float_types(node(model, name)) <= {SINGLE if policy.keeps(name) else HALF}, name
    assert report.kept == sum(policy.keeps(name) for name in computing)
    assert model.graph.inputs[0].dtype == (HALF if half_input else SINGLE)
    casts = [each for each in nodes(model, "Cast") if each.name != "Labels/Cast"]
    assert report.casts == len(casts)
    assert len({(each.inputs[0], each.outputs[0].dtype) for each in casts}) == len(casts)
    assert all(each.inputs[0].dtype != each.outputs[0].dtype for each in casts if each.inputs[0])


@settings(max_examples=10)
@given(KEPT, st.booleans())
def test_under_any_policy_the_graph_computes_nearly_the_same(kept: set[str], half_input: bool) -> None:
    model, volume = network(), numbers(*SHAPE, seed=9)
    expected, probabilities = run(model, volume=volume)
    policy = Policy({**ENDS.reasons, **dict.fromkeys(kept, "chosen by this test")})
    halved(model, policy, half_input=half_input)
    found = run(model, volume=volume.astype(np.float16) if half_input else volume)
    assert [array.dtype for array in found] == [np.uint8, np.float32]
    assert np.abs(found[1] - probabilities).max() < 0.05
    assert (found[0] == expected).mean() > 0.99


def test_a_cast_stands_only_at_the_input_and_before_what_is_kept() -> None:
    model = network()
    report = halved(model)
    assert [(each.name, each.outputs[0].dtype) for each in nodes(model, "Cast")] == [
        ("volume/to_fp16", HALF),
        ("Model_Outputs/Conv/to_fp32", SINGLE),
        ("Labels/Cast", ir.DataType.UINT8),
    ]
    assert (report.kept, report.casts) == (1, 2)
    model = network()
    assert halved(model, half_input=True).casts == 1


def test_the_numbers_differ_from_fp32_so_something_was_turned_to_fp16() -> None:
    model, volume = network(), numbers(*SHAPE, seed=9)
    _, expected = run(model, volume=volume)
    halved(model)
    _, found = run(model, volume=volume)
    assert np.abs(found - expected).max() > 1e-4


def test_a_tensor_that_two_readers_want_in_another_type_is_cast_once() -> None:
    model = network()
    report = halved(model, Policy({**ENDS.reasons, "Side/*": "a test", "Sum/*": "a test"}))
    assert report.casts == 4  # the input, what both read, what the upsampling reads, the logits
    casts = [each for each in nodes(model, "Cast") if each.inputs[0] is node(model, "Act/Relu").outputs[0]]
    assert len(casts) == 1
    assert node(model, "Side/Conv").inputs[0] is node(model, "Sum/Add").inputs[0] is casts[0].outputs[0]


def test_weights_of_fp16_nodes_are_fp16_under_their_names_and_those_of_kept_nodes_are_untouched() -> None:
    model = network()
    halved(model, Policy({**ENDS.reasons, "Side/Conv": "a test"}))
    first, side = (model.graph.initializers[f"{layer}/kernel"] for layer in ("First", "Side"))
    assert (first.dtype, side.dtype) == (HALF, SINGLE)
    expected = numbers(8, 4, 3, 3, 3, seed=1) / 5
    found = constant(first)
    assert found is not None
    np.testing.assert_array_equal(found, expected.astype(np.float16))
    assert not [name for name in model.graph.initializers if name.endswith("/fp32")]


def test_scales_of_an_upsampling_stay_fp32() -> None:
    model = network()
    halved(model)
    scales = node(model, "Up/Resize").inputs[2]
    assert scales is not None
    assert scales.dtype == SINGLE
    np.testing.assert_array_equal(constant(scales), np.array([1, 1, 1, 1, 2], np.float32))


def test_numbers_beyond_fp16_are_set_to_its_largest_and_counted_and_so_are_those_that_vanish() -> None:
    bias = np.array([1e5, -1e6, 65504, 1e-9, -1e-9, 0, 6e-8, 1], np.float32)
    model = network(First_bias=bias)
    report = halved(model)
    assert (report.clamped, report.flushed_to_zero) == (2, 2)
    found = constant(model.graph.initializers["First/bias"])
    assert found is not None
    np.testing.assert_array_equal(found[:6], np.array([65504, -65504, 65504, 0, 0, 0], np.float16))
    assert found[6] > 0
    floats = [value for value in model.graph.initializers.values() if value.dtype == HALF]
    assert report.values == sum(int(np.prod(value.shape.numpy())) for value in floats if value.shape is not None)


def test_ordinary_weights_are_neither_clamped_nor_flushed() -> None:
    report = halved(network())
    assert (report.clamped, report.flushed_to_zero, report.scaled) == (0, 0, {})


# Shifts.


def test_a_shift_changes_what_lies_between_and_nothing_behind_the_norm() -> None:
    """A power of two changes no digit of a float, so not even the last bit may differ."""
    model, shifted, volume = network(), network(), numbers(*SHAPE, seed=9)
    shrink_before_norms(shifted.graph, {"First": 2})
    assert node(shifted, "Norm/GroupNormalization").attributes["epsilon"].as_float() == pytest.approx(EPSILON / 16)
    names = ("First/Conv", "Norm/GroupNormalization")
    (before, expected), (between, found) = (run(each, *names, volume=volume) for each in (model, shifted))
    np.testing.assert_array_equal(between, before / 4)
    np.testing.assert_array_equal(found, expected)


def test_a_shift_without_its_epsilon_would_be_seen() -> None:
    """The comparison of these tests can fail."""
    model, shifted, volume = network(), network(), numbers(*SHAPE, seed=9)
    shrink_before_norms(shifted.graph, {"First": 2})
    norm = node(shifted, "Norm/GroupNormalization")
    norm.attributes["epsilon"] = ir.AttrFloat32("epsilon", EPSILON)
    _, expected = run(model, volume=volume)
    _, found = run(shifted, volume=volume)
    assert np.abs(found - expected).max() > 1e-4


def test_a_shift_keeps_squares_inside_fp16_that_overflow_without_it() -> None:
    """Emulated: what an engine stores in FP16, it squares in FP16. A CPU engine computes in FP32 and shows nothing."""
    loud = {"First_kernel": numbers(8, 4, 3, 3, 3, seed=1) * 30, "First_bias": numbers(8, seed=2) * 30}
    volume = numbers(*SHAPE, seed=9)
    exact, _ = run(network(**loud), "First/Conv", "Norm/GroupNormalization", volume=volume)
    assert 255 < np.abs(exact).max() < 4 * 255

    def emulated(model: ir.Model) -> NDArray[np.floating[Any]]:
        (stored,) = run(model, "First/Conv", volume=volume.astype(np.float16))
        norm = node(model, "Norm/GroupNormalization")
        gamma, beta = (constant(value) for value in norm.inputs[1:])
        assert gamma is not None
        assert beta is not None
        epsilon = norm.attributes["epsilon"].as_float()
        with np.errstate(over="ignore"):
            squares = np.square(stored.astype(np.float16))
        # The sums are FP32 or better in every engine; only the squares are not.
        mean = stored.astype(np.float64).reshape(4, -1).mean(axis=1, keepdims=True)
        variance = squares.astype(np.float64).reshape(4, -1).mean(axis=1, keepdims=True) - mean**2
        with np.errstate(invalid="ignore"):
            normal = (stored.reshape(4, -1) - mean) / np.sqrt(variance + epsilon)
        along = (1, 8, 1, 1, 1)
        return np.asarray(normal.reshape(stored.shape) * gamma.reshape(along) + beta.reshape(along))

    plain, shifted = network(**loud), network(**loud)
    halved(plain, half_input=True)
    assert halved(shifted, half_input=True, shifts={"First": 2}).scaled == {"First": 2}
    gamma, beta = np.abs(numbers(8, seed=3)) + np.float32(0.5), numbers(8, seed=4)
    expected = group_norm(exact, 4, gamma, beta, EPSILON)
    assert np.abs(emulated(plain) - expected).max() > 0.5
    np.testing.assert_allclose(emulated(shifted), expected, rtol=0, atol=0.02)


def refusing(model: ir.Model, shifts: Mapping[str, int], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        Float16(ENDS, shifts=shifts)(model)


@pytest.mark.parametrize("shift", [0, -1, 3])
def test_a_shift_beyond_what_epsilon_bears_is_refused(shift: int) -> None:
    refusing(network(), {"First": shift}, f"layer First: shift {shift} found, expected 1 to 2")


@pytest.mark.parametrize("layer", ["Side", "Model_Outputs", "Norm", "Lost"])
def test_only_a_convolution_that_feeds_a_norm_can_be_shifted(layer: str) -> None:
    refusing(network(), {layer: 1}, f"layer {layer}: expected a convolution that feeds a group norm and nothing else")


def test_a_convolution_with_a_second_reader_cannot_be_shifted() -> None:
    model = network()
    node(model, "Sum/Add").replace_input_with(1, node(model, "First/Conv").outputs[0])
    refusing(model, {"First": 1}, "layer First: expected a convolution that feeds a group norm and nothing else")


# Refusals and promises.


def test_a_pattern_that_fits_no_node_is_refused() -> None:
    policy = Policy({**ENDS.reasons, "Lost_Layer/*": "it was renamed"})
    with pytest.raises(ir.passes.PreconditionError, match=r"FP16 policy: Lost_Layer/\* fits no node of the graph"):
        Float16(policy)(network())


def test_probabilities_in_fp16_are_refused() -> None:
    policy = Policy({"Act/Relu": "a test"})
    with pytest.raises(ExportError, match="output probabilities: FP16 found; the policy must keep what makes it"):
        Float16(policy)(network())


def test_a_cast_that_is_taken_out_breaks_the_promise() -> None:
    model = network()
    halved(model, Policy({**ENDS.reasons, "Side/Conv": "a test"}))
    node(model, "Side/Conv").replace_input_with(0, node(model, "Act/Relu").outputs[0])
    with pytest.raises(ir.passes.PostconditionError, match="node Side/Conv reads FP16 and FP32"):
        Float16(ENDS).ensures(model)


def test_a_cast_behind_its_reader_breaks_the_promise() -> None:
    model = network()
    halved(model)
    cast = node(model, "volume/to_fp16")
    model.graph.remove(cast)
    model.graph.append(cast)
    with pytest.raises(ir.passes.PostconditionError, match="node First/Conv stands before one that it depends on"):
        Float16(ENDS).ensures(model)


def test_an_output_of_another_type_breaks_the_promise() -> None:
    model = network()
    halved(model)
    model.graph.outputs[1].type = ir.TensorType(HALF)
    with pytest.raises(ir.passes.PostconditionError, match="output probabilities is FLOAT16"):
        Float16(ENDS).ensures(model)


def test_a_tensor_of_unknown_type_breaks_the_promise() -> None:
    """Behind it no Cast would be written, and nobody would notice."""
    model = network()
    node(model, "Norm/GroupNormalization").outputs[0].type = None
    with pytest.raises(ir.passes.PostconditionError, match="node Act/Relu reads Norm/GroupNormalization, whose type"):
        Float16(ENDS)(model)


# The policy file.


def test_the_toolkits_own_policy_gives_a_reason_for_every_pattern() -> None:
    policy = Policy.default()
    assert policy.keeps("Model_Outputs/Softmax")
    assert policy.keeps("block1a_se_squeeze/ReduceMean_W")
    assert not policy.keeps("Model_Outputs/Conv")
    assert all(len(reason) > 20 for reason in policy.reasons.values())


def test_a_policy_is_read_pattern_by_pattern() -> None:
    policy = Policy.parse('[[keep]]\nnodes = ["A/*", "B/Relu"]\nreason = "x"\n[[keep]]\nnodes = ["C"]\nreason = "y"\n')
    assert policy.reasons == {"A/*": "x", "B/Relu": "x", "C": "y"}
    kept = Counter(policy.keeps(name) for name in ("A/Conv", "B/Relu", "C", "B/Conv", "a/Conv"))
    assert kept == {True: 3, False: 2}


@pytest.mark.parametrize(
    "text",
    [
        "keep = [",
        "",
        "keep = 3",
        '[[keep]]\nnodes = ["A"]\n',
        '[[keep]]\nreason = "x"\n',
        '[[keep]]\nnodes = "A/*"\nreason = "x"\n',
        '[[keep]]\nnodes = [1]\nreason = "x"\n',
    ],
)
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(ExportError, match=r"precision policy: expected tables \[\[keep\]\] with nodes and reason"):
        Policy.parse(text)


def test_the_fp32_graph_is_a_copy_away() -> None:
    """The pass works in place; whoever needs both graphs copies first, and the copy is not touched."""
    model = network()
    kept = copy_of(model)
    before = ir.to_proto(kept).SerializeToString()
    halved(model)
    assert ir.to_proto(kept).SerializeToString() == before
    onnx.checker.check_model(ir.to_proto(kept))
