"""A folder of phantoms: `write_phantoms` is what `eenet-train phantom` calls."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from eenet_runtime.errors import OutputError
from eenet_runtime.files.atomic import write_atomically
from eenet_train.phantom.generate import case_id, make_phantom
from eenet_train.phantom.layouts import PhantomLayout, is_complete, write_case, write_dataset_json
from eenet_train.phantom.settings import STANDARD, PhantomSettings


@dataclass(frozen=True)
class PhantomDone:
    """Progress: one case is there.

    Attributes:
        case_id: its name.
        done, total: how many of how many.
        reused: it had been made by an earlier run and was left as it is.
    """

    case_id: str
    done: int
    total: int
    reused: bool


def write_phantoms(
    output: Path,
    *,
    cases: int,
    seed: int,
    layout: PhantomLayout = PhantomLayout.BRATS2020,
    workers: int = 1,
    first_index: int = 0,
    settings: PhantomSettings = STANDARD,
    progress: Callable[[PhantomDone], None] | None = None,
) -> list[str]:
    """Make phantoms `first_index` .. `first_index + cases - 1` of a seed in a folder.

    A case that lies there whole is not made again (its name holds seed and index), so a stopped run can be taken up.
    A case depends on `seed`, its index and `settings` only. Two kinds that have no name of their own
    (`settings.Difficulty`) would share names: give each its own folder.

    Args:
        output: folder, made if missing.
        cases: how many, at least 1.
        seed: of the whole set, 0 or above.
        layout: names, channels and label values of the files.
        workers: processes; each needs about 1 GB of memory.
        first_index: index of the first case; sets that must not overlap take different ranges.
        settings: kind of phantom.
        progress: called in this process after each case.

    Returns:
        The case names, in the order of their indices, those of an earlier run included.

    Raises:
        OutputError: the folder or a file cannot be written.
        EENetError: nilearn is not installed.
        ValueError: `cases` or `workers` below 1, or a negative seed or index.
    """
    if cases < 1 or workers < 1:
        raise ValueError(f"cases {cases} and workers {workers} must be at least 1")
    if seed < 0 or first_index < 0:
        raise ValueError(f"seed {seed} and first index {first_index} must not be negative")
    names = {index: case_id(seed, index, settings) for index in range(first_index, first_index + cases)}
    with output_errors(output):
        finished = {index for index, name in names.items() if is_complete(output, name, layout)}
        make = partial(_make_one, output, seed, layout=layout, settings=settings)
        make_missing(output, names, finished, make, workers, progress)
        write_dataset_json(output, layout)
    return list(names.values())


@contextlib.contextmanager
def output_errors(output: Path) -> Iterator[None]:
    """Tell what went wrong with a folder in a line that helps.

    Raises:
        OutputError: instead of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        where, why = error.filename or output, error.strerror or error
        raise OutputError(f"{where}: cannot write phantoms ({why}); choose another folder or make room") from error


def make_missing(
    output: Path,
    names: dict[int, str],
    finished: set[int],
    make: Callable[[int], int],
    workers: int,
    progress: Callable[[PhantomDone], None] | None,
) -> None:
    """Make what is not there yet, and tell of every case.

    Args:
        output: folder, made if missing; it receives the template's notice.
        names: case name of each index.
        finished: indices of the cases that are there.
        make: writes one case and returns its index; it is sent to other processes.
        workers: processes.
        progress: called in this process after each case.
    """
    output.mkdir(parents=True, exist_ok=True)
    write_atomically(output / "NOTICE.md", Path(__file__).with_name("NOTICE.md").read_bytes())
    missing = [index for index in names if index not in finished]
    kept = [index for index in names if index in finished]
    done = 0
    for reused, made in ((True, iter(kept)), (False, _in_processes(make, missing, workers))):
        for index in made:
            done += 1
            if progress is not None:
                progress(PhantomDone(names[index], done, len(names), reused))


def _in_processes(make: Callable[[int], int], indices: list[int], workers: int) -> Iterator[int]:
    """Make the cases; yields each index when its case is written."""
    workers = min(workers, len(indices))
    if workers <= 1:
        for index in indices:
            yield make(index)
        return
    # Spawned, not forked: the caller may hold threads (TensorFlow does), which a fork would not survive.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = [pool.submit(make, index) for index in indices]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _make_one(output: Path, seed: int, index: int, *, layout: PhantomLayout, settings: PhantomSettings) -> int:
    write_case(make_phantom(seed, index, settings), output, layout)
    return index
