"""The compiled native engine on the demo bundle: the same function as the other engines, for any number of threads."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from eenet_runtime.backends import choose, load
from eenet_runtime.backends.native_backend import NativeBackend, obstacle
from eenet_runtime.bundle.manifest import Bundle, open_bundle
from eenet_runtime.segmenter.segmenter import Segmenter
from eenet_runtime.selftest.golden import GoldenCase, read_golden
from tests.places import DEMO_BUNDLE

BUNDLE = DEMO_BUNDLE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(obstacle()), reason=f"the native engine does not run here: {obstacle()}"),
]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(BUNDLE)


@pytest.fixture(scope="module")
def golden(bundle: Bundle) -> GoldenCase:
    return read_golden(bundle)


def backend_of(bundle: Bundle, threads: int) -> NativeBackend:
    """The bundle's native artefact, loaded."""
    loaded = load(bundle, choose(bundle, backend="native"), threads)
    assert isinstance(loaded, NativeBackend)
    return loaded


@pytest.fixture(scope="module")
def native(bundle: Bundle) -> Iterator[NativeBackend]:
    backend = backend_of(bundle, 2)
    yield backend
    backend.close()


def test_auto_takes_it_and_it_proves_itself_before_it_serves(bundle: Bundle) -> None:
    with Segmenter(bundle) as segmenter:
        assert segmenter.backend.name == "native"
        assert segmenter.self_test is not None
        assert segmenter.self_test.passed
        assert segmenter.why.startswith("auto takes native: ")


def test_it_gives_what_openvino_gives(bundle: Bundle, golden: GoldenCase, native: NativeBackend) -> None:
    other = load(bundle, choose(bundle, backend="openvino"), 2)
    probabilities, expected = native(golden.volume), other(golden.volume)
    other.close()
    # OpenVINO itself is 1e-5 from the float64 oracle here, this engine 1e-6.
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
    np.testing.assert_array_equal(native.labels(golden.volume), probabilities.argmax(axis=-1))


def test_the_number_of_threads_changes_no_bit(bundle: Bundle, golden: GoldenCase, native: NativeBackend) -> None:
    expected = native(golden.volume)
    for threads in (1, 3):
        backend = backend_of(bundle, threads)
        np.testing.assert_array_equal(backend(golden.volume), expected)
        backend.close()
