"""A machine with an imagined GPU and TensorRT, and a plan in a folder: what the tests of both backends start from."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from eenet_runtime.backends.base import Backend
from eenet_runtime.backends.tensorrt_backend import TensorRTBackend
from eenet_runtime.backends.tensorrt_rtx_backend import TensorRTRTXBackend
from eenet_runtime.bundle.engine_file import (
    TENSORRT_RTX,
    BuildGpu,
    EngineFlags,
    EngineSidecar,
    EngineTensor,
    LayerSummary,
    sidecar_name,
)
from eenet_runtime.bundle.manifest import Artifact, BundleFile
from eenet_runtime.errors import BackendError
from tests.runtime.backends.fake_cuda import FakeCuda
from tests.runtime.backends.fake_tensorrt import FakeTensorRT, Tensor, fake_plan, softmax
from tests.synthetic import TINY

SHAPE: Final = TINY.shape
VOXELS: Final = SHAPE[0] * SHAPE[1] * SHAPE[2]
_NUMPY: Final = {"FLOAT": "float32", "HALF": "float16", "UINT8": "uint8", "INT64": "int64"}


@dataclass
class Site:
    """A machine with an imagined GPU and TensorRT, and a folder for a plan."""

    folder: Path
    cuda: FakeCuda
    trt: FakeTensorRT
    flavour: str
    artifact: Artifact

    @property
    def plan(self) -> Path:
        """Where the plan is."""
        return self.folder / self.artifact.path

    def tensors(self) -> list[Tensor]:
        """The tensors that the artefact announces."""
        dtype = {"float32": "FLOAT", "float16": "HALF"}[self.artifact.input_dtype]
        tensors: list[Tensor] = [
            (self.artifact.input_name, "INPUT", (1, 4, *SHAPE), dtype),
            (self.artifact.labels_name, "OUTPUT", (1, *SHAPE), "UINT8"),
        ]
        if self.artifact.probabilities_name:
            tensors.append((self.artifact.probabilities_name, "OUTPUT", (1, 4, *SHAPE), "FLOAT"))
        return tensors

    def write(self, tensors: Sequence[Tensor] | None = None, *, change: Any = None, **traits: Any) -> None:
        """Write a plan with these tensors and traits (`fake_plan`), and its sidecar with these changes."""
        tensors = self.tensors() if tensors is None else tensors
        self.plan.write_bytes(fake_plan(tensors, **traits))
        sidecar = EngineSidecar(
            flavour=self.flavour,
            tensorrt_version=self.trt.__version__,
            precision=self.artifact.precision,
            plan=described(self.plan),
            source=(BundleFile("model.onnx", "0" * 64, 1),),
            tensors=tuple(EngineTensor(n, mode.lower(), tuple(s), _NUMPY[d]) for n, mode, s, d in tensors),
            compute_capabilities=("8.6",),
            gpu=None if self.flavour == TENSORRT_RTX else BuildGpu("Imagined GPU", "8.6", 46, "13.0"),
            flags=EngineFlags(3, 1 << 30),
            activation_bytes=500 << 20,
            weights_bytes=30 << 20,
            layers=LayerSummary(206, 9 << 30, ("float16",), "0" * 64),
        )
        path = self.plan.with_name(sidecar_name(self.plan.name))
        path.write_text(replace(sidecar, **(change or {})).to_json())

    def load(self, *, sha256: str = "", **options: Any) -> Backend:
        """The plan in the backend of its flavour; the manifest's hash is by default the plan's as it lies there."""
        kind = TensorRTRTXBackend if self.flavour == TENSORRT_RTX else TensorRTBackend
        return kind(self.plan, self.artifact, TINY, sha256=sha256 or described(self.plan).sha256, **options)

    def refused(self, message: str, kind: type[Exception] = BackendError, **options: Any) -> None:
        """Loading fails with this message; TensorRT has seen no byte of the plan, and nothing is left on the GPU."""
        before = self.trt.deserialised
        with pytest.raises(kind, match=message):
            self.load(**options)
        assert self.trt.deserialised == before
        assert self.cuda.live == []


def described(path: Path) -> BundleFile:
    """A file as manifests and sidecars have it."""
    content = path.read_bytes()
    return BundleFile(path.name, hashlib.sha256(content).hexdigest(), len(content))


def make_volume(seed: int = 0) -> NDArray[np.float32]:
    """A random input, float32 (H, W, D, 4)."""
    return np.random.default_rng(seed).normal(size=(*SHAPE, 4)).astype(np.float32)


def expected_probabilities(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the imagined network makes of a volume, float32 (H, W, D, 4)."""
    return np.moveaxis(softmax(np.moveaxis(volume, -1, 0)[np.newaxis])[0], 0, -1)


def make_site(flavour: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A machine for one of the two flavours; nothing is in the folder yet."""
    cuda = FakeCuda()
    trt = FakeTensorRT(cuda, rtx=flavour == TENSORRT_RTX)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cuda)
    monkeypatch.setitem(sys.modules, trt.__name__, trt)
    return Site(folder, cuda, trt, flavour, Artifact(flavour, "model.plan", "fp16", "fp16"))
