"""Any TensorRT engine with fixed shapes: deserialise it, and run it for one of its outputs.

Knows nothing of this network or of bundles; what may be deserialised at all is the caller's business. Takes the module
`tensorrt` or `tensorrt_rtx` as an argument: what is used here is the same in both, in TensorRT 10 and in 11.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from numpy.typing import NDArray

from eenet_runtime.backends.cuda import CudaSession
from eenet_runtime.bundle.engine_file import EngineTensor
from eenet_runtime.errors import BackendError

_DTYPES: Final = {"FLOAT": "float32", "HALF": "float16", "UINT8": "uint8"}
_KEPT_ERRORS: Final = 8


class ErrorLog:
    """The last errors that TensorRT reported, for messages of ours. Nothing is printed."""

    def __init__(self, trt: Any) -> None:
        errors: deque[str] = deque(maxlen=_KEPT_ERRORS)

        class Logger(trt.ILogger):  # type: ignore[misc]  # the base class is known at run time only
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if int(severity) <= int(trt.ILogger.ERROR):
                    errors.append(message)

        self.errors = errors
        self.logger: Any = Logger()

    def last(self) -> str:
        """The last error in one line of at most 200 characters, in brackets; empty where there was none."""
        return f" ({' '.join(self.errors[-1].split())[:200]})" if self.errors else ""


@dataclass(frozen=True)
class DeserialisedEngine:
    """An engine in memory.

    Attributes:
        runtime, engine: TensorRT's objects; the engine must not outlive the runtime.
        log: where both report errors.
        tensors: inputs and outputs, in the engine's order.
    """

    runtime: Any
    engine: Any
    log: ErrorLog
    tensors: tuple[EngineTensor, ...]


def deserialise(trt: Any, plan: bytes, source: str, *, check_header: bool) -> DeserialisedEngine:
    """Turn a plan into an engine on the current GPU. This runs native code: verify the bytes before.

    Plugins are never registered and `engine_host_code_allowed` stays off: both let a plan bring host code of its own.

    Args:
        trt: the module `tensorrt` or `tensorrt_rtx`.
        plan: the whole file.
        source: its name, for messages.
        check_header: ask RTX first whether the plan's header fits this GPU. A hint only: the header is not protected.

    Raises:
        BackendError: TensorRT refuses the plan, or the engine has a tensor that is not a plain array.
    """
    log = ErrorLog(trt)
    try:
        runtime = trt.Runtime(log.logger)
    except (TypeError, RuntimeError) as error:  # what the bindings make of a null pointer
        raise BackendError(f"{trt.__name__} {trt.__version__} cannot be used here{log.last()}") from error
    if check_header:
        _refuse_header(trt, runtime, plan, source)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise BackendError(f"{source}: {trt.__name__} {trt.__version__} cannot load this plan{log.last()}")
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    for name in names:
        if engine.get_tensor_format(name).name != "LINEAR":
            found = engine.get_tensor_format(name).name
            raise BackendError(f"{source}: tensor {name} has format {found}, expected LINEAR")
    return DeserialisedEngine(runtime, engine, log, tuple(_describe(engine, name) for name in names))


class EngineRunner:
    """An engine with its buffers and, where it can be recorded, one CUDA graph for each output.

    Attributes:
        arrays: page-locked arrays by tensor name. Write the inputs in place; `run` fills one output. They live as
            long as the session: hand out copies only.
        why_no_graphs: why runs are not replayed from CUDA graphs; empty where they are.
    """

    def __init__(self, loaded: DeserialisedEngine, session: CudaSession) -> None:
        """Make buffers, run once to warm up, record, and run each output once; the session frees everything.

        Raises:
            BackendError: not enough memory, or the engine does not run.
        """
        self._loaded: DeserialisedEngine | None = loaded
        self._session = session
        self._context: Any = loaded.engine.create_execution_context()
        if self._context is None:
            raise BackendError(f"TensorRT cannot make an execution context{loaded.log.last()}")
        self._inputs = [tensor.name for tensor in loaded.tensors if tensor.mode == "input"]
        self._outputs = [tensor.name for tensor in loaded.tensors if tensor.mode == "output"]
        self.arrays: dict[str, NDArray[Any]] = {}
        self._addresses: dict[str, int] = {}
        for tensor in loaded.tensors:
            array = session.pinned_array(tensor.shape, tensor.dtype)
            self.arrays[tensor.name] = array
            self._addresses[tensor.name] = session.device_buffer(array.nbytes)
            if not self._context.set_tensor_address(tensor.name, self._addresses[tensor.name]):
                raise BackendError(f"TensorRT does not take a buffer for {tensor.name}{loaded.log.last()}")
        session.on_close(self._release)
        self._graphs: dict[str, Any] = {}
        # The first run allocates and compiles, which must not happen while a graph is recorded.
        self._run_once()
        self.why_no_graphs = self._record()
        self._run_once()

    def run(self, output: str) -> NDArray[Any]:
        """Compute from what lies in the input arrays, and copy one output back.

        Returns:
            `arrays[output]`; the next run overwrites it.

        Raises:
            BackendError: the engine or the GPU failed.
        """
        if output in self._graphs:
            self._session.replay(self._graphs[output])
        else:
            self._put_on_stream(output)
        self._session.synchronize()
        return self.arrays[output]

    def _run_once(self) -> None:
        for output in self._outputs:
            self.run(output)

    def _put_on_stream(self, output: str) -> None:
        for name in self._inputs:
            self._session.upload(self.arrays[name], self._addresses[name])
        if not self._context.execute_async_v3(self._session.stream):
            assert self._loaded is not None
            raise BackendError(f"TensorRT cannot start the engine{self._loaded.log.last()}")
        self._session.download(self._addresses[output], self.arrays[output])

    def _record(self) -> str:
        """Record a graph for each output, or none at all; returns why none."""
        # RTX only: engines that allocate while they run cannot be recorded, and RTX knows which do.
        capturable = getattr(self._context, "is_stream_capturable", None)
        if capturable is not None and not capturable(self._session.stream):
            return "TensorRT says that this engine cannot be recorded"
        try:
            graphs = {output: self._session.capture(partial(self._put_on_stream, output)) for output in self._outputs}
        except BackendError as error:
            return str(error)
        self._graphs = graphs
        return ""

    def _release(self) -> None:
        # TensorRT wants its objects freed from the inside out; arrays would point to memory that is gone.
        self._context = None
        self._loaded = None
        self.arrays.clear()


def _describe(engine: Any, name: str) -> EngineTensor:
    dtype = engine.get_tensor_dtype(name).name
    mode = engine.get_tensor_mode(name).name.lower()
    shape = tuple(int(size) for size in engine.get_tensor_shape(name))
    return EngineTensor(name, mode, shape, _DTYPES.get(dtype, dtype.lower()))


def _refuse_header(trt: Any, runtime: Any, plan: bytes, source: str) -> None:
    validity, diagnostics = runtime.get_engine_validity(plan[: runtime.engine_header_size])
    if validity == trt.EngineValidity.INVALID:
        flags = trt.EngineInvalidityDiagnostics.__members__.items()
        reasons = [name.lower() for name, flag in flags if int(diagnostics) & int(flag)]
        raise BackendError(f"{source}: TensorRT-RTX calls the plan invalid here ({', '.join(reasons) or 'no reason'})")
