"""`python -m tests.mutants`: draw a sample of changes, try each, write who was noticed and who was not."""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.mutants.changes import Change, all_changes
from tests.mutants.covering import ROOMS, Imports, files_of, room_of
from tests.mutants.trial import Tree, Trial, preload
from tests.places import ROOT

EQUIVALENTS: Final = ROOT / "tests" / "mutants" / "equivalents.toml"
_VERDICTS: Final = ("killed", "timed out", "survived", "no test", "unclear", "equivalent")
_NOTICED: Final = ("killed", "timed out")


@dataclass(frozen=True)
class Result:
    """What became of one change. `why` names the test that failed, or the reason."""

    change: Change
    verdict: str
    why: str
    seconds: float


def known_equivalents(file: Path = EQUIVALENTS) -> dict[tuple[str, str, str], str]:
    """The changes that no test can notice: (file, text of the line, change) and the reason."""
    rows = tomllib.loads(file.read_text())["equivalent"]
    return {(row["file"], row["line"], row["change"]): row["reason"] for row in rows}


def draw(changes: list[Change], sample: int, seed: int) -> list[Change]:
    """A sample without replacement, in the order of the files; the same for the same seed and sources."""
    chosen = random.Random(seed).sample(range(len(changes)), min(sample, len(changes)))
    return [changes[index] for index in sorted(chosen)]


def main(arguments: list[str] | None = None) -> int:
    """Try a sample. 0: every change that can be noticed was; 1: some were not."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that trials end with us
    options = _options(arguments)
    rooms = options.rooms.split(",")
    equivalents = known_equivalents()
    if options.retry:
        sample = _survivors_of(Path(options.retry), rooms)
    else:
        pool = [change for room in rooms for change in all_changes(ROOT, files_of(ROOT, room))]
        pool = [change for change in pool if change.file.startswith(tuple(options.only.split(",")))]
        sample = draw(pool, options.sample, options.seed)
        _say(f"{len(sample)} of {len(pool)} possible changes, seed {options.seed}, in {', '.join(rooms)}")
    name = (
        f"seed-{options.seed}-{options.sample}-{_state_of_tree()}" if not options.retry else f"retry-{time.time():.0f}"
    )
    journal = ROOT / "build" / "mutants" / f"{name}.jsonl"
    journal.parent.mkdir(parents=True, exist_ok=True)
    # Read now: whoever waits for the figure may go on editing.
    sources = {change.file: (ROOT / change.file).read_bytes() for change in sample}
    results = _read(journal, sample)
    for change in sample:
        reason = equivalents.get((change.file, change.text, change.what))
        if reason and change not in results:
            results[change] = _note(journal, Result(change, "equivalent", reason, 0.0))
    if results:
        _say(f"{len(results)} are settled already")
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        _try_all(
            [change for change in sample if change not in results], Path(folder), options.workers, journal, results
        )
    page = journal.with_suffix(".md")
    page.write_text(report([results[change] for change in sample if change in results], sources))
    _say(page.read_text())
    _say(f"written: {page.relative_to(ROOT)}")
    return int(any(result.verdict in ("survived", "no test") for result in results.values()))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--sample", type=int, default=30, help="how many changes (30)")
    parser.add_argument("--seed", type=int, default=1, help="another seed draws another sample (1)")
    parser.add_argument("--rooms", default=",".join(ROOMS), help="rooms, parted by commas (all four)")
    parser.add_argument("--only", default="", help="only files that begin so, parted by commas")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1), help="trials at a time (2)")
    parser.add_argument("--retry", default="", help="a .jsonl of an earlier run: try its survivors again")
    return parser.parse_args(arguments)


def _try_all(changes: list[Change], folder: Path, workers: int, journal: Path, results: dict[Change, Result]) -> None:
    """Several trials at a time, room by room, each in a tree of its own."""
    imports = Imports(ROOT)
    trees = [Tree.copy(ROOT, folder / str(number)) for number in range(min(workers, len(changes)))]
    waiting = collections.deque(sorted(changes, key=lambda change: list(ROOMS).index(room_of(change.file))))
    running: list[Trial] = []
    sound: dict[str, bool] = {}
    count = len(waiting)
    try:
        while waiting or running:
            while waiting and trees:
                change = waiting.popleft()
                tests = imports.tests_of(change.file)
                if not tests:
                    results[change] = _note(journal, Result(change, "no test", "no test of the room reaches it", 0.0))
                    continue
                preload(room_of(change.file))
                running.append(Trial(trees.pop(), tests, change))
                running[-1].start()
            time.sleep(0.02)
            for trial in list(running):
                verdict = trial.poll()
                if verdict is None:
                    continue
                running.remove(trial)
                assert trial.change is not None
                seconds = time.monotonic() - trial.begun
                if verdict[0] == "killed" and not _is_sound(verdict[1], trial, sound):
                    verdict = "unclear", f"fails without the change, too: {verdict[1]}"
                results[trial.change] = _note(journal, Result(trial.change, *verdict, seconds))
                trees.append(trial.tree)
                left = len(waiting) + len(running)
                _say(f"{count - left}/{count} {_line(results[trial.change])}")
    finally:
        for trial in running:
            trial.end()


def _is_sound(test: str, trial: Trial, known: dict[str, bool]) -> bool:
    """Whether the test that failed passes on the tree as it is; asked once for each test."""
    target = test if test.startswith("tests/") else trial.tests[0]
    if target not in known:
        clean = Trial(trial.tree, [target])
        clean.start()
        while (verdict := clean.poll()) is None:
            time.sleep(0.02)
        known[target] = verdict[0] in ("survived", "no test")
    return known[target]


def _state_of_tree() -> str:
    """A short hash of the sources and tests: verdicts hold for what they were found on."""
    digest = hashlib.sha256()
    for base in [*ROOMS.values(), "tests"]:
        for path in sorted((ROOT / base).rglob("*.py")):
            digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:10]


def _key(change: Change) -> list[object]:
    return [change.file, change.line, change.text, change.what, change.start]


def _note(journal: Path, result: Result) -> Result:
    with journal.open("a") as lines:
        lines.write(json.dumps([_key(result.change), result.verdict, result.why, round(result.seconds, 1)]) + "\n")
    return result


def _read(journal: Path, sample: list[Change]) -> dict[Change, Result]:
    if not journal.exists():
        return {}
    rows = [json.loads(line) for line in journal.read_text().splitlines()]
    by_key = {tuple(_key(change)): change for change in sample}
    return {by_key[tuple(row[0])]: Result(by_key[tuple(row[0])], *row[1:]) for row in rows if tuple(row[0]) in by_key}


def _survivors_of(journal: Path, rooms: list[str]) -> list[Change]:
    """What an earlier run did not see noticed, found again by file, line's text and change."""
    rows = [json.loads(line) for line in journal.read_text().splitlines()]
    missed = {(row[0][0], row[0][2], row[0][3]) for row in rows if row[1] not in (*_NOTICED, "equivalent")}
    pool = [change for room in rooms for change in all_changes(ROOT, files_of(ROOT, room))]
    return [change for change in pool if (change.file, change.text, change.what) in missed]


def _line(result: Result) -> str:
    change = result.change
    return f"{result.verdict:9} {result.seconds:5.1f} s  {change.file}:{change.line}  {change.what}  {result.why}"


def report(results: list[Result], sources: dict[str, bytes]) -> str:
    """The table, the figure, and the changes that were not noticed, as Markdown."""
    lines = ["| room | " + " | ".join(_VERDICTS) + " |", "| --- |" + " --- |" * len(_VERDICTS)]
    for room in [*ROOMS, "all"]:
        of_room = [result for result in results if room in (room_of(result.change.file), "all")]
        if of_room:
            lines.append(f"| {room} | " + " | ".join(_counts(of_room)) + " |")
    able = [result for result in results if result.verdict not in ("equivalent", "unclear")]
    noticed = sum(result.verdict in _NOTICED for result in able)
    lines += ["", f"Noticed: {noticed} of {len(able)} ({100 * noticed / max(len(able), 1):.1f} %)."]
    for verdict in ("survived", "no test", "timed out", "unclear"):
        found = [result for result in results if result.verdict == verdict]
        if found:
            lines += ["", f"## {verdict.capitalize()}", ""]
        for result in found:
            change = result.change
            lines += [f"- `{change.file}:{change.line}` {change.what} ({result.why or 'all its tests pass'})", ""]
            lines += ["  ```diff", *(f"  {line}" for line in _diff(change, sources[change.file])), "  ```", ""]
    return "\n".join(lines) + "\n"


def _counts(results: Iterable[Result]) -> list[str]:
    counter = collections.Counter(result.verdict for result in results)
    return [str(counter[verdict]) for verdict in _VERDICTS]


def _diff(change: Change, source: bytes) -> list[str]:
    begin = source.rfind(b"\n", 0, change.start) + 1
    end = source.find(b"\n", change.stop)
    before, after = source[begin:end], change.apply(source)[begin : end + len(change.apply(source)) - len(source)]
    return [
        *(f"-{line}" for line in before.decode().splitlines()),
        *(f"+{line}" for line in after.decode().splitlines()),
    ]


if __name__ == "__main__":
    sys.exit(main())
