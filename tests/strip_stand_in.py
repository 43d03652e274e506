"""A strip bundle whose networks are one multiplication: what is brighter than its surroundings is brain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper

from eenet_export.gate.npz import npz_bytes
from eenet_runtime.bundle.bundle_files import MANIFEST_NAME, describe_files
from eenet_runtime.bundle.golden_file import GOLDEN_NAME
from eenet_runtime.bundle.strip_manifest import StripManifest, StripNetwork, StripPreprocessing, open_strip_bundle
from eenet_runtime.heads.stripping.golden_head import EDGE, GOLDEN_HEAD_FORMAT, STEPS
from eenet_runtime.heads.stripping.two_stages import TwoStages

MIDDLE: Final = 0.6
"""Of what the network sees: 0.449 is the mean."""
STEEPNESS: Final = 20.0
FIND, CUT = StripNetwork("find.onnx", 32), StripNetwork("cut.onnx", 64)
BALL_MM: Final = 45.0


def ball(shape: tuple[int, int, int], radius: float, centre: tuple[float, float, float] | None = None) -> np.ndarray:
    """True inside a ball, in the middle of a volume unless a centre is given, in voxels."""
    middle = centre or tuple((size - 1) / 2 for size in shape)
    places = np.ogrid[tuple(slice(0, size) for size in shape)]
    distances = sum((place - at) ** 2 for place, at in zip(places, middle, strict=True))
    return np.asarray(distances <= radius**2)


def write_stand_in(folder: Path) -> Path:
    """Write the bundle into a new folder."""
    folder.mkdir(parents=True)
    for network in (FIND, CUT):
        (folder / network.path).write_bytes(_graph(network))
    (folder / "LICENSE").write_text("none\n")
    head = (200 * ball((48, 48, 48), 15)).astype(np.uint8)
    stages = TwoStages(_log_odds, _log_odds, EDGE, EDGE, StripPreprocessing())
    probability = stages.brain_probability(head.astype(np.float32), "golden")
    arrays: dict[str, np.ndarray] = {
        "format": np.array(GOLDEN_HEAD_FORMAT, np.int64),
        "head": head,
        "probability": np.rint(probability * STEPS).astype(np.uint8),
    }
    (folder / GOLDEN_NAME).write_bytes(npz_bytes(arrays))
    seal(folder, StripManifest("stand-in", FIND, CUT, (), GOLDEN_NAME, notice="LICENSE"))
    return folder


def seal(folder: Path, manifest: StripManifest | None = None) -> None:
    """Write the manifest anew over the files as they are, as if they had been exported so."""
    manifest = manifest or open_strip_bundle(folder).manifest
    files = describe_files(folder, (FIND.path, CUT.path, GOLDEN_NAME, "LICENSE"))
    (folder / MANIFEST_NAME).write_text(replace(manifest, files=files).to_json())


def _log_odds(values: np.ndarray) -> np.ndarray:
    return (values - np.float32(MIDDLE)) * np.float32(STEEPNESS)


def _graph(network: StripNetwork, steepness: float = STEEPNESS) -> bytes:
    shape = [1, 1, "x", "y", "z"]
    graph = helper.make_graph(
        [
            helper.make_node("Sub", [network.input_name, "middle"], ["above"]),
            helper.make_node("Mul", ["above", "steepness"], [network.output_name]),
        ],
        "stand-in",
        [helper.make_tensor_value_info(network.input_name, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(network.output_name, TensorProto.FLOAT, shape)],
        [
            helper.make_tensor("middle", TensorProto.FLOAT, [], [MIDDLE]),
            helper.make_tensor("steepness", TensorProto.FLOAT, [], [steepness]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    onnx.checker.check_model(model)
    return content
