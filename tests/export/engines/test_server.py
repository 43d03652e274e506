"""Engines of `tensorrt`, which are built on the GPU that will run them; loading and running them is in `tests/gpu`."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from eenet_export.engines import EngineSettings, add_engine
from eenet_runtime.backends.cuda import find_gpu
from eenet_runtime.bundle.engine_file import TENSORRT
from tests.export.engines.engine_graphs import write_engine_bundle

pytestmark = pytest.mark.gpu


def test_tensorrt_builds_for_the_gpu_of_this_machine(tmp_path: Path) -> None:
    bundle = write_engine_bundle(tmp_path / "bundle", "fp16", "fp32")
    for precision, dtype in (("fp16", "float16"), ("fp32", "float32")):
        sidecar = add_engine(bundle, EngineSettings(TENSORRT, precision, opt_level=0)).sidecar
        assert sidecar.gpu is not None
        assert sidecar.compute_capabilities == (find_gpu().compute_capability,)
        assert sidecar.layers.convolution_dtypes == (dtype,)
        assert sidecar.activation_bytes > 0


def test_a_timing_cache_is_written_read_and_named_in_the_sidecar(tmp_path: Path) -> None:
    bundle, cache = write_engine_bundle(tmp_path / "bundle", "fp16"), tmp_path / "timings"
    settings = EngineSettings(TENSORRT, opt_level=1, timing_cache=cache)
    assert add_engine(bundle, settings).sidecar.flags.timing_cache_sha256 == ""
    content = cache.read_bytes()
    assert not add_engine(bundle, settings).built
    second = add_engine(bundle, EngineSettings(TENSORRT, opt_level=2, timing_cache=cache))
    assert second.sidecar.flags.timing_cache_sha256 == hashlib.sha256(content).hexdigest()
