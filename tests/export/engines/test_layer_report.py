"""The builder's own words about its layers, in both spellings, become the figures that a plan is judged by."""

from __future__ import annotations

import hashlib

import pytest

from eenet_export.engines.layer_report import read_layer_report
from eenet_runtime.errors import ExportError

TOTALS = ("Total Activation Memory: 5000 bytes", "Total Weights Memory: 300 bytes")
RTX = (
    "Layers:\n"
    "Name: __myl_Cast_myl0_0, LayerType: kgen, Inputs: [ { Name: volume, Dimensions: [1,4,2,3,5], Strides: [1], "
    "StrideOrder: [0], Datatype: Float, Format: (Linear) Row major linear format }], Constants: [], Outputs: [ { Name: "
    "x, Dimensions: [1,4,2,3,5], Strides: [1], StrideOrder: [0], Datatype: Half, Format: (NDHWC) Channel major }], "
    "TacticName: __myl_Cast_0x8d, StreamId: 0, Metadata: [ONNX Layer: cast]\n"
    "Name: first_myl0_1, LayerType: correlation, Inputs: [ { Name: x, Dimensions: [1,4,2,3,5], Strides: [1], "
    "StrideOrder: [0], Datatype: Half, Format: (NDHWC) Channel major }], Constants: [ { Name: w, Dimensions: "
    "[16,4,3,3,3], Strides: [1], StrideOrder: [0], Datatype: Half, Format: (Linear) }, { Name: s, Dimensions: [1], "
    "Strides: [1], StrideOrder: [0], Datatype: Float, Format: (Linear) }], Outputs: [ { Name: y, Dimensions: "
    "[1,16,2,3,5], Strides: [1], StrideOrder: [0], Datatype: Half, Format: (NDHWC) Channel major }, { Name: sums, "
    "Dimensions: [10], Strides: [1], StrideOrder: [0], Datatype: Float, Format: (Linear) }], TacticName: stub, "
    "StreamId: 0, Metadata: \n"
    "\n"
    "I/O Tensors:\n"
    " Name: volume, IOMode: Input, DataType: Float, Dimensions: [1,4,2,3,5], Location: Device\n"
)
SERVER = (
    "Layers:\n"
    "Name: Reformatting CopyNode for Input Tensor 0 to {ForeignNode[a...b]}, LayerType: Reformat, Inputs: [ { Name: "
    "volume, Location: Device, Dimensions: [1,4,2,3,5], Format/Datatype: Row major linear FP32 }], Outputs: [ { Name: "
    "Reformatted Input Tensor 0 to {ForeignNode[a...b]}, Location: Device, Dimensions: [1,4,2,3,5], Format/Datatype: "
    "Channel major FP16 format where channel % 8 == 0 }], ParameterType: Reformat, Origin: REFORMAT, StreamId: 0\n"
    "Name: Conv_1 + Relu_2, LayerType: CaskConvolution, Inputs: [ { Name: x, Location: Device, Dimensions: "
    "[1,4,2,3,5], Format/Datatype: Half }], Outputs: [ { Name: y, Location: Device, Dimensions: [1,2,3,5], "
    "Format/Datatype: UInt8 }], ParameterType: Convolution, Kernel: [3,3,3], "
    'Weights: {"Type": "Half", "Count": 1728}, TacticName: sm86_h884\n'
    "Name: wait, LayerType: Wait, Inputs: [ { Name: y, Location: Device, Dimensions: [1,2,3,5], Format/Datatype: UInt8 "
    "}], Outputs: [ { Name: y, Location: Device, Dimensions: [1,2,3,5], Format/Datatype: UInt8 }]\n"
)


def test_traffic_is_what_kernels_read_and_write_without_their_weights() -> None:
    report = read_layer_report((RTX, *TOTALS), "tensorrt-rtx 1.7")
    voxels = 2 * 3 * 5
    cast = voxels * 4 * 4 + voxels * 4 * 2
    convolution = voxels * 4 * 2 + voxels * 16 * 2 + 10 * 4
    assert report.traffic_bytes == cast + convolution
    assert [layer.kind for layer in report.layers] == ["kgen", "correlation"]
    assert (report.activation_bytes, report.weights_bytes) == (5000, 300)
    assert report.convolution_dtypes == ("float16",)


def test_the_spelling_of_tensorrt_10_gives_the_same_figures() -> None:
    report = read_layer_report((SERVER, "Total Activation Memory: 5000", "Total Weights Memory: 300"), "tensorrt 10.9")
    voxels = 2 * 3 * 5
    assert report.traffic_bytes == voxels * 4 * 4 + voxels * 4 * 2 + voxels * 4 * 2 + voxels
    assert (report.activation_bytes, report.weights_bytes) == (5000, 300)
    assert report.convolution_dtypes == ("float16",)


def test_layers_that_only_wait_are_no_kernels() -> None:
    report = read_layer_report((SERVER, *TOTALS), "tensorrt 10.9")
    assert [layer.kind for layer in report.layers] == ["Reformat", "CaskConvolution"]


def test_a_convolution_compiled_together_with_its_activation_is_one() -> None:
    line = RTX.replace("first_myl0_1, LayerType: correlation", "__myl_CorrSilu_myl0_1, LayerType: runtime_fusion")
    assert read_layer_report((line, *TOTALS), "tensorrt-rtx 1.7").convolution_dtypes == ("float16",)


def test_the_summary_carries_the_hash_of_the_report_as_written() -> None:
    report = read_layer_report((RTX, *TOTALS), "tensorrt-rtx 1.7")
    summary = report.summary()
    assert summary.sha256 == hashlib.sha256(report.to_json().encode()).hexdigest()
    assert (summary.kernels, summary.traffic_bytes) == (2, report.traffic_bytes)


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ((), "printed no layer report"),
        (("Engine Layer Information:\nLayer(Myelin): x", *TOTALS), "printed no layer report"),
        ((RTX, TOTALS[0]), "did not print the memory of its weights"),
        ((RTX, TOTALS[1]), "did not print the memory of its activation"),
        ((RTX.replace("Datatype: Half", "Datatype: Posit8"), *TOTALS), "type 'Posit8 ?'"),
        ((RTX.replace("Dimensions: [10]", "Dimensions: [?]"), *TOTALS), "a tensor that cannot be read: Name: first"),
        ((RTX.replace("Outputs: [", "Results: ["), *TOTALS), "a layer that cannot be read: Name: __myl_Cast"),
    ],
)
def test_a_report_that_cannot_be_read_is_no_report(log: tuple[str, ...], message: str) -> None:
    with pytest.raises(ExportError, match=f"^trt 99 .*{message}"):
        read_layer_report(log, "trt 99")
