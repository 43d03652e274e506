"""File names of engines: what a plan is for can be read from its name, and never is; the sidecar says it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

from eenet_runtime.bundle.engine_file import AMPERE_PLUS, SAME_COMPUTE_CAPABILITY


def plan_name(
    graph: str, precision: str, version: str, capabilities: Sequence[str], gpu: str = "", compatibility: str = ""
) -> str:
    """The name of a plan: `model.cc80-86.trt1.7.1.116.fp16.plan`, `model.nvidia-l4.trt10.16.1.11.fp16.plan`.

    Args:
        graph: name of the ONNX file it is built from.
        precision: `fp16` or `fp32`.
        version: exact version of the library.
        capabilities: where it runs.
        gpu: name of the GPU it was built on; empty for RTX.
        compatibility: what else it runs on, see `eenet_runtime.bundle.engine_file.HARDWARE_COMPATIBILITIES`.
    """
    stem = PurePath(graph).name.removesuffix(".onnx").removesuffix(f".{precision}")
    if gpu and compatibility not in (AMPERE_PLUS, SAME_COMPUTE_CAPABILITY):
        place = re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-") or "gpu"
    elif compatibility == AMPERE_PLUS:
        place = "ampere-plus"
    else:
        place = "cc" + "-".join(capability.replace(".", "") for capability in capabilities)
    return f"{stem}.{place}.trt{version}.{precision}.plan"
