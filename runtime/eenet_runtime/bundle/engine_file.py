"""What stands beside a TensorRT plan, and what must hold before a plan is deserialised.

A plan is native code: whoever deserialises it runs it. So `<plan>.json` beside each plan says which file it belongs to,
by its SHA-256, what it was built from and for, and `check_engine` refuses everything else. It takes the bytes that will
be deserialised, never a path: a file can change between being hashed and being read again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from types import UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints

from eenet_runtime.bundle.manifest import BundleFile
from eenet_runtime.errors import BackendError, BundleError

ENGINE_SCHEMA_VERSION: Final = 1
"""Version of the sidecar that this runtime reads. Any other is refused: it may mean something else."""

TENSORRT: Final = "tensorrt"
"""Built on the GPU that runs it, for servers."""
TENSORRT_RTX: Final = "tensorrt-rtx"
"""Built anywhere for a list of compute capabilities, finished on the GPU when it is loaded; for workstations."""
FLAVOURS: Final = (TENSORRT, TENSORRT_RTX)

SAME_GPU: Final = "none"
AMPERE_PLUS: Final = "ampere_plus"
SAME_COMPUTE_CAPABILITY: Final = "same_compute_capability"
HARDWARE_COMPATIBILITIES: Final = (SAME_GPU, AMPERE_PLUS, SAME_COMPUTE_CAPABILITY)
"""What else than the GPU it was built on a plan of `tensorrt` may run on; plans of RTX list their targets instead."""

_REBUILD: Final = "build one with eenet-export engine"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_CAPABILITY: Final = re.compile(r"[0-9]{1,2}\.[0-9]")


@dataclass(frozen=True)
class EngineTensor:
    """One input or output of an engine.

    Attributes:
        name: as the artefact in the manifest has it.
        mode: `input` or `output`.
        shape: all axes, the batch of 1 first.
        dtype: NumPy's name: `float32`, `float16`, `uint8`.
    """

    name: str
    mode: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class BuildGpu:
    """The GPU on which a plan of `tensorrt` was built and timed.

    Attributes:
        name: as the driver calls it.
        compute_capability: for example `8.6`.
        multiprocessors: how many it has; parts of one name may differ.
        driver: the newest CUDA version that the driver supports, for example `13.0`.
    """

    name: str
    compute_capability: str
    multiprocessors: int
    driver: str


@dataclass(frozen=True)
class EngineFlags:
    """How the builder was set; an engine that exists is kept only where these agree.

    Attributes:
        opt_level: 0 to 5, how long `tensorrt` searches; RTX ignores it.
        workspace_bytes: scratch memory that a layer may take.
        hardware_compatibility: one of `HARDWARE_COMPATIBILITIES`.
        tf32: always false here: TF32 has 10 bits of mantissa, and its plan would be called `fp32`.
        timing_cache_sha256: of the timing cache that was read; empty where there was none.
    """

    opt_level: int
    workspace_bytes: int
    hardware_compatibility: str = SAME_GPU
    tf32: bool = False
    timing_cache_sha256: str = ""


@dataclass(frozen=True)
class LayerSummary:
    """The builder's own report on the layers of a plan, in four figures.

    Attributes:
        kernels: layers that launch something on the GPU.
        traffic_bytes: activations that these read and write in one inference, weights not counted.
        convolution_dtypes: what the convolutions read, in alphabetical order: proof of the precision.
        sha256: of the report, `<plan>.layers.json`.
    """

    kernels: int
    traffic_bytes: int
    convolution_dtypes: tuple[str, ...]
    sha256: str


@dataclass(frozen=True)
class EngineSidecar:
    """Everything that `<plan>.json` says.

    Attributes:
        flavour: `tensorrt` or `tensorrt-rtx`.
        tensorrt_version: exactly; a plan runs on no other.
        precision: `fp32` or `fp16`.
        plan: the plan's name, SHA-256 and size.
        source: what it was built from: the ONNX graph, then the files with its weights.
        tensors: inputs, then outputs, in the engine's order.
        compute_capabilities: where it runs, for example `("8.6", "8.9")`; one for a plan of `tensorrt`.
        gpu: where it was built; None for RTX, which needs no GPU for that.
        flags: how the builder was set.
        activation_bytes: GPU memory for activations and scratch in one execution context.
        weights_bytes: GPU memory for the weights.
        layers: the builder's report, summed up.
        tools: versions of what built it.
        created: UTC time, ISO 8601.
    """

    flavour: str
    tensorrt_version: str
    precision: str
    plan: BundleFile
    source: tuple[BundleFile, ...]
    tensors: tuple[EngineTensor, ...]
    compute_capabilities: tuple[str, ...]
    gpu: BuildGpu | None
    flags: EngineFlags
    activation_bytes: int
    weights_bytes: int
    layers: LayerSummary
    tools: Mapping[str, str] = field(default_factory=dict)
    created: str = ""

    def to_json(self) -> str:
        """The text of the sidecar; the same sidecar gives the same bytes."""
        return json.dumps({"schema_version": ENGINE_SCHEMA_VERSION, **asdict(self)}, indent=2) + "\n"

    @staticmethod
    def from_json(text: str, source: str) -> EngineSidecar:
        """Parse and check a sidecar.

        Args:
            text: the file's content.
            source: its name, for messages.

        Raises:
            BundleError: not JSON, another schema, a field that is missing, unknown or of the wrong type, or a value
                that cannot be.
        """
        try:
            content = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise BundleError(f"{source}: not JSON ({error})") from error
        version = content.pop("schema_version", None) if isinstance(content, dict) else None
        if type(version) is not int or version != ENGINE_SCHEMA_VERSION:
            raise BundleError(
                f"{source}: schema version {version} found, this runtime reads {ENGINE_SCHEMA_VERSION}; "
                "build the engine again with eenet-export engine"
            )
        sidecar = _read(EngineSidecar, content, "", source)
        assert isinstance(sidecar, EngineSidecar)
        _refuse_odd(sidecar, source)
        return sidecar


def sidecar_name(plan_name: str) -> str:
    """The name of a plan's sidecar, beside it."""
    return f"{plan_name}.json"


def layer_report_name(plan_name: str) -> str:
    """The name of a plan's layer report, beside it."""
    return f"{plan_name}.layers.json"


def norm_stress_name(plan_name: str) -> str:
    """The name of the plan of one group norm, beside a plan in FP16 and for the same places; see `norm_stress`."""
    return f"{plan_name.removesuffix('.plan')}.norm-stress.plan"


def check_engine(
    sidecar: EngineSidecar, plan_bytes: bytes, flavour: str, version: str, compute_capability: str
) -> None:
    """Refuse a plan that must not be deserialised here.

    The order is that of the risk: nothing is compared with an unhashed plan.

    Args:
        sidecar: what stands beside the plan, itself verified by the bundle's manifest.
        plan_bytes: exactly what will be deserialised.
        flavour: `tensorrt` or `tensorrt-rtx`, whichever is about to load it.
        version: exact version of that package.
        compute_capability: of the GPU that is about to run it, for example `8.6`.

    Raises:
        BackendError: other bytes, another flavour, version or compute capability; names found and expected.
    """
    plan = sidecar.plan
    found = hashlib.sha256(plan_bytes).hexdigest()
    if len(plan_bytes) != plan.bytes or found != plan.sha256:
        raise BackendError(
            f"{plan.path}: {len(plan_bytes)} bytes with SHA-256 {found[:12]} found, its sidecar says {plan.bytes} "
            f"bytes with {plan.sha256[:12]}; copy the bundle again"
        )
    check_fit(sidecar, flavour, version, compute_capability)


def check_fit(sidecar: EngineSidecar, flavour: str, version: str, compute_capability: str) -> None:
    """Refuse a plan that was built for something else than what is here, by what its sidecar says.

    Raises:
        BackendError: another flavour, version or compute capability; names found and expected.
    """
    plan = sidecar.plan
    if flavour != sidecar.flavour:
        raise BackendError(f"{plan.path}: a plan of {sidecar.flavour} found, {flavour} needs its own; {_REBUILD}")
    if version != sidecar.tensorrt_version:
        raise BackendError(
            f"{plan.path}: built with {flavour} {sidecar.tensorrt_version}, {version} found here and plans run on no "
            f"other version; install {sidecar.tensorrt_version} or {_REBUILD}"
        )
    if not _runs_on(sidecar, compute_capability):
        allowed = ", ".join(sidecar.compute_capabilities) + (" and newer" if _is_ampere_plus(sidecar) else "")
        raise BackendError(
            f"{plan.path}: built for compute capability {allowed}, this GPU has {compute_capability}; {_REBUILD}"
        )


def _is_ampere_plus(sidecar: EngineSidecar) -> bool:
    return sidecar.flavour == TENSORRT and sidecar.flags.hardware_compatibility == AMPERE_PLUS


def _runs_on(sidecar: EngineSidecar, compute_capability: str) -> bool:
    if _is_ampere_plus(sidecar):
        major = compute_capability.partition(".")[0]
        return major.isdecimal() and int(major) >= 8
    return compute_capability in sidecar.compute_capabilities


def _read(kind: Any, value: Any, where: str, source: str) -> Any:
    """A JSON value as the type that a field announces, or a BundleError that says where it is not.

    Strict where a constructor is not: no unknown fields, no missing ones, no 1 for true and no "1" for 1.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return None if value is None else _read(arguments[0], value, where, source)
    if is_dataclass(kind) and isinstance(kind, type) and isinstance(value, dict):
        hints, known = get_type_hints(kind), {entry.name for entry in fields(kind)}
        if odd := sorted(known ^ value.keys()):
            expected = "unknown to this runtime" if odd[0] in value else "missing"
            raise BundleError(f"{source}: field {_join(where, odd[0])} is {expected}")
        return kind(**{name: _read(hints[name], value[name], _join(where, name), source) for name in sorted(known)})
    if origin is tuple and isinstance(value, list):
        return tuple(_read(arguments[0], entry, f"{where}[{index}]", source) for index, entry in enumerate(value))
    if origin is Mapping and isinstance(value, dict):
        return {key: _read(arguments[1], entry, _join(where, key), source) for key, entry in value.items()}
    if origin is None and type(value) is kind:
        return value
    expected = getattr(kind, "__name__", str(kind))
    raise BundleError(f"{source}: field {where or 'of the whole'} is {value!r:.60}, expected {expected}")


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _refuse_odd(sidecar: EngineSidecar, source: str) -> None:
    """Refuse values of the right type that no builder of ours writes."""
    files = (sidecar.plan, *sidecar.source)
    checks = {
        f"flavour {sidecar.flavour!r}": sidecar.flavour in FLAVOURS,
        f"hardware compatibility {sidecar.flags.hardware_compatibility!r}": (
            sidecar.flags.hardware_compatibility in HARDWARE_COMPATIBILITIES
        ),
        "TF32 arithmetic": not sidecar.flags.tf32,
        "a hash that is no SHA-256": all(
            _SHA256.fullmatch(digest) for digest in (*(entry.sha256 for entry in files), sidecar.layers.sha256)
        ),
        "a size below zero": min(entry.bytes for entry in files) >= 0
        and min(sidecar.activation_bytes, sidecar.weights_bytes, sidecar.layers.traffic_bytes) >= 0,
        f"compute capabilities {sidecar.compute_capabilities}": bool(sidecar.compute_capabilities)
        and all(_CAPABILITY.fullmatch(entry) for entry in sidecar.compute_capabilities),
        "no source": bool(sidecar.source),
        "a tensor that is neither input nor output": all(
            tensor.mode in ("input", "output") for tensor in sidecar.tensors
        ),
        "no input or no output": {tensor.mode for tensor in sidecar.tensors} >= {"input", "output"},
    }
    for found, holds in checks.items():
        if not holds:
            raise BundleError(f"{source}: {found} found, which eenet-export never writes; copy the bundle again")
