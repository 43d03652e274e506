"""INT8: which convolutions are quantised, with which steps, and what engines make of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from eenet_export.graph.calibration import FRACTIONS, calibrate, quantise
from eenet_export.passes.counted import constant
from eenet_export.passes.float16 import Policy
from eenet_export.passes.int8 import LARGEST, Int8, default_policy, quantised_convolutions
from eenet_runtime.backends.onnxruntime_backend import OnnxRuntimeBackend
from eenet_runtime.backends.openvino_backend import OpenVinoBackend
from eenet_runtime.bundle.manifest import Artifact
from eenet_runtime.errors import ExportError
from eenet_runtime.volumes.presets import GeometryPreset

SMALL = GeometryPreset("small", (64, 64, 24), 3.0, (2, 2, 2))
SHAPE = (1, 4, 24, 24, 16)
ENDS = Policy({"First/Conv": "reads the images", "Last/Conv": "makes the logits"})
INT8 = Artifact("onnx", "int8.onnx", "int8", "int8")


def small_graph(*, factor: float = 1.0, half: bool = False) -> ir.Model:
    """Three convolutions with a ReLU behind each but the last; the input of the middle one is `First/Relu`.

    Args:
        factor: what the first kernel is multiplied with.
        half: whether everything is FP16.
    """
    random = np.random.default_rng(0)
    kind, dtype = (TensorProto.FLOAT16, np.float16) if half else (TensorProto.FLOAT, np.float32)

    def kernel(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((factor * random.normal(0, 0.3, shape)).astype(dtype), f"{name}/kernel")

    def conv(name: str, source: str, size: int) -> onnx.NodeProto:
        inputs = [source, f"{name}/kernel", f"{name}/bias"]
        return helper.make_node("Conv", inputs, [f"{name}/Conv"], name=f"{name}/Conv", pads=[size // 2] * 6)

    channels = {"First": 8, "Middle": 8, "Side": 8, "Last": 4}
    graph = helper.make_graph(
        [
            conv("First", "volume", 3),
            helper.make_node("Relu", ["First/Conv"], ["First/Relu"], name="First/Relu"),
            conv("Middle", "First/Relu", 3),
            conv("Side", "First/Relu", 1),
            helper.make_node("Add", ["Middle/Conv", "Side/Conv"], ["Sum/Add"], name="Sum/Add"),
            conv("Last", "Sum/Add", 1),
        ],
        "small",
        [helper.make_tensor_value_info("volume", kind, SHAPE)],
        [helper.make_tensor_value_info("Last/Conv", kind, SHAPE)],
        [
            kernel("First", 8, 4, 3, 3, 3),
            kernel("Middle", 8, 8, 3, 3, 3),
            kernel("Side", 8, 8, 1, 1, 1),
            kernel("Last", 4, 8, 1, 1, 1),
            *(numpy_helper.from_array(np.full(size, 0.1, dtype), f"{name}/bias") for name, size in channels.items()),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    read: ir.Model = ir.from_proto(onnx.shape_inference.infer_shapes(model, strict_mode=True))
    return read


def volumes(count: int = 2, seed: int = 1) -> list[NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    return [random.normal(size=SHAPE).astype(np.float32) for _ in range(count)]


def run(model: ir.Model, volume: NDArray[Any], *outputs: str) -> list[NDArray[Any]]:
    """Compute tensors of a graph in ONNX Runtime, without its rewrites."""
    import onnxruntime

    copy = ir.to_proto(model)
    for name in outputs:
        if name not in {output.name for output in copy.graph.output}:
            copy.graph.output.append(onnx.ValueInfoProto(name=name))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(copy.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(list(outputs), {"volume": volume}))


def node(model: ir.Model, name: str) -> ir.Node:
    return next(each for each in model.graph if each.name == name)


def test_only_convolutions_that_the_policy_leaves_are_quantised() -> None:
    model = small_graph()
    report = quantise(model, volumes(), ENDS)
    assert report.quantised == ("Middle", "Side")
    assert report.kept == 2
    for name in ("First", "Last"):
        kept = node(model, f"{name}/Conv")
        assert kept.inputs[1] is not None
        assert kept.inputs[1].is_initializer()
        assert kept.inputs[1].dtype == ir.DataType.FLOAT
    onnx.checker.check_model(ir.to_proto(model), full_check=True)


def test_a_tensor_that_two_convolutions_read_is_quantised_once() -> None:
    model = small_graph()
    quantise(model, volumes(), ENDS)
    kinds = Counter(each.op_type for each in model.graph)
    assert kinds["QuantizeLinear"] == 1
    assert kinds["DequantizeLinear"] == 3  # one activation, two kernels
    assert node(model, "Middle/Conv").inputs[0] is node(model, "Side/Conv").inputs[0]


def test_each_kernel_has_a_step_for_each_output_channel_and_comes_back_within_half_of_it() -> None:
    exact = constant(node(small_graph(), "Middle/Conv").inputs[1])
    model = small_graph()
    quantise(model, volumes(), ENDS)
    dequantise = node(model, "Middle/kernel/DequantizeLinear")
    stored, steps, zeros = (constant(value) for value in dequantise.inputs)
    assert exact is not None
    assert stored is not None
    assert steps is not None
    assert zeros is not None
    assert stored.dtype == np.int8
    assert dequantise.attributes["axis"].as_int() == 0
    np.testing.assert_allclose(steps, np.abs(exact).reshape(8, -1).max(axis=1) / LARGEST, rtol=1e-6)
    along = steps.reshape(-1, 1, 1, 1, 1)
    assert np.abs(stored * along - exact).max(axis=(1, 2, 3, 4)).max() > 0
    assert (np.abs(stored * along - exact) <= 0.5001 * along).all()
    assert np.abs(stored).reshape(8, -1).max(axis=1).tolist() == [LARGEST] * 8
    assert not zeros.any()


def test_a_channel_of_zeros_stays_zero() -> None:
    model = small_graph()
    kernel = constant(node(model, "Side/Conv").inputs[1])
    assert kernel is not None
    zeroed = kernel.copy()
    zeroed[3] = 0
    model.graph.initializers["Side/kernel"].const_value = ir.tensor(zeroed, name="Side/kernel")
    quantise(model, volumes(), ENDS)
    (found,) = run(model, volumes(1)[0], "Side/kernel/DequantizeLinear")
    assert not found[3].any()
    assert np.isfinite(found).all()


def test_a_limit_reaches_as_far_as_changes_the_tensor_least_in_the_mean_square() -> None:
    random = np.random.default_rng(2)
    cases = [random.uniform(-1, 1, SHAPE).astype(np.float32) for _ in range(2)]
    cases[0][0, 0, 3, 3, 3] = largest = 2**0.25  # one voxel beyond all others, which is not worth coarser steps

    def error(limit: float) -> float:
        step = limit / LARGEST
        rounded = [np.clip(np.rint(case / step), -LARGEST, LARGEST) * step for case in cases]
        return float(np.mean([np.mean((a - b) ** 2) for a, b in zip(rounded, cases, strict=True)]))

    limit = calibrate(small_graph(), cases, Policy({"Last/Conv": "makes the logits"}))["volume"]
    assert limit == pytest.approx(1, rel=1e-6)
    assert limit == pytest.approx(min((largest * share for share in FRACTIONS), key=error), rel=1e-6)


def test_the_graph_with_int8_computes_nearly_the_same() -> None:
    model, fresh = small_graph(), volumes(1, seed=9)[0]
    (expected,) = run(small_graph(), fresh, "Last/Conv")
    quantise(model, volumes(), ENDS)
    (found,) = run(model, fresh, "Last/Conv")
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert 1e-4 < error < 2e-2


def test_an_fp16_graph_is_quantised_with_fp16_steps() -> None:
    model = small_graph(half=True)
    Int8(ENDS, calibrate(small_graph(), volumes(), ENDS))(model)
    for value in (
        node(model, "First/Relu/QuantizeLinear").inputs[1],
        node(model, "Side/kernel/DequantizeLinear").inputs[1],
    ):
        assert value is not None
        assert value.dtype == ir.DataType.FLOAT16
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    fresh = volumes(1, seed=9)[0]
    (expected,) = run(small_graph(), fresh, "Last/Conv")
    (found,) = run(model, fresh.astype(np.float16), "Last/Conv")
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 3e-2


def test_a_pattern_that_fits_nothing_stops_the_export() -> None:
    policy = Policy({**ENDS.reasons, "Lost/*": "a layer that was renamed"})
    with pytest.raises(ExportError, match=r"INT8 policy: Lost/\* fits no node"):
        quantise(small_graph(), volumes(), policy)


def test_without_a_case_there_is_no_calibration() -> None:
    with pytest.raises(ExportError, match="no case to calibrate on"):
        quantise(small_graph(), [], ENDS)


@pytest.mark.parametrize(("value", "found"), [(0.0, "0.0"), (np.nan, "nan"), (np.inf, "inf|nan")])
def test_a_tensor_without_a_usable_magnitude_is_refused_by_name(value: float, found: str) -> None:
    model = small_graph(factor=0.0)
    model.graph.initializers["First/bias"].const_value = ir.tensor(np.full(8, value, np.float32), name="First/bias")
    with pytest.raises(ExportError, match=f"tensor First/Relu: largest magnitude ({found}) found"):
        quantise(model, volumes(1), ENDS)


def test_one_nan_in_one_case_is_refused_by_name() -> None:
    made = volumes()
    made[1][0, 0, 0, 0, 0] = np.nan
    with pytest.raises(ExportError, match=r"tensor .*: (NaN found|largest magnitude nan found)"):
        calibrate(small_graph(), made, Policy({"Last/Conv": "makes the logits"}))


def test_a_tensor_that_was_not_calibrated_is_refused_by_name() -> None:
    with pytest.raises(ir.passes.PreconditionError, match="tensor First/Relu: calibrated magnitude None"):
        Int8(ENDS, {})(small_graph())


def test_an_older_opset_is_refused() -> None:
    model = small_graph()
    model.graph.opset_imports[""] = 18
    with pytest.raises(ExportError, match="opset 18 found, INT8 needs 21"):
        quantise(model, volumes(1), ENDS)


# The whole network, at a small geometry and with random weights.


@pytest.fixture(scope="module")
def network(kept_conversions: Callable[[Any], onnx.ModelProto]) -> ir.Model:
    """The canonical FP32 graph."""
    import keras

    from eenet_export.graph.canonicalise import NetworkCounts, canonicalise
    from eenet_train.network.network import build_eenet
    from eenet_train.network.weights import named_weights

    keras.utils.set_random_seed(0)
    model = build_eenet(SMALL)
    weights = {name: np.asarray(variable) for name, variable in named_weights(model).items()}
    return canonicalise(kept_conversions(model), weights, NetworkCounts.of_model(model)).model


@pytest.fixture(scope="module")
def network_int8(network: ir.Model, network_volume: NDArray[np.float32]) -> ir.Model:
    """The same in INT8, calibrated on another volume than `network_volume`."""
    copy: ir.Model = ir.from_proto(ir.to_proto(network))
    other = np.moveaxis(np.roll(network_volume, 17, axis=0), -1, 0)[np.newaxis]
    quantise(copy, [np.ascontiguousarray(other)])
    return copy


@pytest.fixture(scope="module")
def network_volume() -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(*SMALL.shape, 4)).astype(np.float32)


@pytest.mark.tf
@pytest.mark.slow
def test_the_default_policy_quantises_3d_convolutions_only(network: ir.Model) -> None:
    chosen = quantised_convolutions(network.graph, default_policy())
    assert chosen
    for each in chosen:
        assert each.inputs[0] is not None
        assert each.inputs[0].shape is not None
        assert len(each.inputs[0].shape) == 5
    kept = {each.name for each in network.graph if each.op_type == "Conv"} - {each.name for each in chosen}
    assert {"Input_L1/Conv", "Model_Outputs/Conv"} <= kept


@pytest.mark.tf
@pytest.mark.slow
@pytest.mark.parametrize("engine", [OnnxRuntimeBackend, OpenVinoBackend])
def test_both_cpu_engines_run_the_network_in_int8(
    network: ir.Model, network_int8: ir.Model, network_volume: NDArray[np.float32], tmp_path: Path, engine: Any
) -> None:
    labels = {}
    for precision, model in (("fp32", network), ("int8", network_int8)):
        onnx.save(ir.to_proto(model), tmp_path / f"{precision}.onnx")
        backend = engine(tmp_path / f"{precision}.onnx", Artifact("onnx", "any", precision, precision), SMALL, 2)
        labels[precision] = backend.labels(network_volume)
        backend.close()
    agreement = float((labels["fp32"] == labels["int8"]).mean())
    # Noise through random weights leaves classes close to each other; trained networks agree far better. Without VNNI
    # OpenVINO adds pairs of products in 16 bits, which saturate: 0.898 there, above 0.9 elsewhere.
    assert 0.88 < agreement < 1


@pytest.mark.tf
@pytest.mark.slow
def test_openvino_computes_the_quantised_convolutions_in_integers(
    network_int8: ir.Model, network_volume: NDArray[np.float32], tmp_path: Path
) -> None:
    onnx.save(ir.to_proto(network_int8), tmp_path / INT8.path)
    backend = OpenVinoBackend(tmp_path / INT8.path, INT8, SMALL, 2)
    backend.labels(network_volume)
    nodes = [each.get_rt_info() for each in backend._compiled["labels"].get_runtime_model().get_ops()]
    integer = [each for each in nodes if str(each["layerType"].value) == "Convolution" and _in_int8(each)]
    assert len(integer) == len(quantised_convolutions(network_int8.graph, default_policy()))


def _in_int8(node: Any) -> bool:
    return str(node["runtimePrecision"].value) in ("i8", "u8")


@pytest.mark.tf
@pytest.mark.slow
def test_tensorrt_for_rtx_takes_the_network_in_int8(network_int8: ir.Model) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason='needs pip install "eenet[rtx]"')
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    assert parser.parse(ir.to_proto(network_int8).SerializeToString()), [
        str(parser.get_error(index)) for index in range(parser.num_errors)
    ]
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    quantised = [layer for layer in layers if layer.type == trt.LayerType.QUANTIZE]
    assert quantised
    assert all(layer.get_output(0).dtype == trt.int8 for layer in quantised)
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    assert builder.build_serialized_network(network, config) is not None
