"""EENet as a notebook runs it: nibabel and NumPy around `model.predict`, or around a tf2onnx graph in ONNX Runtime.

The steps outside the network are those of `naive_way`, without its cleaning: `get_fdata`, z-scores in float64, stack,
crop, cast; argmax, put back, `nib.save`. Where the head lies is found beforehand and not measured.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from eenet_runtime.cases.case_files import CaseFiles
    from eenet_runtime.volumes.grid import Grid
    from eenet_runtime.volumes.placement import Placement
    from eenet_runtime.volumes.presets import GeometryPreset


class _Watch(Protocol):
    def stage(self, name: str) -> Any: ...


class _Network(Protocol):
    """(1, H, W, D, 4) float32 to probabilities (1, H, W, D, classes)."""

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]: ...


class NotebookWay:
    """See `worker.Way`."""

    def __init__(self, network: _Network, preset: GeometryPreset, version: str) -> None:
        self.version = version
        self._network, self._preset = network, preset
        self._known: dict[str, tuple[CaseFiles, Placement, Grid]] = {}

    def meet(self, case_id: str, images: dict[str, str]) -> None:
        """Find the head."""
        from eenet_runtime.cases.case_files import case_from_paths
        from eenet_runtime.cases.preprocessing import prepare, read_case
        from eenet_runtime.volumes.labels import Modality

        files = case_from_paths(case_id, {Modality(name): Path(path) for name, path in images.items()})
        read = read_case(files)
        self._known[case_id] = files, prepare(read, self._preset).placement, read.grid

    def run(self, case_id: str, images: dict[str, str], output: str, watch: _Watch) -> None:
        """Files to file."""
        from eenet_bench.peers import naive_way
        from eenet_runtime.volumes.labels import Modality

        files, placement, grid = self._known[case_id]
        with watch.stage("read"):
            stored = naive_way.read(files)
        with watch.stage("prepare"):
            batch = naive_way.prepare(stored, placement, grid)[np.newaxis]
        with watch.stage("network"):
            probabilities = self._network(batch)[0]
        with watch.stage("restore"):
            labels = naive_way.restore(probabilities, placement, grid)
        with watch.stage("write"):
            naive_way.write(Path(output), labels, files.scheme, files.images[Modality.T1].path)


def load(engine: str, bundle: str, graph: str, threads: int) -> NotebookWay:
    """`engine` is `keras`, with the bundle's weights, or `onnx`, with the graph as tf2onnx wrote it."""
    from eenet_runtime.bundle.manifest import open_bundle

    opened = open_bundle(Path(bundle))
    network, version = _keras(opened, threads) if engine == "keras" else _onnx(graph, threads)
    return NotebookWay(network, opened.manifest.preset, version)


def _keras(bundle: Any, threads: int) -> tuple[_Network, str]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras
    import tensorflow

    from eenet_runtime.bundle.weights_file import WEIGHTS_FILE
    from eenet_train.network.network import build_eenet
    from eenet_train.network.weights import load_weights

    tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    model = build_eenet(bundle.manifest.preset)
    load_weights(model, bundle.folder / WEIGHTS_FILE)

    def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(model.predict(batch, verbose=0))

    return predict, f"Keras {keras.__version__}, TensorFlow {tensorflow.__version__}"


def _onnx(graph: str, threads: int) -> tuple[_Network, str]:
    from eenet_runtime.backends.onnxruntime_backend import load_onnxruntime

    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Its arena makes no difference in time and takes 9 GB with eenet-144; all pipelines shall fit into memory at once.
    options.enable_cpu_mem_arena = False
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(session.run(None, {name: batch})[0])

    return run, f"ONNX Runtime {onnxruntime.__version__}"
