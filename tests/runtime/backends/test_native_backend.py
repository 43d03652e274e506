"""The backend `native` over a stand-in of the extension: what it passes on, and how everything that can go wrong reads.

The extension itself is tested in tests/native, both together in tests/integration/test_native.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from eenet_runtime.backends import choose, make_backend
from eenet_runtime.backends.native_backend import NativeBackend, obstacle, processor_obstacle
from eenet_runtime.bundle.manifest import MANIFEST_NAME, open_bundle
from eenet_runtime.bundle.weights_file import WEIGHTS_FILE
from eenet_runtime.errors import BackendError, BundleError, SelfTestError
from eenet_runtime.segmenter.segmenter import Segmenter
from eenet_runtime.selftest.selftest import must_be_tested
from eenet_runtime.volumes.presets import EENET_144, EENET_FAST, GeometryPreset
from tests.golden import add_golden
from tests.native_stand_in import (
    ARTIFACT,
    PLANE_FILE,
    WEIGHTS,
    Features,
    StandIn,
    add_native_artifact,
    install,
    uninstall,
    write_plane_graph,
    write_weights,
)
from tests.synthetic import TINY, write_bundle

Volume = NDArray[np.float32]


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return install(monkeypatch)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    write_weights(tmp_path / WEIGHTS_FILE)
    return write_plane_graph(tmp_path / PLANE_FILE)


@pytest.fixture
def volume() -> Volume:
    return np.random.default_rng(5).normal(size=(*TINY.shape, 4)).astype(np.float32)


def load(graph: Path, **options: Any) -> NativeBackend:
    """The backend on the tiny geometry."""
    return NativeBackend(graph, ARTIFACT, TINY, 2, **options)


def test_probabilities_go_through_encoder_plane_and_decoder(extension: StandIn, graph: Path, volume: Volume) -> None:
    height, width, depth = TINY.shape
    plane = volume.reshape(height, width, 3, depth // 3, 4).mean(axis=(3, 4))
    logits = volume + (2 * plane).sum(axis=-1)[:, :, np.newaxis, np.newaxis]
    expected = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    backend = load(graph)
    np.testing.assert_allclose(backend(volume), expected, atol=1e-5)
    labels = backend.labels(volume)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, backend(volume).argmax(axis=-1))


def test_the_engine_gets_geometry_threads_and_the_stored_weights(extension: StandIn, graph: Path) -> None:
    backend = load(graph)
    (made,) = extension.made
    assert (made["shape"], made["depth_strides"]) == (TINY.shape, TINY.depth_strides)
    assert (made["threads"], made["instructions"]) == (2, "auto")
    assert set(made["weights"]) == set(WEIGHTS)
    for name, array in made["weights"].items():
        np.testing.assert_array_equal(array, WEIGHTS[name])
        assert not array.flags.owndata
    assert backend.device.startswith("cpu (2 threads, avx2, 2D network in onnxruntime ")
    assert backend.name == "native"
    assert backend.version


def test_a_volume_may_lie_in_memory_in_any_order_and_is_not_changed(
    extension: StandIn, graph: Path, volume: Volume
) -> None:
    backend = load(graph)
    channels_first = np.moveaxis(np.ascontiguousarray(np.moveaxis(volume, -1, 0)), 0, -1)
    channels_first.flags.writeable = False
    before = volume.copy()
    np.testing.assert_array_equal(backend(channels_first), backend(volume))
    np.testing.assert_array_equal(volume, before)


def test_calls_from_many_threads_do_not_mix_two_cases(extension: StandIn, graph: Path, volume: Volume) -> None:
    backend = load(graph)
    cases = [volume, -volume, volume[::-1], volume[:, ::-1]]
    expected = [backend.labels(case) for case in cases]
    wrong: list[int] = []

    def run(index: int) -> None:
        for _ in range(3):
            if not np.array_equal(backend.labels(cases[index % 4]), expected[index % 4]):
                wrong.append(index)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("call", [NativeBackend.labels, NativeBackend.__call__])
def test_nan_in_the_plane_is_an_error_and_never_a_mask(
    monkeypatch: pytest.MonkeyPatch, graph: Path, volume: Volume, call: Callable[..., Any]
) -> None:
    install(monkeypatch, spoil=np.nan)
    with pytest.raises(BackendError, match="NaN or infinity; the model cannot be used on this case"):
        call(load(graph), volume)


@pytest.mark.parametrize(
    ("where", "error", "says"),
    [
        (
            "Engine",
            ValueError("Post_L1/kernel is missing"),
            r"plane\.onnx: .* cannot load it \(Post_L1/kernel is missing",
        ),
        ("Engine", MemoryError(), r"plane\.onnx: .* cannot load it \(memory is short\)"),
        ("encode", RuntimeError("thread"), r"the native engine failed \(thread\)"),
        (
            "encode",
            FloatingPointError("sums of GroupNorm_1_L1"),
            r"the native engine failed \(sums of GroupNorm_1_L1\)",
        ),
        ("decode", MemoryError(), r"the native engine failed \(memory is short\)"),
    ],
)
def test_what_the_extension_raises_becomes_one_plain_line(
    monkeypatch: pytest.MonkeyPatch, graph: Path, volume: Volume, where: str, error: Exception, says: str
) -> None:
    install(monkeypatch, fail_at=where, error=error)
    with pytest.raises(BackendError, match=says):
        load(graph).labels(volume)


def test_another_shape_is_a_bug_of_the_caller(extension: StandIn, graph: Path, volume: Volume) -> None:
    with pytest.raises(ValueError, match="the model reads float32"):
        load(graph).labels(volume[:32])


def test_after_close_it_says_so_and_closing_twice_is_allowed(extension: StandIn, graph: Path, volume: Volume) -> None:
    backend = load(graph)
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="the model was closed"):
        backend.labels(volume)


def test_a_weights_file_that_is_damaged_is_refused(extension: StandIn, graph: Path) -> None:
    (graph.parent / WEIGHTS_FILE).write_bytes(b"not weights")
    with pytest.raises(BundleError, match=r"weights\.safetensors: not a readable safetensors file"):
        load(graph)


def test_without_the_extension_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch, graph: Path) -> None:
    uninstall(monkeypatch)
    with pytest.raises(BackendError, match=r"eenet_native is not installed; .*pip install \./runtime/native"):
        load(graph)


@pytest.mark.parametrize(
    ("features", "says"),
    [
        (Features(), None),
        (Features(avx512f=True), None),
        (Features(avx2=False), "this processor has no AVX2"),
        (Features(fma=False), "this processor has no FMA"),
        (Features(avx2=False, fma=False), "this processor has no AVX2 and no FMA"),
    ],
)
def test_a_processor_needs_avx2_and_fma(features: Features, says: str | None) -> None:
    assert processor_obstacle(features) == says


def test_a_processor_without_avx2_is_refused_where_native_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, graph: Path
) -> None:
    install(monkeypatch, features=Features(avx2=False, fma=False))
    assert obstacle() == "this processor has no AVX2 and no FMA"
    with pytest.raises(BackendError, match="native engine: this processor has no AVX2 and no FMA; use another backend"):
        load(graph)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with an ONNX artefact and a native one."""
    folder = write_bundle(tmp_path / "bundle")
    add_native_artifact(folder)
    return folder


def test_a_bundle_whose_weights_nobody_hashed_is_refused(bundle: Path) -> None:
    manifest = open_bundle(bundle).manifest
    files = tuple(entry for entry in manifest.files if entry.path != WEIGHTS_FILE)
    (bundle / MANIFEST_NAME).write_text(replace(manifest, files=files).to_json())
    with pytest.raises(BundleError, match=r"manifest\.json: weights\.safetensors is not among the hashed files"):
        open_bundle(bundle)


def test_auto_takes_native_where_bundle_extension_and_processor_allow_it(extension: StandIn, bundle: Path) -> None:
    choice = choose(open_bundle(bundle))
    assert (choice.name, choice.artifact.kind) == ("native", "native")
    assert "native" in choice.why
    backend = make_backend(open_bundle(bundle), threads=1)
    assert backend.name == "native"
    backend.close()


def test_auto_falls_back_on_a_processor_without_avx2_and_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, bundle: Path
) -> None:
    install(monkeypatch, features=Features(avx2=False))
    choice = choose(open_bundle(bundle))
    assert (choice.name, choice.artifact.kind) == ("openvino", "onnx")
    assert "this processor has no AVX2" in choice.why
    assert "\n" not in choice.why


def test_auto_falls_back_without_the_extension_and_says_so(monkeypatch: pytest.MonkeyPatch, bundle: Path) -> None:
    uninstall(monkeypatch)
    choice = choose(open_bundle(bundle))
    assert choice.name == "openvino"
    assert "native is not installed" in choice.why


def test_a_bundle_without_the_artefact_is_served_as_before(extension: StandIn, tiny_bundle: Path) -> None:
    choice = choose(open_bundle(tiny_bundle))
    assert choice.name == "openvino"
    with pytest.raises(BackendError, match=r"artefacts model\.onnx \(onnx-fp32\) found, native needs native-fp32"):
        choose(open_bundle(tiny_bundle), backend="native")


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_another_engine_that_is_asked_for_is_taken(extension: StandIn, bundle: Path, name: str) -> None:
    choice = choose(open_bundle(bundle), backend=name)
    assert (choice.name, choice.artifact.kind) == (name, "onnx")


def test_another_precision_that_is_asked_for_is_not_served_by_native(extension: StandIn, bundle: Path) -> None:
    opened = open_bundle(bundle)
    half = replace(opened.manifest.artifacts[0], precision="fp16")
    with_half = replace(opened, manifest=replace(opened.manifest, artifacts=(half, *opened.manifest.artifacts)))
    assert choose(with_half, precision="fp16").name == "openvino"
    assert choose(with_half, precision="fp32").name == "native"


@pytest.mark.parametrize(
    ("kind", "preset", "tested"),
    [("native", EENET_FAST, True), ("native", EENET_144, False), ("onnx", EENET_FAST, False)],
)
def test_the_native_engine_must_prove_itself_where_that_is_quick(
    kind: str, preset: GeometryPreset, tested: bool
) -> None:
    assert must_be_tested(replace(ARTIFACT, kind=kind), preset) == tested


def test_an_engine_that_fails_the_golden_case_serves_nothing_and_auto_goes_on_with_the_next(
    extension: StandIn, bundle: Path
) -> None:
    add_golden(bundle)
    with pytest.raises(SelfTestError, match=r"plane\.onnx: self-test failed with native "):
        Segmenter(bundle, backend="native", threads=1)
    with Segmenter(bundle, threads=1) as segmenter:
        assert segmenter.backend.name == "openvino"
        assert "native on cpu was turned down" in segmenter.why
        assert "self-test failed" in segmenter.why
