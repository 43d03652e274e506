"""The measured process of a peer. It is run by its path, perhaps by another Python: it imports the standard library.

Its argument is JSON: `way`, the module beside this one, and what that module's `load` takes. Requests have a `do`:
`meet` a case (untimed), or `run` it from its files to the mask in the file `output`.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, Protocol


class Way(Protocol):
    """A pipeline with its model loaded.

    Attributes:
        version: of what computes, as its makers name it.
    """

    version: str

    def meet(self, case_id: str, images: dict[str, str]) -> None:
        """Do what is not measured, before a case comes the first time."""

    def run(self, case_id: str, images: dict[str, str], output: str, watch: Watch) -> None:
        """From the four files, by modality, to the mask `output`."""


class Watch:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def serve(load: Callable[[], Way], requests: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Load, then do what is asked; yields the answers. A missing package ends them with its name as the reason."""
    try:
        way = load()
    except ModuleNotFoundError as error:
        yield {"reason": f"{error.name} is not installed in the Python of this pipeline ({sys.executable})"}
        return
    except Exception as error:
        # Whatever a peer raises is the reason for its row in the table; the other pipelines go on.
        yield {"reason": " ".join(f"{type(error).__name__}: {error}".split())}
        return
    yield {"version": way.version}
    for request in requests:
        yield _answer(way, request)


def _answer(way: Way, request: dict[str, Any]) -> dict[str, Any]:
    try:
        if request["do"] == "meet":
            way.meet(request["case_id"], request["images"])
            return {}
        watch = Watch()
        start = time.perf_counter()
        way.run(request["case_id"], request["images"], request["output"], watch)
        return {"total_s": time.perf_counter() - start, "stages_s": watch.seconds}
    except Exception as error:
        return {"reason": " ".join(f"{type(error).__name__}: {error}".split())}


def main() -> None:
    """Entry point."""
    settings = json.loads(sys.argv[1])
    module = importlib.import_module(settings.pop("way"))
    # Nothing here shall hide a package of the same name from those that are measured.
    sys.path.pop(0)
    answers = sys.stdout
    requests = (json.loads(line) for line in sys.stdin)
    # Whatever an engine prints must not end up between the answers.
    with redirect_stdout(sys.stderr):
        for answer in serve(lambda: module.load(**settings), requests):
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
