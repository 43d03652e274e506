"""Every inference engine of the toolkit, in one list. A new one is a file beside this and an entry in `ENGINES`.

Nothing heavy is imported: command lines build their help from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Final

from eenet_runtime.errors import BackendError

if TYPE_CHECKING:
    from eenet_runtime.backends.base import Backend, LoadRequest

AUTO: Final = "auto"
"""The backend that is none: whatever serves best."""


@dataclass(frozen=True)
class Package:
    """How an engine gets onto a machine.

    Attributes:
        names: distributions that hold it, any of which will do.
        install: what installs it.
        partner: a distribution that it needs besides.
        features: what the processor must have, as `machine.hardware.find_processor` names it.
    """

    names: tuple[str, ...]
    install: str
    partner: str | None = None
    features: tuple[str, ...] = ()


@dataclass(frozen=True)
class EngineSpec:
    """One engine.

    Attributes:
        name: as `--backend` takes it.
        file: the module that holds it, `PACKAGE.MODULE` or `PACKAGE.MODULE:FUNCTION`; the function, `load` by default,
            turns a `LoadRequest` into a `Backend`.
        module: what it imports.
        kind: the artefacts that it runs.
        cpu, gpu: what it needs on either; None where it does not run there.
        precision: what it runs unless somebody asks for another one; None: whatever comes first in the bundle.
        in_auto: whether `auto` considers it.
        asks: whether its file has a function `obstacle() -> str | None`, which says what on this machine speaks
            against it.
    """

    name: str
    file: str
    module: str
    kind: str
    cpu: Package | None = None
    gpu: Package | None = None
    precision: str | None = None
    in_auto: bool = True
    asks: bool = False

    @property
    def runs_on(self) -> tuple[str, ...]:
        """Kinds of devices, in the order in which they are written: `cpu`, `cuda`."""
        return (*(["cpu"] if self.cpu else []), *(["cuda"] if self.gpu else []))

    @property
    def has_own_kind(self) -> bool:
        """Whether its artefacts are its own: made for it, and for no other engine."""
        return self.kind == self.name

    def load(self, request: LoadRequest) -> Backend:
        """Load a model.

        Raises:
            BackendError, BundleError: see `backends.load`.
        """
        module, _, function = self.file.partition(":")
        loader: Callable[[LoadRequest], Backend] = getattr(import_module(module), function or "load")
        return loader(request)

    def obstacle(self) -> str | None:
        """What on this machine speaks against it, as far as it can tell without a model; None: nothing."""
        if not self.asks:
            return None
        found: str | None = import_module(self.file.partition(":")[0]).obstacle()
        return found


_HERE: Final = "eenet_runtime.backends"
_ORT_ON_GPUS: Final = Package(("onnxruntime-gpu",), 'pip install "eenet[gpu]"')
_CUDA: Final = "cuda-bindings"

# The order is that in which `auto` tries them, the fastest first (docs/decisions/0019-cpu-engines.md, 0025, 0027). A
# CPU computes FP16 graphs in FP32, so they bring nothing there, and INT8 changes masks; ONNX Runtime's TensorRT
# computes FP32 graphs in TF32, which they do not name.
ENGINES: tuple[EngineSpec, ...] = (
    EngineSpec(
        "native",
        f"{_HERE}.native_backend",
        module="eenet_native",
        kind="native",
        cpu=Package(("eenet-native",), "pip install ./runtime/native", features=("avx2", "fma")),
        precision="fp32",
        asks=True,
    ),
    EngineSpec(
        "openvino",
        f"{_HERE}.openvino_backend",
        module="openvino",
        kind="onnx",
        cpu=Package(("openvino",), 'pip install "eenet[openvino]"'),
        precision="fp32",
    ),
    EngineSpec(
        "tensorrt",
        f"{_HERE}.tensorrt_backend",
        module="tensorrt",
        kind="tensorrt",
        gpu=Package(("tensorrt", "tensorrt-cu13", "tensorrt-cu12"), 'pip install "eenet[tensorrt]"', _CUDA),
    ),
    EngineSpec(
        "tensorrt-rtx",
        f"{_HERE}.tensorrt_rtx_backend",
        module="tensorrt_rtx",
        kind="tensorrt-rtx",
        gpu=Package(("tensorrt-rtx", "tensorrt-rtx-cu13"), 'pip install "eenet[rtx]"', _CUDA),
    ),
    EngineSpec(
        "onnxruntime",
        f"{_HERE}.onnxruntime_backend",
        module="onnxruntime",
        kind="onnx",
        cpu=Package(("onnxruntime", "onnxruntime-gpu"), 'pip install "eenet[onnxruntime]"'),
        gpu=_ORT_ON_GPUS,
        precision="fp32",
    ),
    EngineSpec(
        "onnxruntime-tensorrt",
        f"{_HERE}.onnxruntime_backend:load_with_tensorrt",
        module="onnxruntime",
        kind="onnx",
        gpu=_ORT_ON_GPUS,
        precision="fp16",
        in_auto=False,
    ),
)


def backend_names() -> tuple[str, ...]:
    """What `--backend` takes: `auto`, then every engine by the alphabet."""
    return (AUTO, *sorted(spec.name for spec in ENGINES))


def engine_named(name: str) -> EngineSpec:
    """The engine of that name.

    Raises:
        BackendError: there is none; the message lists those that are.
    """
    for spec in ENGINES:
        if spec.name == name:
            return spec
    raise BackendError(f"unknown backend {name!r}; known backends: {', '.join(backend_names())}")
