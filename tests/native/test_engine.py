"""The whole engine: right, the same for any number of threads, and hard to misuse."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from eenet_native import Engine, cpu_features, expected_weights, instruction_sets
from eenet_native._testing import live_buffer_bytes
from tests.forks import in_a_fork
from tests.native import reference
from tests.native.networks import (
    SHAPE,
    SMALL_SHAPE,
    SMALL_STRIDES,
    STRIDES,
    plane_network,
    random_volume,
    random_weights,
)
from tests.places import ROOT

WEIGHTS = random_weights()


@pytest.fixture
def engine() -> Iterator[Engine]:
    """A small engine with two threads."""
    with Engine(SMALL_SHAPE, SMALL_STRIDES, WEIGHTS, threads=2) as engine:
        yield engine


def probabilities(engine: Engine, volume: NDArray[np.float32]) -> NDArray[np.float32]:
    return engine.decode_probabilities(plane_network(engine.encode(volume)))


def labels(engine: Engine, volume: NDArray[np.float32]) -> NDArray[np.uint8]:
    return engine.decode(plane_network(engine.encode(volume)))


@pytest.fixture(scope="module")
def whole() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The reference's plane (H, W, 3) and probabilities (4, H, W, D) for `random_volume(SHAPE)`."""
    plane, logits = reference.network(random_volume(SHAPE), WEIGHTS, STRIDES, plane_network)
    return plane, np.moveaxis(reference.softmax(logits), -1, 0)


@pytest.mark.parametrize("instructions", instruction_sets())
def test_the_engine_is_the_reference_network(
    instructions: str, whole: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> None:
    volume = random_volume(SHAPE)
    expected_plane, expected = whole
    with Engine(SHAPE, STRIDES, WEIGHTS, threads=2, instructions=instructions) as engine:
        plane = engine.encode(volume)
        found = engine.decode_probabilities(plane_network(plane))
        mask = labels(engine, volume)

    assert engine.instructions == instructions
    assert np.abs(plane[0] - expected_plane).max() <= 2e-5 * expected_plane.max()
    assert np.abs(found - expected).max() <= 5e-5
    assert np.array_equal(mask, found.argmax(axis=0))
    decided = np.sort(expected, axis=0)[-1] - np.sort(expected, axis=0)[-2] > 1e-4
    assert np.array_equal(mask[decided], expected.argmax(axis=0)[decided])


@pytest.mark.parametrize(
    ("shape", "strides"),
    [
        ((32, 32, 3), (1, 1, 1)),
        ((32, 64, 15), (5, 1, 1)),
        ((64, 32, 27), (3, 3, 1)),
        ((32, 32, 36), (1, 2, 6)),
    ],
)
def test_any_valid_geometry_works(shape: tuple[int, int, int], strides: tuple[int, int, int]) -> None:
    volume = random_volume(shape)
    _, logits = reference.network(volume, WEIGHTS, strides, plane_network)
    with Engine(shape, strides, WEIGHTS, threads=2) as engine:
        found = probabilities(engine, volume)

    assert np.abs(found - np.moveaxis(reference.softmax(logits), -1, 0)).max() <= 5e-5


def test_results_are_the_same_bits_for_any_number_of_threads() -> None:
    volume = random_volume(SHAPE)
    results = []
    for threads in (1, 2, 3, 7):
        with Engine(SHAPE, STRIDES, WEIGHTS, threads=threads) as engine:
            assert engine.threads == threads
            results.append(probabilities(engine, volume))

    for result in results[1:]:
        assert np.array_equal(result, results[0])


def test_a_case_leaves_nothing_behind_for_the_next(engine: Engine) -> None:
    first, second = random_volume(SMALL_SHAPE, 1), random_volume(SMALL_SHAPE, 2)
    fresh = probabilities(engine, first)
    probabilities(engine, second)

    assert np.array_equal(probabilities(engine, first), fresh)


def test_inputs_are_not_changed(engine: Engine) -> None:
    volume = random_volume(SMALL_SHAPE)
    before = volume.copy()
    plane = plane_network(engine.encode(volume))
    kept = plane.copy()
    engine.decode(plane)

    assert np.array_equal(volume, before)
    assert np.array_equal(plane, kept)


def test_float16_kernels_are_widened() -> None:
    halves = {name: w.astype(np.float16) for name, w in WEIGHTS.items()}
    singles = {name: w.astype(np.float32) for name, w in halves.items()}
    volume = random_volume(SMALL_SHAPE)
    found = []
    for weights in (halves, singles):
        with Engine(SMALL_SHAPE, SMALL_STRIDES, weights, threads=1) as engine:
            found.append(probabilities(engine, volume))

    assert np.array_equal(found[0], found[1])


# What it refuses.


@pytest.mark.parametrize(
    ("shape", "strides", "message"),
    [
        ((96, 80, 72), (3, 4, 2), "multiples of 32"),
        ((32, 32, 13), (2, 1, 2), "3 times the product"),
        ((32, 32, 0), (0, 1, 1), "positive"),
        ((-32, 32, 12), (2, 1, 2), "multiples of 32"),
        ((4096, 4096, 192), (4, 4, 4), "more than 1000000000 voxels"),
        ((32, 32, 2**31), (2, 1, 2), "32 bits"),
    ],
)
def test_a_geometry_that_cannot_work_is_refused(
    shape: tuple[int, int, int], strides: tuple[int, int, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Engine(shape, strides, WEIGHTS, threads=1)


@pytest.mark.parametrize("threads", [0, -1, 100_000])
def test_a_number_of_threads_that_cannot_be_is_refused(threads: int) -> None:
    with pytest.raises(ValueError, match="threads"):
        Engine(SMALL_SHAPE, SMALL_STRIDES, WEIGHTS, threads=threads)


def test_instructions_that_the_processor_lacks_are_refused() -> None:
    with pytest.raises(ValueError, match="sve found, expected auto or"):
        Engine(SMALL_SHAPE, SMALL_STRIDES, WEIGHTS, threads=1, instructions="sve")


@pytest.mark.parametrize("name", ["Input_L1/kernel", "GroupNorm_2_Post_L3_Dec/beta", "Model_Outputs/bias"])
def test_weights_that_do_not_fit_are_refused(name: str) -> None:
    value = WEIGHTS[name]
    without = {key: w for key, w in WEIGHTS.items() if key != name}
    spoilt = value.copy()
    spoilt.flat[-1] = np.inf
    for weights, message in (
        (without, f"{name}: missing"),
        ({**WEIGHTS, name: value[:-1]}, f"{name}: float32 of shape"),
        ({**WEIGHTS, name: value.astype(np.int32)}, f"{name}: int32"),
        ({**WEIGHTS, name: spoilt}, f"{name}: a value that is not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            Engine(SMALL_SHAPE, SMALL_STRIDES, weights, threads=1)


def test_volumes_that_do_not_fit_are_refused(engine: Engine) -> None:
    volume = random_volume(SMALL_SHAPE)
    wrongs: list[Any] = [volume[:3], volume[0], volume.astype(np.float64), np.moveaxis(volume, 0, -1), volume.tolist()]
    for wrong in wrongs:
        with pytest.raises(ValueError, match="volume"):
            engine.encode(wrong)
    with pytest.raises(ValueError, match="C-contiguous"):
        engine.encode(np.asfortranarray(volume))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(engine: Engine, value: float) -> None:
    volume = random_volume(SMALL_SHAPE)
    plane = engine.encode(volume)
    plane[0, 3, 4, 1] = value
    with pytest.raises(FloatingPointError, match="2D network"):
        engine.decode(plane)
    volume[3, -1, -1, -1] = value
    with pytest.raises(FloatingPointError, match="volume"):
        engine.encode(volume)


def test_an_overflow_on_the_way_is_refused_and_names_the_norm(engine: Engine) -> None:
    volume = random_volume(SMALL_SHAPE) * np.float32(1e37)
    with pytest.raises(FloatingPointError, match="GroupNorm_1_L1"):
        engine.encode(volume)


def test_each_encoding_is_decoded_once(engine: Engine) -> None:
    volume = random_volume(SMALL_SHAPE)
    plane = engine.encode(volume)
    engine.decode(plane)
    with pytest.raises(RuntimeError, match="no volume encoded"):
        engine.decode(plane)
    volume[0, 0, 0, 0] = np.nan
    with pytest.raises(FloatingPointError):
        engine.encode(volume)
    with pytest.raises(RuntimeError, match="no volume encoded"):
        engine.decode(plane)


def test_another_thread_cannot_decode_what_this_one_encoded(engine: Engine) -> None:
    plane = engine.encode(random_volume(SMALL_SHAPE))
    errors: list[BaseException] = []

    def decode() -> None:
        try:
            engine.decode(plane)
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=decode)
    thread.start()
    thread.join()
    assert len(errors) == 1


def test_a_closed_engine_says_so(engine: Engine) -> None:
    engine.close()
    engine.close()
    with pytest.raises(RuntimeError, match="closed"):
        engine.encode(random_volume(SMALL_SHAPE))


# How it behaves in a process.


def test_two_engines_work_at_the_same_time() -> None:
    volumes = [random_volume(SMALL_SHAPE, seed) for seed in (1, 2)]
    engines = [Engine(SMALL_SHAPE, SMALL_STRIDES, WEIGHTS, threads=2) for _ in volumes]
    expected = [probabilities(engines[0], volume) for volume in volumes]
    found: dict[int, list[NDArray[np.float32]]] = {0: [], 1: []}

    def work(which: int) -> None:
        for _ in range(5):
            found[which].append(probabilities(engines[which], volumes[which]))

    threads = [threading.Thread(target=work, args=(which,)) for which in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for which, results in found.items():
        assert len(results) == 5
        assert all(np.array_equal(result, expected[which]) for result in results)


def test_python_goes_on_while_the_engine_computes() -> None:
    volume = random_volume(SHAPE)
    counts = 0
    with Engine(SHAPE, STRIDES, WEIGHTS, threads=1, instructions="scalar") as engine:
        thread = threading.Thread(target=engine.encode, args=(volume,))
        thread.start()
        while thread.is_alive():
            counts += 1
            time.sleep(0.001)
    assert counts > 20


@pytest.mark.alone
def test_no_thread_spins_between_calls(engine: Engine) -> None:
    labels(engine, random_volume(SMALL_SHAPE))
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.1


def test_threads_end_with_the_engine() -> None:
    before = threads_of_this_process()
    with Engine(SMALL_SHAPE, SMALL_STRIDES, WEIGHTS, threads=4):
        assert threads_of_this_process() == before + 3
    # A thread that was joined may be listed for a moment longer.
    deadline = time.monotonic() + 5
    while threads_of_this_process() != before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threads_of_this_process() == before


def threads_of_this_process() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def test_memory_that_is_not_there_is_a_memory_error() -> None:
    """In a process of its own, whose address space ends 300 MB from here."""
    script = f"""
import resource
from tests.native.networks import random_weights
from eenet_native import Engine
weights = random_weights()
with open("/proc/self/statm") as statm:
    used = int(statm.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 300_000_000, resource.RLIM_INFINITY))
try:
    Engine((192, 160, 144), (3, 4, 4), weights, threads=1)
except MemoryError as error:
    print("refused:", error)
Engine({SMALL_SHAPE}, {SMALL_STRIDES}, weights, threads=1)
print("and a small one works")
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["refused: not enough memory", "and a small one works"]


def test_memory_is_what_the_plan_says() -> None:
    """Two tensors of full depth, the skips, the bottom, and little else."""
    height, width, depth = 192, 160, 144
    with Engine((height, width, depth), (3, 4, 4), WEIGHTS, threads=2) as engine:
        activations = 4 * height * width * (2 * 16 * 144 + 32 * 48 + 64 * 12 + 64 * 3)
        assert activations < engine.memory_bytes < activations + 60_000_000


@pytest.mark.parametrize("threads", [1, 3])
def test_memory_bytes_counts_every_buffer_that_the_engine_holds(threads: int) -> None:
    before = live_buffer_bytes()
    with Engine(SMALL_SHAPE, SMALL_STRIDES, WEIGHTS, threads=threads) as engine:
        assert engine.memory_bytes == live_buffer_bytes() - before
        labels(engine, random_volume(SMALL_SHAPE))
        assert engine.memory_bytes == live_buffer_bytes() - before
    assert live_buffer_bytes() == before


def test_in_a_fork_every_call_is_refused_at_once_and_closing_does_not_hang(engine: Engine) -> None:
    volume = random_volume(SMALL_SHAPE)
    plane = engine.encode(volume)

    def closed() -> str:
        engine.close()
        engine.__del__()
        return "closed"

    message = f"RuntimeError: this engine was made in process {os.getpid()}, of which process "
    assert in_a_fork(lambda: str(engine.encode(volume))).startswith(message)
    assert in_a_fork(lambda: str(engine.decode(plane))).startswith(message)
    assert in_a_fork(closed) == "closed"
    assert engine.decode(plane).shape == SMALL_SHAPE


def test_a_fork_may_make_an_engine_of_its_own(engine: Engine) -> None:
    volume = random_volume(SMALL_SHAPE)
    expected = labels(engine, volume)

    def afresh() -> str:
        with Engine(SMALL_SHAPE, SMALL_STRIDES, WEIGHTS, threads=2) as own:
            return str(np.array_equal(labels(own, volume), expected))

    assert in_a_fork(afresh) == "True"


def test_the_weights_are_those_of_the_demo_bundle() -> None:
    stored = load_file(ROOT / "models/eenet-fast-phantom/weights.safetensors")
    for name, shape in expected_weights().items():
        assert stored[name].shape == shape


def test_the_best_instructions_come_first() -> None:
    features = cpu_features()
    expected = [name for name, here in (("avx512", features.avx512f), ("avx2", features.avx2)) if here]
    assert instruction_sets() == (*expected, "scalar")
