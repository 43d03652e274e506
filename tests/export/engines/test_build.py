"""Real plans, built without a GPU by TensorRT for RTX: the right tensors and precision, the same kernels every time."""

from __future__ import annotations

import hashlib
import signal
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from eenet_export.engines.build import BuildTarget, BuiltEngine, build_engine, find_target
from eenet_export.engines.flavour import Flavour
from eenet_export.engines.into_bundle import engine_tensors
from eenet_export.engines.settings import EngineSettings
from eenet_runtime.bundle.engine_file import TENSORRT, TENSORRT_RTX, BuildGpu, EngineTensor
from eenet_runtime.bundle.manifest import Artifact
from eenet_runtime.errors import ExportError
from tests.export.engines.engine_graphs import engine_graph
from tests.synthetic import TINY, TINY_2MM

trt_rtx = pytest.importorskip("tensorrt_rtx", reason='needs pip install "eenet[rtx]"')

AMPERE = EngineSettings(TENSORRT_RTX, compute_capabilities=("8.6",))
VOXELS = 64 * 64 * 24


def tensors(with_probabilities: bool = False) -> tuple[EngineTensor, ...]:
    return engine_tensors(Artifact("onnx", "model.onnx", "any", "any"), TINY, with_probabilities)


def build(
    graph: onnx.ModelProto, settings: EngineSettings = AMPERE, wanted: Sequence[EngineTensor] | None = None, **more: Any
) -> BuiltEngine:
    wanted = tensors() if wanted is None else wanted
    target = more.pop("target", None) or find_target(settings)
    return build_engine(graph.SerializeToString(), "model.onnx", wanted, settings, target, **more)


@pytest.fixture(scope="module")
def half() -> BuiltEngine:
    return build(engine_graph("fp16"))


@pytest.fixture(scope="module")
def full() -> BuiltEngine:
    return build(engine_graph("fp32"), replace(AMPERE, precision="fp32"))


def test_an_engine_gives_labels_as_bytes(half: BuiltEngine) -> None:
    assert half.tensors == (
        EngineTensor("volume", "input", (1, 4, 64, 64, 24), "float32"),
        EngineTensor("labels", "output", (1, 64, 64, 24), "uint8"),
    )


def test_each_precision_is_the_one_that_its_convolutions_compute_in(half: BuiltEngine, full: BuiltEngine) -> None:
    assert half.report.convolution_dtypes == ("float16",)
    assert full.report.convolution_dtypes == ("float32",)


def test_half_precision_halves_the_traffic_and_the_report_adds_it_up(half: BuiltEngine, full: BuiltEngine) -> None:
    # At the least: the volume in, 16 channels out of the first convolution, in and out of the norm, in of the second,
    # 4 logits out and in, one byte of label out.
    least = VOXELS * (4 * 4 + 4 * 16 * 2 + 2 * 4 * 2 + 1)
    assert least <= half.report.traffic_bytes <= 1.3 * least
    assert 1.7 * half.report.traffic_bytes < full.report.traffic_bytes < 2.3 * half.report.traffic_bytes


def test_the_group_norm_and_its_relu_are_one_kernel(half: BuiltEngine) -> None:
    big = [layer for layer in half.report.layers if any(tensor.shape[1:2] == (16,) for tensor in layer.outputs)]
    assert len(big) == 2, [layer.name for layer in big]


def test_activation_memory_holds_the_largest_two_tensors(half: BuiltEngine) -> None:
    assert half.report.activation_bytes >= 2 * 16 * VOXELS * 2
    assert half.report.weights_bytes >= 2 * (16 * 4 * 27 + 4 * 16)


def what_it_computes(engine: BuiltEngine) -> list[tuple[Any, ...]]:
    """Kernels with the shapes and types of what they read and write, and the memory they take.

    Not the plan's bytes, and no names in it: beside another job a plan of the same graph differed in its text.
    """
    report = engine.report
    kernels = [
        (
            layer.kind,
            *(tuple((tensor.shape, tensor.dtype) for tensor in side) for side in (layer.inputs, layer.outputs)),
        )
        for layer in report.layers
    ]
    return [(report.activation_bytes, report.weights_bytes, report.traffic_bytes, engine.tensors), *kernels]


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_two_builds_of_one_graph_compute_the_same(precision: str, half: BuiltEngine, full: BuiltEngine) -> None:
    first, again = (
        {"fp16": half, "fp32": full}[precision],
        build(engine_graph(precision), replace(AMPERE, precision=precision)),
    )
    assert what_it_computes(again) == what_it_computes(first)
    assert len(again.plan) == pytest.approx(len(first.plan), rel=0.01)


def test_probabilities_are_an_output_only_where_they_are_wanted(half: BuiltEngine) -> None:
    both = build(engine_graph("fp16"), wanted=tensors(with_probabilities=True))
    assert {tensor.name for tensor in both.tensors} - {tensor.name for tensor in half.tensors} == {"probabilities"}
    assert both.report.traffic_bytes - half.report.traffic_bytes >= VOXELS * 4 * 4


def test_by_default_probabilities_come_out_where_masks_are_resampled() -> None:
    artifact = Artifact("onnx", "model.onnx", "fp16", "fp16", input_dtype="float16")
    at_1mm, at_2mm = engine_tensors(artifact, TINY), engine_tensors(artifact, TINY_2MM)
    assert [tensor.name for tensor in at_1mm] == ["volume", "labels"]
    assert [tensor.name for tensor in at_2mm] == ["volume", "labels", "probabilities"]
    assert at_1mm[0].dtype == "float16"


def test_a_plan_names_each_of_its_targets(half: BuiltEngine) -> None:
    two = build(engine_graph("fp16"), replace(AMPERE, compute_capabilities=("8.6", "12.0")))
    assert what_it_computes(two) == what_it_computes(half)
    assert len(half.plan) < len(two.plan) < 1.01 * len(half.plan)


def test_a_graph_in_the_other_precision_is_refused_by_its_convolutions() -> None:
    with pytest.raises(ExportError, match=r"model\.onnx: 2 of 2 convolutions do not compute in fp16, among them first"):
        build(engine_graph("fp32"))
    with pytest.raises(ExportError, match="2 of 2 convolutions do not compute in fp32"):
        build(engine_graph("fp16"), replace(AMPERE, precision="fp32"))


def test_a_graph_without_convolutions_proves_no_precision() -> None:
    graph = engine_graph("fp32")
    del graph.graph.node[:]
    graph.graph.node.append(onnx.helper.make_node("Softmax", ["volume"], ["probabilities"], axis=1))
    del graph.graph.output[0]
    wanted = [tensor for tensor in tensors(with_probabilities=True) if tensor.name != "labels"]
    with pytest.raises(ExportError, match="0 of 0 convolutions"):
        build(graph, wanted=wanted)


def test_a_convolution_that_sees_one_voxel_may_compute_in_full() -> None:
    graph = engine_graph("fp16")
    weight = onnx.numpy_helper.from_array(np.ones((16, 16, 1, 1, 1), np.float32), "gate_weight")
    graph.graph.initializer.append(weight)
    relu = next(index for index, node in enumerate(graph.graph.node) if node.op_type == "Relu")
    graph.graph.node[relu].output[0] = "before"
    for index, node in enumerate(
        (
            onnx.helper.make_node("GlobalAveragePool", ["before"], ["mean"]),
            onnx.helper.make_node("Cast", ["mean"], ["mean32"], to=onnx.TensorProto.FLOAT),
            onnx.helper.make_node("Conv", ["mean32", "gate_weight"], ["gate32"]),
            onnx.helper.make_node("Cast", ["gate32"], ["gate"], to=onnx.TensorProto.FLOAT16),
            onnx.helper.make_node("Mul", ["before", "gate"], ["r"]),
        )
    ):
        graph.graph.node.insert(relu + 1 + index, node)
    assert {tensor.name for tensor in build(graph).tensors} == {"volume", "labels"}


@pytest.mark.parametrize(("precision", "fits"), [("fp16", True), ("fp32", False)])
def test_a_graph_of_one_norm_shows_its_precision_by_the_norm(precision: str, fits: bool) -> None:
    shape = [1, 16, 8, 8, 8]
    half = onnx.TensorProto.FLOAT16
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("GroupNormalization", ["x", "scale", "offset"], ["y"], num_groups=8)],
        "norm",
        [onnx.helper.make_tensor_value_info("x", half, shape)],
        [onnx.helper.make_tensor_value_info("y", half, shape)],
        [onnx.numpy_helper.from_array(np.ones(16, np.float16), name) for name in ("scale", "offset")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    wanted = [EngineTensor(name, mode, tuple(shape), "float16") for name, mode in (("x", "input"), ("y", "output"))]
    settings = replace(AMPERE, precision=precision)
    if fits:
        assert build(model, settings, wanted).plan
        return
    with pytest.raises(ExportError, match="1 of 1 norms do not compute in fp32"):
        build(model, settings, wanted)


def test_labels_of_another_type_are_refused() -> None:
    graph = engine_graph("fp16")
    labels = next(node for node in graph.graph.node if node.output[0] == "labels")
    labels.attribute[0].i = graph.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT32
    with pytest.raises(ExportError, match=r"output labels int32 \[1, 64, 64, 24\], expected .*labels uint8"):
        build(graph)


def test_everything_that_the_parser_refuses_is_one_line() -> None:
    graph = engine_graph("fp16")
    graph.graph.node[3].op_type = "NoSuchThing"
    with pytest.raises(
        ExportError, match=r"model\.onnx: the ONNX parser of TensorRT refuses it \(.*NoSuchThing"
    ) as error:
        build(graph)
    assert "\n" not in str(error.value)


def test_bytes_that_are_no_graph_are_refused() -> None:
    with pytest.raises(ExportError, match="the ONNX parser of TensorRT refuses it"):
        build_engine(b"not a graph", "model.onnx", tensors(), AMPERE, find_target(AMPERE))


def test_progress_goes_from_the_beginning_to_the_end() -> None:
    told: list[float] = []
    build(engine_graph("fp16"), on_progress=lambda fraction, phase: told.append(fraction))
    assert told == sorted(told)
    assert len(told) > 10
    assert told[0] < 0.2
    assert told[-1] == 1.0


def test_what_the_listener_raises_stops_the_build_and_comes_through() -> None:
    told: list[float] = []

    def fail(fraction: float, phase: str) -> None:
        told.append(fraction)
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        build(engine_graph("fp16"), on_progress=fail)
    assert len(told) == 1


def test_ctrl_c_stops_a_build() -> None:
    told: list[float] = []

    def interrupt(fraction: float, phase: str) -> None:
        if not told:
            signal.pthread_kill(_main_thread(), signal.SIGINT)
        told.append(fraction)

    # A shell that starts the tests in the background has them ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            build(engine_graph("fp16"), on_progress=interrupt)
    finally:
        signal.signal(signal.SIGINT, before)


def _main_thread() -> int:
    identity = threading.main_thread().ident
    assert identity is not None
    return identity


SERVER = BuildTarget(
    Flavour(TENSORRT, trt_rtx, str(trt_rtx.__version__)), BuildGpu("NVIDIA L4", "8.9", 58, "13.0"), ("8.9",)
)
"""The way of `tensorrt` through the same code, with the other library in its place: it takes these calls too."""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the stand-in's timing caches do nothing
def test_the_timing_cache_of_a_server_build_is_read_and_handed_back(tmp_path: Path) -> None:
    settings = EngineSettings(TENSORRT, timing_cache=tmp_path / "timings", hardware_compatibility="ampere_plus")
    first = build(engine_graph("fp16"), settings, target=SERVER)
    assert first.flags.timing_cache_sha256 == ""
    assert first.timing_cache
    (tmp_path / "timings").write_bytes(first.timing_cache)
    second = build(engine_graph("fp16"), settings, target=SERVER)
    assert second.flags.timing_cache_sha256 == hashlib.sha256(first.timing_cache).hexdigest()
    assert second.flags.hardware_compatibility == "ampere_plus"


def test_a_timing_cache_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    settings = EngineSettings(TENSORRT, timing_cache=tmp_path)
    with pytest.raises(ExportError, match=f"{tmp_path}: cannot be read"):
        build(engine_graph("fp16"), settings, target=SERVER)
