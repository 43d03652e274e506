"""Fixtures that every room may use; the factories behind them are in `tests.synthetic`."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from eenet_runtime.segmenter.segmenter import Segmenter
from tests.schema_checks import validated_files
from tests.synthetic import TINY, TINY_2MM, Head, make_head, write_bundle

# No deadline: a busy machine is not a wrong result. Derandomised: the same commit gives the same verdict.
settings.register_profile("eenet", deadline=None, derandomize=True)
settings.load_profile("eenet")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--require-gpu` and `--require-native`."""
    parser.addoption("--require-gpu", action="store_true", help="fail, rather than skip, GPU tests without a GPU")
    parser.addoption(
        "--require-native", action="store_true", help="fail, rather than skip, native engine tests without eenet_native"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that hold slow tests: begun last, one of them would keep one worker busy and the other idle.

    Files stay whole, so that the fixtures of a module are made once.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a GPU test where there is no GPU, or fail it where the caller insists on one, before its fixtures work."""
    if item.get_closest_marker("gpu") is None or _has_gpu():
        return
    if item.config.getoption("--require-gpu"):
        pytest.fail("no NVIDIA GPU here, and --require-gpu asks for one", pytrace=False)
    pytest.skip("no NVIDIA GPU here (--require-gpu makes this a failure)")


@functools.cache
def _has_gpu() -> bool:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


@pytest.fixture(scope="session", autouse=True)
def _files_follow_their_schemas() -> Iterator[None]:
    """Hold every report, summary and manifest that a test writes in this process against its JSON Schema."""
    with validated_files():
        yield


@pytest.fixture(scope="session")
def head() -> Head:
    """A head at 1 mm with a lesion of three classes, stored LPS."""
    return make_head()


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle at 1 mm that finds the classes of `head`. Shared: do not change it."""
    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny", TINY)


@pytest.fixture(scope="session")
def tiny_bundle_2mm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model on a grid of 2 mm. Shared: do not change it."""
    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny-2mm", TINY_2MM)


@pytest.fixture(scope="session")
def segmenter(tiny_bundle: Path) -> Iterator[Segmenter]:
    """`tiny_bundle`, loaded."""
    with Segmenter(tiny_bundle, threads=1) as loaded:
        yield loaded


@pytest.fixture(scope="session")
def segmenter_2mm(tiny_bundle_2mm: Path) -> Iterator[Segmenter]:
    """`tiny_bundle_2mm`, loaded."""
    with Segmenter(tiny_bundle_2mm, threads=1) as loaded:
        yield loaded
