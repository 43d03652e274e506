"""What a machine computes and copies at most, as far as a program like ours can tell: the two edges of a roofline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from eenet_runtime.machine.parallel import map_in_threads

_MATRIX: Final = 768
_COPY_BYTES: Final = 64 << 20
_ROUNDS: Final = 60


@dataclass(frozen=True)
class MachineRates:
    """The rates: every thread works for itself at the same time as the others, and its best of 60 short rounds counts.

    Whatever else runs on a machine only ever makes a round slower, and a product that several threads share would wait
    for the slowest of them.

    Attributes:
        flops_per_s: of float32 products of two 768 x 768 matrices in NumPy's BLAS, of all threads together.
        bytes_per_s: read and written by copies of 64 MB, of all threads together.
        threads: how many.
    """

    flops_per_s: float
    bytes_per_s: float
    threads: int


def measure_rates(threads: int) -> MachineRates:
    """Measure in a process of its own: how many threads BLAS takes is settled when NumPy is imported."""
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, "1")}
    command = [sys.executable, "-m", "eenet_bench.limits.machine_rates", str(threads)]
    answer = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return MachineRates(**json.loads(answer))


def _measure(threads: int) -> MachineRates:
    multiply = map_in_threads(_best_product, range(threads), threads)
    copy = map_in_threads(_best_copy, range(threads), threads)
    flops = sum(2.0 * _MATRIX**3 / seconds for seconds in multiply)
    return MachineRates(flops, sum(2.0 * _COPY_BYTES / seconds for seconds in copy), threads)


def _best_product(seed: int) -> float:
    matrix = np.random.default_rng(seed).standard_normal((_MATRIX, _MATRIX), dtype=np.float32)
    product = np.empty_like(matrix)
    return min(_seconds(lambda: np.matmul(matrix, matrix, out=product)) for _ in range(_ROUNDS))


def _best_copy(seed: int) -> float:
    source = np.full(_COPY_BYTES // 4, seed, np.float32)
    target = np.zeros_like(source)
    return min(_seconds(lambda: np.copyto(target, source)) for _ in range(_ROUNDS))


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(_measure(int(sys.argv[1])))) + "\n")
