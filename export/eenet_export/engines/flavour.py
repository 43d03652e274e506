"""`tensorrt` 10.9 to 11 and `tensorrt_rtx` as one library: what differs is looked for, never assumed from a version.

Numbers of flags in particular: STRONGLY_TYPED is 1 in `tensorrt` 10 and 0 in 11 and in RTX, where a hard-coded 1 means
something else, and in 10 a hard-coded 0 silently builds in FP32.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from eenet_runtime.bundle.engine_file import AMPERE_PLUS, SAME_COMPUTE_CAPABILITY, TENSORRT, TENSORRT_RTX, BuildGpu
from eenet_runtime.errors import BackendError, ExportError

_MODULES: Final = {TENSORRT: "tensorrt", TENSORRT_RTX: "tensorrt_rtx"}
_EXTRAS: Final = {TENSORRT: "tensorrt", TENSORRT_RTX: "rtx"}
_OLDEST: Final = (10, 9)
"""The first `tensorrt` that parses GroupNormalization of opset 21."""
_AMPERE: Final = (8, 0)


@dataclass(frozen=True)
class Flavour:
    """One of the two libraries, imported.

    Attributes:
        name: `tensorrt` or `tensorrt-rtx`.
        trt: the module.
        version: exactly.
    """

    name: str
    trt: Any
    version: str


def load_flavour(name: str) -> Flavour:
    """Import a library.

    Raises:
        ExportError: it is not installed, cannot be loaded, or is too old; names the pip extra.
    """
    module, install = _MODULES[name], f'pip install "eenet[{_EXTRAS[name]}]"'
    try:
        trt = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ExportError(f"{module} is not installed; install it with: {install}") from error
    except (ImportError, OSError) as error:
        raise ExportError(f"{module} is installed and cannot be loaded ({error}); {install}") from error
    version = str(trt.__version__)
    if name == TENSORRT and _numbers(version)[:2] < _OLDEST:
        raise ExportError(
            f"{module} {version} found, expected {_OLDEST[0]}.{_OLDEST[1]} or newer (GroupNormalization of opset 21); "
            f"{install}"
        )
    return Flavour(name, trt, version)


def find_build_gpu(flavour: Flavour) -> BuildGpu | None:
    """The GPU that a build needs: none for RTX.

    Raises:
        ExportError: `tensorrt` without a GPU, or without cuda-bindings to ask for one.
    """
    if flavour.name == TENSORRT_RTX:
        return None
    from eenet_runtime.backends.cuda import find_gpu

    try:
        gpu = find_gpu()
    except BackendError as error:
        raise ExportError(
            f"an engine of {TENSORRT} is built on the GPU that will run it ({error}); {TENSORRT_RTX} builds without one"
        ) from error
    return BuildGpu(gpu.name, gpu.compute_capability, gpu.multiprocessors, gpu.driver)


def known_compute_capabilities(flavour: Flavour) -> tuple[str, ...]:
    """What RTX can build for, in ascending order, such as `("7.5", "8.0")`; empty for `tensorrt`."""
    if flavour.name != TENSORRT_RTX:
        return ()
    numbers = (name.removeprefix("SM") for name in flavour.trt.ComputeCapability.__members__ if name.startswith("SM"))
    return tuple(f"{number // 10}.{number % 10}" for number in sorted(int(number) for number in numbers))


def choose_targets(flavour: Flavour, asked: Sequence[str], gpu: BuildGpu | None) -> tuple[str, ...]:
    """The compute capabilities that an engine will run on, in ascending order.

    Raises:
        ExportError: one that the builder does not know; lists those it does.
    """
    if gpu is not None:
        return (gpu.compute_capability,)
    known = known_compute_capabilities(flavour)
    for capability in asked:
        if capability not in known:
            raise ExportError(
                f"compute capability {capability} found, {flavour.name} {flavour.version} builds for {', '.join(known)}"
            )
    return tuple(entry for entry in known if (entry in asked if asked else _numbers(entry) >= _AMPERE))


def create_network(flavour: Flavour, builder: Any) -> Any:
    """An empty network whose tensors keep the types of the graph.

    Raises:
        ExportError: the library made none, or one that may choose types itself.
    """
    flag = getattr(flavour.trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    # A version without the flag is one in which every network is strongly typed: 11 announces that.
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    if network is None or (flag is not None and not network.get_flag(flag)):
        raise ExportError(
            f"{flavour.name} {flavour.version} made no strongly typed network, so precisions would be its"
        )
    return network


def create_config(
    flavour: Flavour, builder: Any, targets: Sequence[str], *, workspace_bytes: int, opt_level: int, compatibility: str
) -> Any:
    """A builder's configuration: no TF32, everything reported.

    Raises:
        ExportError: the library refuses a target or does not know this kind of compatibility.
    """
    trt, config = flavour.trt, builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_bytes)
    config.builder_optimization_level = opt_level
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.clear_flag(trt.BuilderFlag.TF32)
    if flavour.name == TENSORRT_RTX:
        _set_targets(flavour, config, targets)
        # The runtime captures CUDA graphs, for which RTX must not allocate by itself.
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    elif compatibility in (AMPERE_PLUS, SAME_COMPUTE_CAPABILITY):
        level = getattr(trt.HardwareCompatibilityLevel, compatibility.upper(), None)
        if level is None:
            raise ExportError(f"{flavour.name} {flavour.version} knows no hardware compatibility {compatibility}")
        config.hardware_compatibility_level = level
    return config


def _set_targets(flavour: Flavour, config: Any, targets: Sequence[str]) -> None:
    if targets:
        config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        capability = getattr(flavour.trt.ComputeCapability, f"SM{target.replace('.', '')}")
        if not config.set_compute_capability(capability, index):
            raise ExportError(f"{flavour.name} {flavour.version} refuses compute capability {target} as a target")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
