"""The measured process of `eenet-bench latency`: one engine, one model, cases on demand.

It speaks with the process that started it in lines of JSON over its standard streams: first it says how loading went,
then it answers each case name on stdin with the times of that case, and at the end of stdin with its peak memory.
Nothing of ours is imported before the clock of the cold start runs.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any


def serve(bundle: str, cases: str, backend: str, threads: int | None, names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Load a model, then segment case after case; yields the answers.

    A problem that the user can understand ends the answers with `{"reason": ...}`.
    """
    start = time.perf_counter()
    from eenet_runtime.discovery import find_cases
    from eenet_runtime.errors import EENetError
    from eenet_runtime.segmenter import Segmenter

    try:
        with Segmenter(Path(bundle), backend=backend, threads=threads) as segmenter:
            seconds = time.perf_counter() - start
            engine = segmenter.backend
            yield {"cold_start_s": seconds, "version": engine.version, "device": engine.device}
            files = {case.case_id: case for case in find_cases(Path(cases)).cases}
            with tempfile.TemporaryDirectory() as folder:
                for name in names:
                    yield _run(segmenter, files[name], Path(folder))
            yield {"peak_rss_bytes": peak_rss_bytes()}
    except EENetError as error:
        yield {"reason": " ".join(str(error).split())}


def peak_rss_bytes() -> int | None:
    """Highest resident memory of this process so far, None where the system does not tell.

    Not `ru_maxrss` where it can be avoided: on Linux a process inherits it from the one that started it, so a child
    of a large process looks as large. `VmHWM` begins anew with the program.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    # Bytes on macOS, the only system without /proc that gets here.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _run(segmenter: Any, files: Any, folder: Path) -> dict[str, Any]:
    """Files to files, as `eenet-run infer` does it without a preview; the label, if any, is left alone."""
    from dataclasses import replace

    from eenet_runtime.results import ResultPaths, segment_to_files

    start = time.perf_counter()
    paths = ResultPaths.in_folder(folder, "case")
    report = segment_to_files(segmenter, replace(files, label=None), paths, preview=False)
    return {"total_s": time.perf_counter() - start, "stages_s": report.seconds}


def main() -> None:
    """Entry point: BUNDLE CASES BACKEND THREADS (0 for the default)."""
    bundle, cases, backend, threads = sys.argv[1:]
    answers = sys.stdout
    # Whatever an engine prints must not end up between the answers.
    with redirect_stdout(sys.stderr):
        for answer in serve(bundle, cases, backend, int(threads) or None, (line.strip() for line in sys.stdin)):
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
