"""An ONNX graph, as bytes, to a TensorRT plan, as bytes: the one way for both libraries."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from eenet_export.engines.flavour import (
    Flavour,
    choose_targets,
    create_config,
    create_network,
    find_build_gpu,
    load_flavour,
)
from eenet_export.engines.layer_report import LayerReport, read_layer_report
from eenet_export.engines.settings import EngineSettings, Progress
from eenet_export.engines.watch import last_errors, make_log, make_monitor
from eenet_runtime.bundle.engine_file import TENSORRT, BuildGpu, EngineFlags, EngineTensor
from eenet_runtime.errors import ExportError

_COMPUTES_IN: Final = {"fp16": "float16", "fp32": "float32"}
_MOST_ERRORS: Final = 5


@dataclass(frozen=True)
class BuildTarget:
    """What an engine will be built with and for: known before the build, and all that its file name needs.

    Attributes:
        flavour: the library.
        gpu: the GPU of this machine for `tensorrt`; None for RTX.
        compute_capabilities: where the engine will run.
    """

    flavour: Flavour
    gpu: BuildGpu | None
    compute_capabilities: tuple[str, ...]


@dataclass(frozen=True)
class BuiltEngine:
    """A plan in memory and what the builder said about it.

    Attributes:
        plan: the plan.
        tensors: its inputs and outputs.
        flags: how the builder was set.
        report: its layers.
        timing_cache: what to keep for the next build; empty for RTX.
    """

    plan: bytes
    tensors: tuple[EngineTensor, ...]
    flags: EngineFlags
    report: LayerReport
    timing_cache: bytes = b""


def find_target(settings: EngineSettings) -> BuildTarget:
    """Load the library and find out what it can build for here.

    Raises:
        ExportError: the library or the GPU that it needs is missing, or it does not know a compute capability.
    """
    flavour = load_flavour(settings.flavour)
    gpu = find_build_gpu(flavour)
    return BuildTarget(flavour, gpu, choose_targets(flavour, settings.compute_capabilities, gpu))


def build_engine(
    graph: bytes,
    name: str,
    tensors: Sequence[EngineTensor],
    settings: EngineSettings,
    target: BuildTarget,
    on_progress: Progress = lambda fraction, phase: None,
) -> BuiltEngine:
    """Build an engine.

    Args:
        graph: an ONNX model with its weights inside.
        name: the graph's name, for messages.
        tensors: the inputs and outputs that the engine shall have; other outputs of the graph are left out.
        settings: what it shall be.
        target: of `find_target` with the same settings.
        on_progress: told how far the build is. What it raises stops the build and passes through.

    Raises:
        ExportError: the graph cannot be parsed, has other tensors, or does not compute in the precision of the
            settings; or the builder fails.
        KeyboardInterrupt: the user stopped the build.
    """
    trt = target.flavour.trt
    log = make_log(trt)
    builder = _create_builder(target.flavour, log)
    network = create_network(target.flavour, builder)
    # The network reads the weights where the parser has them: both, and `graph`, must stay until the plan is there.
    parser = trt.OnnxParser(network, log)
    _parse(parser, graph, name)
    _keep_outputs(network, tensors)
    _refuse_other_tensors(network, tensors, name)
    _refuse_other_precision(trt, network, settings.precision, name)
    config = create_config(
        target.flavour,
        builder,
        # Its own default for "all from Ampere on" keeps 80 MB less of activations than the same list spelled out.
        target.compute_capabilities if settings.compute_capabilities else (),
        workspace_bytes=settings.workspace_bytes,
        opt_level=settings.opt_level,
        compatibility=settings.hardware_compatibility,
    )
    cache, cache_sha256 = _load_timing_cache(config, settings)
    monitor = make_monitor(trt, on_progress)
    config.progress_monitor = monitor
    plan = _run(builder, network, config, monitor)
    if plan is None:
        raise ExportError(f"{name}: {_title(target.flavour)} built nothing ({last_errors(log)})")
    on_progress(1.0, "done")  # a builder may leave out its last step
    return BuiltEngine(
        plan=bytes(plan),
        tensors=tuple(_described(network)),
        flags=EngineFlags(
            opt_level=settings.opt_level,
            workspace_bytes=settings.workspace_bytes,
            hardware_compatibility=settings.hardware_compatibility,
            timing_cache_sha256=cache_sha256,
        ),
        report=read_layer_report(log.report, _title(target.flavour)),
        timing_cache=b"" if cache is None else bytes(cache.serialize()),
    )


def _create_builder(flavour: Flavour, log: Any) -> Any:
    try:
        return flavour.trt.Builder(log)
    except (TypeError, RuntimeError) as error:  # what the bindings make of a null pointer
        raise ExportError(f"{_title(flavour)} cannot be used here ({last_errors(log)})") from error


def _parse(parser: Any, graph: bytes, name: str) -> None:
    if parser.parse(graph):
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    said = "; ".join(" ".join(str(error).split()) for error in errors[:_MOST_ERRORS])
    more = f" and {len(errors) - _MOST_ERRORS} more" if len(errors) > _MOST_ERRORS else ""
    raise ExportError(f"{name}: the ONNX parser of TensorRT refuses it ({said or 'no reason given'}{more})")


def _keep_outputs(network: Any, tensors: Sequence[EngineTensor]) -> None:
    wanted = {tensor.name for tensor in tensors}
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    for output in outputs:
        if output.name not in wanted:
            network.unmark_output(output)


def _refuse_other_tensors(network: Any, tensors: Sequence[EngineTensor], name: str) -> None:
    found = _described(network)
    if set(found) != set(tensors):
        raise ExportError(f"{name}: the graph has {_spelt(found)}, expected {_spelt(tensors)}")


def _described(network: Any) -> list[EngineTensor]:
    inputs = [("input", network.get_input(index)) for index in range(network.num_inputs)]
    outputs = [("output", network.get_output(index)) for index in range(network.num_outputs)]
    return [
        EngineTensor(tensor.name, mode, tuple(int(size) for size in tensor.shape), _dtype_name(tensor.dtype))
        for mode, tensor in (*inputs, *outputs)
    ]


def _refuse_other_precision(trt: Any, network: Any, precision: str, name: str) -> None:
    """Every convolution that costs anything must compute in the precision that the engine is going to be called.

    Those of squeeze and excitation see one voxel, which a graph in half precision may compute in full. Where there is
    no convolution, as in a graph made to test norms, the norms must.
    """
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    convolutions = [layer for layer in layers if layer.type in (trt.LayerType.CONVOLUTION, trt.LayerType.DECONVOLUTION)]
    checked = convolutions or [layer for layer in layers if layer.type == trt.LayerType.NORMALIZATION]
    wrong = [
        layer.name
        for layer in checked
        if _dtype_name(layer.get_input(0).dtype) != _COMPUTES_IN[precision]
        and any(int(size) != 1 for size in tuple(layer.get_input(0).shape)[2:])
    ]
    if wrong or not checked:
        what = "convolutions" if convolutions or not checked else "norms"
        which = f"among them {wrong[0]}" if wrong else "so nothing shows it"
        raise ExportError(
            f"{name}: {len(wrong)} of {len(checked)} {what} do not compute in {precision}, {which}; expected a graph "
            f"in {precision}"
        )


def _load_timing_cache(config: Any, settings: EngineSettings) -> tuple[Any, str]:
    """Give the builder a timing cache: the one of the settings, or an empty one; returns it and the file's SHA-256."""
    if settings.flavour != TENSORRT:
        return None, ""
    content = _read_if_there(settings.timing_cache)
    cache = config.create_timing_cache(content)
    # Never from another GPU: ignore_mismatch stays False.
    if cache is None or not config.set_timing_cache(cache, False):
        raise ExportError(f"{settings.timing_cache}: not a timing cache of this GPU and version; remove it")
    return cache, hashlib.sha256(content).hexdigest() if content else ""


def _read_if_there(path: Path | None) -> bytes:
    try:
        return b"" if path is None else path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise ExportError(f"{path}: cannot be read ({error.strerror or error})") from error


def _run(builder: Any, network: Any, config: Any, monitor: Any) -> Any:
    """Build in a thread of its own, so that Ctrl-C reaches this one and not the middle of a callback."""
    with ThreadPoolExecutor(1, thread_name_prefix="engine") as pool:
        building = pool.submit(builder.build_serialized_network, network, config)
        try:
            plan = building.result()
        except KeyboardInterrupt:
            monitor.stop.set()
            raise
    if monitor.failure is not None:
        raise monitor.failure
    return plan


def _dtype_name(dtype: Any) -> str:
    """NumPy's name of TensorRT's type, and TensorRT's own where NumPy has none."""
    name = str(dtype.name)
    return {"FLOAT": "float32", "HALF": "float16"}.get(name, name.lower())


def _spelt(tensors: Sequence[EngineTensor]) -> str:
    return ", ".join(f"{tensor.mode} {tensor.name} {tensor.dtype} {list(tensor.shape)}" for tensor in tensors)


def _title(flavour: Flavour) -> str:
    return f"{flavour.name} {flavour.version}"
