"""A stand-in for the compiled extension, and a small bundle for it: what the backend does with both can be tested
without a compiler, and with a processor of any kind."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from eenet_runtime.bundle.manifest import MANIFEST_NAME, Artifact, describe_files, open_bundle
from eenet_runtime.bundle.weights_file import WEIGHTS_FILE
from tests.synthetic import TINY

PLANE_FILE: Final = "plane.onnx"
ARTIFACT: Final = Artifact("native", PLANE_FILE, "fp32", "fp16")


@dataclass(frozen=True)
class Features:
    """What `cpu_features` says."""

    avx2: bool = True
    fma: bool = True
    avx512f: bool = False


WEIGHTS: Final[Mapping[str, NDArray[Any]]] = {
    "Conv3D_1_L1/kernel": np.full((16, 16, 3, 3, 3), 1 / 3, np.float16),
    "Conv3D_1_L1/bias": np.arange(16, dtype=np.float32),
    "GroupNorm_1_L1/gamma": np.ones(16, np.float32),
    "GroupNorm_1_L1/beta": np.zeros(16, np.float32),
    "stem_conv/kernel": np.ones((32, 3, 3, 3), np.float16),
    "stem_bn/gamma": np.ones(32, np.float32),
}
"""Two layers of the 3D part and two of the 2D part; the stand-in computes with none of them."""


@dataclass
class StandIn:
    """What the extension was asked for, and how it shall fail.

    Attributes:
        features: what its `cpu_features` says.
        made: arguments of each engine.
        fail_at: `Engine`, `encode` or `decode`; where `error` is raised.
        error: what is raised there.
        spoil: what the plane and the probabilities are multiplied with.
    """

    features: Features = field(default_factory=Features)
    made: list[dict[str, Any]] = field(default_factory=list)
    fail_at: str = ""
    error: Exception = field(default_factory=lambda: ValueError("no reason"))
    spoil: float = 1.0

    def check(self, where: str) -> None:
        """Fail, if it shall fail here."""
        if where == self.fail_at:
            raise self.error


def install(monkeypatch: pytest.MonkeyPatch, **how: Any) -> StandIn:
    """Let the stand-in be what `import eenet_native` finds."""
    state = StandIn(**how)

    class Engine:
        """Slices are means over a third of the depth; a class for each voxel from its first channel and its plane."""

        def __init__(
            self, shape: tuple[int, int, int], depth_strides: tuple[int, int, int], weights: Any, **rest: Any
        ) -> None:
            state.check("Engine")
            state.made.append({"shape": shape, "depth_strides": depth_strides, "weights": weights, **rest})
            self.instructions = "avx2"
            self.kept: NDArray[np.float32] | None = None

        def close(self) -> None:
            self.kept = None

        def encode(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
            state.check("encode")
            assert volume.flags.c_contiguous
            assert volume.dtype == np.float32
            self.kept = volume
            channels, height, width, depth = volume.shape
            thirds = volume.reshape(channels, height, width, 3, depth // 3).mean(axis=(0, 4))
            plane: NDArray[np.float32] = (thirds * np.float32(state.spoil))[np.newaxis]
            return plane

        def decode_probabilities(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
            state.check("decode")
            assert self.kept is not None
            logits = self.kept + plane[0].sum(axis=-1)[np.newaxis, ..., np.newaxis]
            exponentials = np.exp(logits - logits.max(axis=0))
            probabilities: NDArray[np.float32] = exponentials / exponentials.sum(axis=0)
            return probabilities

        def decode(self, plane: NDArray[np.float32]) -> NDArray[np.uint8]:
            labels: NDArray[np.uint8] = self.decode_probabilities(plane).argmax(axis=0).astype(np.uint8)
            return labels

    module = ModuleType("eenet_native")
    vars(module).update(Engine=Engine, cpu_features=lambda: state.features)
    # `importlib.util.find_spec` asks a module that is imported already.
    module.__spec__ = ModuleSpec("eenet_native", None)
    monkeypatch.setitem(sys.modules, "eenet_native", module)
    return state


def uninstall(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `import eenet_native` find nothing, also where it is installed."""
    monkeypatch.setitem(sys.modules, "eenet_native", None)


def write_weights(path: Path, weights: Mapping[str, NDArray[Any]] = WEIGHTS) -> None:
    """A weights file."""
    header: dict[str, Any] = {"__metadata__": {"kernels": "onnx"}}
    content = b""
    for name, array in weights.items():
        dtype = {"float16": "F16", "float32": "F32"}[array.dtype.name]
        begin, content = len(content), content + array.tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [begin, len(content)]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)


def write_plane_graph(
    path: Path, height: int = TINY.shape[0], width: int = TINY.shape[1], *, factor: float = 2
) -> Path:
    """A graph that doubles the plane."""
    import onnx
    from onnx import TensorProto, helper

    shape = [1, height, width, 3]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["plane", "factor"], ["slices"])],
        "plane",
        [helper.make_tensor_value_info("plane", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("slices", TensorProto.FLOAT, shape)],
        [helper.make_tensor("factor", TensorProto.FLOAT, [], [factor])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save_model(model, path)
    return path


def add_native_artifact(folder: Path) -> None:
    """Give a bundle of `tests.synthetic` a native artefact that the stand-in runs."""
    write_weights(folder / WEIGHTS_FILE)
    write_plane_graph(folder / PLANE_FILE)
    manifest = open_bundle(folder).manifest
    changed = replace(
        manifest,
        artifacts=(*manifest.artifacts, ARTIFACT),
        files=(*manifest.files, *describe_files(folder, (PLANE_FILE, WEIGHTS_FILE))),
    )
    (folder / MANIFEST_NAME).write_text(changed.to_json())
