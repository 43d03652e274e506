"""The backends for `tensorrt` and `tensorrt-rtx`, on an imagined GPU: what they compute and what they survive.

What only a GPU can show is in tests/gpu/test_engines_on_gpu.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eenet_runtime.bundle.engine_file import FLAVOURS, TENSORRT, TENSORRT_RTX
from eenet_runtime.errors import BackendError
from tests.runtime.backends.engine_site import SHAPE, VOXELS, Site, expected_probabilities, make_site, make_volume
from tests.runtime.backends.fake_cuda import CudaStatus, FakeCuda


@pytest.fixture(params=FLAVOURS)
def site(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return make_site(request.param, tmp_path, monkeypatch)


@pytest.mark.parametrize("input_dtype", ["float32", "float16"])
def test_it_gives_the_networks_probabilities_and_labels(site: Site, input_dtype: str) -> None:
    site.artifact = replace(site.artifact, input_dtype=input_dtype)
    site.write()
    backend, volume = site.load(), make_volume()
    kept = volume.copy()
    rounded = volume.astype(input_dtype).astype(np.float32)
    probabilities, labels = backend(volume), backend.labels(volume)
    assert np.array_equal(volume, kept)
    assert (probabilities.shape, probabilities.dtype.name) == ((*SHAPE, 4), "float32")
    assert np.array_equal(probabilities, expected_probabilities(rounded))
    assert (labels.shape, labels.dtype.name) == (SHAPE, "uint8")
    assert np.array_equal(labels, rounded.argmax(axis=-1))


def test_results_belong_to_the_caller(site: Site) -> None:
    site.write()
    backend = site.load()
    first, second = make_volume(1), make_volume(2)
    probabilities, labels = backend(first), backend.labels(first)
    backend(second), backend.labels(second)
    backend.close()
    assert np.array_equal(probabilities, expected_probabilities(first))
    assert np.array_equal(labels, first.argmax(axis=-1))


def test_labels_cost_the_copy_of_labels_only(site: Site) -> None:
    site.write()
    backend = site.load()
    before = site.cuda.downloaded
    backend.labels(make_volume())
    assert site.cuda.downloaded - before == VOXELS
    backend(make_volume())
    assert site.cuda.downloaded - before == VOXELS + 4 * 4 * VOXELS


def test_runs_are_replayed_from_cuda_graphs(site: Site) -> None:
    site.write()
    backend = site.load()
    enqueued, volume = site.trt.enqueued, make_volume()
    first, second = backend.labels(volume), backend.labels(volume)
    assert site.trt.enqueued == enqueued
    assert np.array_equal(first, second)
    assert backend.device == "Imagined GPU (GPU 0, compute capability 8.6, CUDA graphs)"
    assert (backend.name, backend.version) == (site.flavour, site.trt.__version__)


def test_an_engine_that_fails_while_recorded_runs_without_graphs_and_says_so(site: Site) -> None:
    site.write(allocates=True)
    backend, volume = site.load(), make_volume()
    assert "no CUDA graphs: TensorRT cannot start the engine (allocation while recording)" in backend.device
    enqueued = site.trt.enqueued
    assert np.array_equal(backend.labels(volume), volume.argmax(axis=-1))
    assert np.array_equal(backend(volume), expected_probabilities(volume))
    assert site.trt.enqueued == enqueued + 2


def test_an_engine_that_rtx_calls_impossible_to_record_is_not_tried(site: Site) -> None:
    site.write(capturable=False)
    backend, volume = site.load(), make_volume()
    assert ("no CUDA graphs" in backend.device) is (site.flavour == TENSORRT_RTX)
    assert ("cudaStreamBeginCapture" in site.cuda.calls) is (site.flavour == TENSORRT)
    assert np.array_equal(backend.labels(volume), volume.argmax(axis=-1))


def test_an_engine_of_labels_only_refuses_probabilities(site: Site) -> None:
    site.artifact = replace(site.artifact, probabilities_name="")
    site.write()
    backend, volume = site.load(), make_volume()
    assert np.array_equal(backend.labels(volume), volume.argmax(axis=-1))
    with pytest.raises(BackendError, match=r"model\.plan gives labels only"):
        backend(volume)


def test_probabilities_that_are_no_numbers_are_an_error(site: Site) -> None:
    site.write(nan=True)
    with pytest.raises(BackendError, match="NaN or infinity"):
        site.load()(make_volume())


def test_a_label_that_is_no_class_is_an_error(site: Site) -> None:
    site.write(label=4)
    with pytest.raises(BackendError, match="computed class 4, expected 0 to 3"):
        site.load().labels(make_volume())


def test_a_voxel_beyond_half_precision_is_an_error_and_not_an_infinity(site: Site) -> None:
    site.artifact = replace(site.artifact, input_dtype="float16")
    site.write()
    backend, volume = site.load(), make_volume()
    large = volume.copy()
    large[1, 2, 3, 0] = 1e5
    with pytest.raises(BackendError, match="too large for float16"):
        backend.labels(large)
    assert np.array_equal(backend.labels(volume), volume.astype(np.float16).argmax(axis=-1))


@pytest.mark.parametrize("change", [lambda v: v[:-1], lambda v: v.astype(np.float64), lambda v: np.moveaxis(v, -1, 0)])
def test_another_array_than_the_networks_is_a_bug_of_the_caller(site: Site, change: Callable[[Any], Any]) -> None:
    site.write()
    backend = site.load()
    with pytest.raises(ValueError, match="the model reads float32"):
        backend.labels(change(make_volume()))


def test_threads_that_share_a_backend_get_their_own_results(site: Site) -> None:
    site.write()
    backend = site.load()
    volumes = [make_volume(seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(backend.labels, volumes))
    for volume, labels in zip(volumes, results, strict=True):
        assert np.array_equal(labels, volume.argmax(axis=-1))


def test_a_second_gpu_is_used_from_any_thread(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda(devices=2)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cuda)
    site.trt.cuda = cuda
    site.write()
    backend, volume = site.load(device=1), make_volume()
    assert "GPU 1" in backend.device
    with ThreadPoolExecutor(1) as threads:
        labels = threads.submit(backend.labels, volume).result()
    assert np.array_equal(labels, volume.argmax(axis=-1))


# What it survives


def test_after_a_device_error_no_call_reaches_the_gpu_again(site: Site) -> None:
    site.write()
    backend, volume = site.load(), make_volume()
    site.cuda.failures["cudaStreamSynchronize"] = CudaStatus.cudaErrorIllegalAddress
    with pytest.raises(BackendError, match=r"computing: cudaErrorIllegalAddress .*; restart the process"):
        backend.labels(volume)
    site.cuda.failures.clear()
    calls = len(site.cuda.calls)
    for call in (backend.labels, backend):
        with pytest.raises(BackendError, match=r"failed earlier \(.*cudaErrorIllegalAddress.*restart the process"):
            call(volume)
    assert len(site.cuda.calls) == calls
    backend.close()
    assert site.cuda.live == []


def test_a_device_error_while_loading_is_not_taken_for_an_engine_without_graphs(site: Site) -> None:
    site.write()
    site.cuda.failures["cudaGraphInstantiate"] = CudaStatus.cudaErrorIllegalAddress
    with pytest.raises(BackendError, match="cudaErrorIllegalAddress"):
        site.load()
    assert site.cuda.live == []


@pytest.mark.parametrize("function", ["cudaMalloc", "cudaHostAlloc", "cudaStreamSynchronize", "cudaMemcpyAsync"])
def test_a_load_that_fails_leaves_nothing_on_the_gpu(site: Site, function: str) -> None:
    site.write()
    site.cuda.failures[function] = CudaStatus.cudaErrorMemoryAllocation
    with pytest.raises(BackendError, match="cudaErrorMemoryAllocation"):
        site.load()
    assert site.cuda.live == []


def test_closing_frees_everything_and_may_be_repeated(site: Site) -> None:
    site.write()
    backend = site.load()
    assert {kind for kind, _ in site.cuda.live} == {"stream", "host", "device", "executable"}
    site.cuda.freed.clear()
    backend.close()
    backend.close()
    assert site.cuda.live == []
    # Graphs hold kernels of the engine, and the engine knows the buffers: from the outside in.
    assert list(dict.fromkeys(site.cuda.freed)) == ["executable", "context", "device", "host", "stream"]
    with pytest.raises(BackendError, match="closed"):
        backend.labels(make_volume())
