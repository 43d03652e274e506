"""An export that is killed, kill -9, in one step after the other, and started again each time."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from eenet_runtime.bundle.manifest import open_bundle
from tests.synthetic import make_head, write_case
from tests.warm_starts import WarmProgram, warm_program

pytestmark = [pytest.mark.tf, pytest.mark.slow]

TWICE = {
    "fp32": "converting to ONNX",
    "gate-0-onnx-fp32-row": "Case_1: onnx-fp32",
    "golden": "making the golden case",
    "finish": "",
}
"""Steps in which the export is killed, in their order, and what the next one must say again; nothing else."""


@pytest.fixture
def program() -> Iterator[WarmProgram]:
    with warm_program("tests.export.stand_in") as warm:
        yield warm


def test_an_export_killed_in_any_step_leaves_no_bundle_and_ends_like_one_left_alone(
    program: WarmProgram, tmp_path: Path
) -> None:
    def export(output: Path, steps: Path, *die_in: str) -> None:
        """An export to its end, or to its death in a step."""
        said = tmp_path / "said.txt"
        end = program.wait(program.start(said, output, cases, steps, *die_in))
        assert end == (-signal.SIGKILL if die_in else 0), said.read_text()[-2000:]

    cases = tmp_path / "cases"
    cases.mkdir()
    write_case(cases, "Case_1", make_head())
    alone, once = tmp_path / "alone" / "bundle", tmp_path / "alone.txt"
    export(alone, once)
    killed, told = tmp_path / "killed" / "bundle", tmp_path / "killed.txt"
    for step in TWICE:
        export(killed, told, step)
        assert not killed.exists(), step
    export(killed, told)

    made, expected = open_bundle(killed), open_bundle(alone)
    hashes = {entry.path: entry.sha256 for entry in made.manifest.files}
    assert hashes == {entry.path: entry.sha256 for entry in expected.manifest.files}
    assert made.manifest.parity == expected.manifest.parity
    assert [path.name for path in killed.parent.iterdir()] == ["bundle"]
    # What a kill interrupted is done again, and what was done before it is not.
    expected_steps = Counter(once.read_text().splitlines())
    assert set(expected_steps.values()) == {1}
    assert Counter(told.read_text().splitlines()) == expected_steps + Counter(filter(None, TWICE.values()))
