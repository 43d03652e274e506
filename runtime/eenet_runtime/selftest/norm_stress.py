"""Does a GPU keep the statistics of group norm in FP32 where the rest is FP16? No document promises it.

A group of this network's first level spans 8.8 million voxels. Summed in half precision that stalls at 2048 and ends at
65504; a squared deviation above 255 is infinity already. On a CPU the fault cannot be seen, as engines there compute
half precision in single. So an engine of one group norm is run on the GPU itself, on values that force the fault.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.errors import BackendError

Half = NDArray[np.float16]

STRESS_MEAN: Final = 1000.0
STRESS_DEVIATION: Final = 300.0
STRESS_SHAPE: Final = (1, 16, 32, 32, 32)
"""Channels first; a group of two channels has 65,536 values, enough for every fault above."""
GROUPS: Final = 8
EPSILON: Final = 1e-3
"""The network's own."""
LIMIT: Final = 0.01
"""Largest error allowed. Results lie within 6 and are rounded to 0.002 there; a deviation that was stored in half
precision before the division adds 0.002. A faulty sum is off by tenths at least."""
_SEED: Final = 20


@dataclass(frozen=True)
class StressResult:
    """What a norm stress test found.

    Attributes:
        max_abs_error: against float64; infinity where a result is not finite.
        passed: whether that is within `LIMIT`.
    """

    max_abs_error: float
    passed: bool


def norm_stress(run: Callable[[Half], NDArray[Any]], shape: tuple[int, ...] = STRESS_SHAPE) -> StressResult:
    """Run a group norm on values of mean 1000 and standard deviation 300 and compare with float64.

    Args:
        run: group norm of `GROUPS` groups over float16 (1, C, H, W, D), epsilon `EPSILON`, scale 1, offset 0.
        shape: of its input, which is the shape of its output.

    Raises:
        BackendError: `run` gave another shape.
    """
    values = np.random.default_rng(_SEED).normal(STRESS_MEAN, STRESS_DEVIATION, shape).astype(np.float16)
    expected = _group_norm(values.astype(np.float64))
    computed = np.asarray(run(values))
    if computed.shape != expected.shape:
        raise BackendError(f"norm stress test: shape {computed.shape} found, expected {expected.shape}")
    if not np.isfinite(computed).all():
        return StressResult(float("inf"), False)
    error = float(np.abs(computed.astype(np.float64) - expected).max())
    return StressResult(error, error <= LIMIT)


def norm_stress_of_plan(plan: bytes, flavour: str, device: int = 0) -> StressResult:
    """The norm stress test of a plan on a GPU of this machine.

    Args:
        plan: an engine of one group norm as in `norm_stress`, one input and one output, both float16. It is
            deserialised as it is, and that runs native code: pass what this program built, nothing from elsewhere.
        flavour: `tensorrt` or `tensorrt-rtx`.
        device: the GPU's number.

    Raises:
        BackendError: a package or the GPU is missing, or the plan is another one.
    """
    from eenet_runtime.backends.cuda import CudaSession
    from eenet_runtime.backends.engine_runner import EngineRunner, deserialise
    from eenet_runtime.backends.tensorrt_backend import load_tensorrt
    from eenet_runtime.backends.tensorrt_rtx_backend import load_tensorrt_rtx
    from eenet_runtime.bundle.engine_file import TENSORRT_RTX

    is_rtx = flavour == TENSORRT_RTX
    trt = load_tensorrt_rtx() if is_rtx else load_tensorrt()
    with CudaSession(device) as session:
        loaded = deserialise(trt, plan, "norm stress test", check_header=is_rtx)
        kinds = sorted((tensor.mode, tensor.dtype) for tensor in loaded.tensors)
        if kinds != [("input", "float16"), ("output", "float16")]:
            raise BackendError(f"norm stress test: tensors {kinds} found, expected one input and one output in float16")
        names = {tensor.mode: tensor.name for tensor in loaded.tensors}
        runner = EngineRunner(loaded, session)

        def run(values: Half) -> NDArray[Any]:
            runner.arrays[names["input"]][...] = values
            return runner.run(names["output"]).copy()

        return norm_stress(run, next(tensor.shape for tensor in loaded.tensors if tensor.mode == "input"))


def _group_norm(values: NDArray[np.float64]) -> NDArray[np.float64]:
    groups = values.reshape(GROUPS, -1)
    centred = groups - groups.mean(axis=1, keepdims=True)
    normalised: NDArray[np.float64] = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + EPSILON)
    return normalised.reshape(values.shape)
