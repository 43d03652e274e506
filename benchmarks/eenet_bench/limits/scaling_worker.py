"""The measured process of `eenet-bench scaling`: one engine, one geometry, one number of threads."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np


def serve(
    bundle: Path, backend: str, threads: int, in_flight: int, requests: Iterable[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Load a model, then do what is asked; yields the answers, or a `reason` and no more.

    Requests have a `do`: `network` computes the labels of a volume of noise, `folder` segments the cases of the folder
    `cases`, `count` in all, side by side. Both answer with `seconds`.
    """
    from eenet_bench.measuring.throughput import run_side_by_side
    from eenet_runtime.cases.discovery import find_cases
    from eenet_runtime.errors import EENetError
    from eenet_runtime.segmenter.segmenter import Segmenter

    try:
        with (
            Segmenter(bundle, backend=backend, threads=threads, max_cases_in_flight=in_flight) as segmenter,
            tempfile.TemporaryDirectory() as folder,
        ):
            yield {"device": segmenter.backend.device}
            shape = segmenter.bundle.manifest.preset.shape
            volume = np.random.default_rng(0).standard_normal((*shape, 4), dtype=np.float32)
            for request in requests:
                cases = []
                if request["do"] == "folder":
                    found = find_cases(Path(request["cases"])).cases
                    cases = [found[number % len(found)] for number in range(request["count"])]
                start = time.perf_counter()
                if cases:
                    run_side_by_side(segmenter, cases, Path(folder))
                else:
                    segmenter.backend.labels(volume)
                yield {"seconds": time.perf_counter() - start}
    except EENetError as error:
        yield {"reason": " ".join(str(error).split())}


def main() -> None:
    """Entry point: BUNDLE BACKEND THREADS IN_FLIGHT."""
    bundle, backend, threads, in_flight = sys.argv[1:]
    answers = sys.stdout
    requests = (json.loads(line) for line in sys.stdin)
    # Whatever an engine prints must not end up between the answers.
    with redirect_stdout(sys.stderr):
        for answer in serve(Path(bundle), backend, int(threads), int(in_flight), requests):
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
