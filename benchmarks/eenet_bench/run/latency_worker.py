"""The measured process of `eenet-bench run`: one engine, one model, cases on demand.

It speaks with the process that started it in lines of JSON over its standard streams: first it says how loading went,
then it answers each request on stdin. Nothing of ours is imported before the clock of the cold start runs.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Any


def serve(
    bundle: str,
    cases: str,
    backend: str,
    precision: str,
    device: str,
    threads: int | None,
    requests: Iterable[dict[str, Any]],
) -> Iterator[dict[str, Any]]:
    """Load a model, then do what is asked; yields the answers.

    A problem that the user can understand ends the answers with `{"reason": ...}`. Requests have a `do`:

    - `run`: segment `case`, files to files, as `eenet-run infer` does it without a preview. With `label`, its Dice.
    - `again`: the same several `times`, with the network's answer to the `run` before instead of the network.
    - `folder`: segment `count` cases side by side, as `eenet-run infer folder` does it.
    - `compute`: `what` (probabilities, labels or oracle) of the network's input in the file `input`, to `output`.
    - `peak`: the highest memory so far.
    """
    start = time.perf_counter()
    from eenet_runtime.cases.discovery import find_cases
    from eenet_runtime.errors import EENetError
    from eenet_runtime.segmenter.segmenter import Segmenter

    try:
        serving: Any = nullcontext()
        from eenet_bench.measuring.processor_time import ProcessorTime
        from eenet_bench.run.replay import Replay

        times = ProcessorTime()
        if backend == "keras":
            from eenet_bench.run.keras_backend import serving_keras
            from eenet_runtime.bundle.manifest import open_bundle

            serving = serving_keras(open_bundle(Path(bundle)), threads)
        with serving:
            name = "auto" if backend == "keras" else backend  # the runtime does not know Keras, and is not asked
            segmenter = Segmenter(
                Path(bundle), backend=name, precision=precision or None, device=device, threads=threads
            )
        with segmenter:
            seconds = time.perf_counter() - start
            engine = segmenter.backend
            replay = Replay(engine)
            yield {"cold_start_s": seconds, "version": engine.version, "device": engine.device}
            files = {case.case_id: case for case in find_cases(Path(cases)).cases}
            with tempfile.TemporaryDirectory() as folder:
                for request in requests:
                    with times.watching():
                        answer = _answer(request, segmenter, replay, files, Path(folder), times)
                    yield answer
    except EENetError as error:
        yield {"reason": " ".join(str(error).split())}


def _answer(
    request: dict[str, Any], segmenter: Any, replay: Any, files: dict[str, Any], folder: Path, times: Any
) -> dict[str, Any]:
    if request["do"] == "run":
        with replay.in_place_of_the_engine(segmenter):
            return _run(segmenter, files[request["case"]], folder, times, label=bool(request.get("label")))
    if request["do"] == "again":
        with replay.in_place_of_the_engine(segmenter), replay.again():
            return _again(segmenter, files[request["case"]], folder, times, request["times"])
    if request["do"] == "folder":
        cases = [files[name] for name in request["cases"]]
        return _folder(segmenter, cases, folder)
    if request["do"] == "compute":
        return _compute(segmenter.backend, request)
    from eenet_runtime.machine.memory import peak_rss_bytes

    return {"peak_rss_bytes": peak_rss_bytes()}


def _run(segmenter: Any, files: Any, folder: Path, times: Any, label: bool) -> dict[str, Any]:
    """Files to files; the label, if any, is left alone unless its Dice is asked for."""
    from dataclasses import replace

    from eenet_bench.measuring.noise import calibrate_both
    from eenet_runtime.results.result_files import ResultPaths, segment_to_files

    calibration_s, calibration_cpu_s = calibrate_both()
    times.seconds.clear()
    start, busy = time.perf_counter(), time.process_time()
    paths = ResultPaths.in_folder(folder, "case")
    report = segment_to_files(segmenter, files if label else replace(files, label=None), paths, preview=False)
    return {
        "total_s": time.perf_counter() - start,
        "stages_s": report.seconds,
        "cpu_s": {**times.seconds, "total": time.process_time() - busy},
        "calibration_s": calibration_s,
        "calibration_cpu_s": calibration_cpu_s,
        "dice": report.dice,
    }


def _again(segmenter: Any, files: Any, folder: Path, times: Any, count: int) -> dict[str, Any]:
    """The stages outside the network, `count` times; what the engine answered last is given again.

    In one thread: what two take depends on where the kernel puts them, which may be the same for a whole run.
    """
    from dataclasses import replace
    from unittest.mock import patch

    from eenet_bench.run.latency import NETWORK
    from eenet_runtime.results.result_files import ResultPaths, segment_to_files

    outside = []
    for _ in range(count):
        times.seconds.clear()
        paths = ResultPaths.in_folder(folder, "case")
        with patch.object(segmenter, "threads", 1):
            report = segment_to_files(segmenter, replace(files, label=None), paths, preview=False)
        found = {"stages_s": report.seconds, "cpu_s": times.seconds}
        outside.append({name: {s: t for s, t in seconds.items() if s != NETWORK} for name, seconds in found.items()})
    return {"outside": outside}


def _folder(segmenter: Any, cases: list[Any], folder: Path) -> dict[str, Any]:
    """Cases in a row, read, computed and written side by side."""
    from eenet_bench.measuring.throughput import run_side_by_side

    start = time.perf_counter()
    run_side_by_side(segmenter, cases, folder)
    return {"folder_s": time.perf_counter() - start}


def _compute(backend: Any, request: dict[str, Any]) -> dict[str, Any]:
    """What parity compares; arrays travel in files."""
    import numpy as np

    what = request["what"]
    compute = {"probabilities": backend, "labels": backend.labels}.get(what)
    if what == "oracle":
        compute = backend.oracle.probabilities
    assert compute is not None
    np.save(request["output"], compute(np.load(request["input"])))
    return {}


def main() -> None:
    """Entry point: BUNDLE CASES BACKEND PRECISION DEVICE THREADS (0 for the default); an empty precision is any."""
    bundle, cases, backend, precision, device, threads = sys.argv[1:]
    answers = sys.stdout
    requests = (json.loads(line) for line in sys.stdin)
    # Whatever an engine prints must not end up between the answers.
    with redirect_stdout(sys.stderr):
        for answer in serve(bundle, cases, backend, precision, device, int(threads) or None, requests):
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
