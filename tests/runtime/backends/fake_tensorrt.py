"""TensorRT for a GPU that is not there, over `tests.runtime.backends.fake_cuda`.

Its network is a softmax over the four channels of the input, and its labels are their argmax. A plan of it is JSON.
"""

# ruff: noqa: N802  # the names are TensorRT's

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tests.runtime.backends.fake_cuda import FakeCuda

DataType = IntEnum("DataType", {"FLOAT": 0, "HALF": 1, "INT64": 2, "UINT8": 3})
TensorIOMode = IntEnum("TensorIOMode", {"NONE": 0, "INPUT": 1, "OUTPUT": 2})
TensorFormat = IntEnum("TensorFormat", {"LINEAR": 0, "CHW32": 5})
EngineValidity = IntEnum("EngineValidity", {"VALID": 0, "SUBOPTIMAL": 1, "INVALID": 2})
EngineInvalidityDiagnostics = IntEnum("EngineInvalidityDiagnostics", {"VERSION_MISMATCH": 1, "UNSUPPORTED_CC": 2})

Tensor = tuple[str, str, Sequence[int], str]
"""Name, INPUT or OUTPUT, shape, member of `DataType`."""


def fake_plan(tensors: Sequence[Tensor], **traits: Any) -> bytes:
    """A plan that `FakeTensorRT` can load.

    Args:
        tensors: its inputs and outputs.
        traits: `capturable=False`: RTX calls it impossible to record; `allocates=True`: it fails while recorded;
            `nan=True`: its probabilities are no numbers; `label=9`: its labels are that; `format="CHW32"`.
    """
    return json.dumps({"tensors": tensors, **traits}).encode()


class FakeTensorRT:
    """Stands in for the module `tensorrt`, or with `rtx` for `tensorrt_rtx`.

    Attributes:
        deserialised: how many plans have been handed to TensorRT.
        enqueued: how many times an engine was put on the stream.
        header: validity and diagnostics that RTX answers.
    """

    __version__ = "10.9.0.34"
    DataType, TensorIOMode, TensorFormat = DataType, TensorIOMode, TensorFormat

    class ILogger:
        """The base class that a logger must initialise."""

        ERROR = 1

        def __init__(self) -> None:
            self.initialised = True

        def log(self, severity: Any, message: str) -> None:
            raise NotImplementedError

    def __init__(self, cuda: FakeCuda, rtx: bool = False) -> None:
        self.cuda = cuda
        self.rtx = rtx
        self.__name__ = "tensorrt_rtx" if rtx else "tensorrt"
        self.deserialised = 0
        self.enqueued = 0
        self.header = (0, 0)
        if rtx:
            self.EngineValidity = EngineValidity
            self.EngineInvalidityDiagnostics = EngineInvalidityDiagnostics

    def Runtime(self, logger: Any) -> Any:
        """As the class of that name."""
        assert logger.initialised
        return _RtxRuntime(self, logger) if self.rtx else _Runtime(self, logger)


class _Runtime:
    def __init__(self, trt: FakeTensorRT, logger: Any) -> None:
        self._trt, self._logger = trt, logger

    def __setattr__(self, name: str, value: Any) -> None:
        assert name != "engine_host_code_allowed", "a plan must never be allowed to bring host code"
        super().__setattr__(name, value)

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        self._trt.deserialised += 1
        try:
            return _Engine(self._trt, self._logger, json.loads(plan))
        except ValueError:
            self._logger.log(2, "a warning")
            self._logger.log(1, "magic tag\nnot found")
            return None


class _RtxRuntime(_Runtime):
    engine_header_size = 64

    def get_engine_validity(self, header: bytes) -> tuple[Any, int]:
        assert len(header) <= self.engine_header_size
        validity, diagnostics = self._trt.header
        return EngineValidity(validity), diagnostics


class _Engine:
    def __init__(self, trt: FakeTensorRT, logger: Any, plan: dict[str, Any]) -> None:
        self.trt, self.logger, self.plan = trt, logger, plan
        self.tensors = {name: (mode, shape, dtype) for name, mode, shape, dtype in plan["tensors"]}
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, index: int) -> str:
        return str(list(self.tensors)[index])

    def get_tensor_mode(self, name: str) -> Any:
        return TensorIOMode[self.tensors[name][0]]

    def get_tensor_shape(self, name: str) -> list[int]:
        return list(self.tensors[name][1])

    def get_tensor_dtype(self, name: str) -> Any:
        return DataType[self.tensors[name][2]]

    def get_tensor_format(self, name: str) -> Any:
        return TensorFormat[self.plan.get("format", "LINEAR")]

    def create_execution_context(self) -> Any:
        return _RtxContext(self) if self.trt.rtx else _Context(self)


class _Context:
    _NUMPY: Final = {"FLOAT": "float32", "HALF": "float16", "UINT8": "uint8"}

    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._addresses: dict[str, int] = {}

    def __del__(self) -> None:
        self._engine.trt.cuda.freed.append("context")

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return name in self._engine.tensors

    def execute_async_v3(self, stream: int) -> bool:
        trt = self._engine.trt
        trt.enqueued += 1
        if self._engine.plan.get("allocates") and trt.cuda.recording:
            self._engine.logger.log(1, "allocation while recording")
            return False
        trt.cuda.put(self._compute)
        return True

    def _array(self, name: str) -> NDArray[Any]:
        _, shape, dtype = self._engine.tensors[name]
        return self._engine.trt.cuda.array_at(self._addresses[name], shape, self._NUMPY[dtype])

    def _compute(self) -> None:
        plan, tensors = self._engine.plan, self._engine.tensors
        volume = next(self._array(name) for name, tensor in tensors.items() if tensor[0] == "INPUT")
        for name, (mode, _, dtype) in tensors.items():
            if mode == "OUTPUT" and dtype == "UINT8":
                self._array(name)[...] = plan.get("label", volume.argmax(axis=1))
            elif mode == "OUTPUT":
                self._array(name)[...] = np.nan if plan.get("nan") else softmax(volume.astype(np.float32))


class _RtxContext(_Context):
    def is_stream_capturable(self, stream: int) -> bool:
        return bool(self._engine.plan.get("capturable", True))


def softmax(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """Over the channels of float32 (1, C, H, W, D)."""
    powers = np.exp(volume - volume.max(axis=1, keepdims=True))
    result: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
    return result
