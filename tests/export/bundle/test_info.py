"""`eenet-export info` shows what a bundle holds and the worst of what was proved about it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from eenet_export.bundle.overview import bundle_overview
from eenet_export.commands.info import info
from eenet_runtime.bundle.manifest import ParityRow, open_bundle
from tests.golden import add_golden
from tests.synthetic import write_bundle

APP = typer.Typer()
APP.command()(info)

_DICE, _HD95, _CHANGE = {"ET": 0.99, "TC": 1.0}, {"ET": 1.0, "TC": 0.0}, {"ET": -0.002, "TC": 0.0}

ROWS = (
    ParityRow("A", "keras", "onnx-fp16", 1e-3, _DICE, 0.9999, 1.0, 4, _HD95, _CHANGE),
    ParityRow("B", "keras", "onnx-fp16", 3e-3, _DICE, 0.9998, 0.99999, 9, _HD95, _CHANGE),
    ParityRow("B", "keras", "onnx-fp32", 2e-6, _DICE),
    ParityRow("B", "onnx-fp16", "tensorrt-fp16", None, _DICE),
)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle", parity=ROWS, provenance={"note": "phantoms only", "dice": {"ET": 0.8}})


def test_the_overview_holds_artefacts_files_signature_and_provenance(bundle: Path) -> None:
    text = bundle_overview(open_bundle(bundle))
    lines = [line.split() for line in text.splitlines()]
    size = f"{(bundle / 'model.onnx').stat().st_size / 1e3:.1f}"
    assert ["model.onnx", "onnx", "fp32", "fp32", size, "kB"] in lines
    assert "golden case: none" in text
    assert "signature: not verified" in text
    assert "measured on: A, B" in text
    assert "  note: phantoms only" in text
    assert '  dice: {"ET": 0.8}' in text
    assert "  onnx: any" in text


def test_the_overview_says_what_is_not_proven_and_what_the_golden_case_holds(tmp_path: Path) -> None:
    row = replace(ROWS[0], region_voxels={"ET": 0, "TC": 5}, dice={"ET": 1.0, "TC": 1.0})
    folder = write_bundle(tmp_path / "bundle", parity=(row,))
    add_golden(folder)
    text = bundle_overview(open_bundle(folder))
    assert "not proven: ET: no voxel of it in any case that onnx-fp16 was measured on" in text
    assert "  not proven  " in text, "in the table"
    assert re.search(r"golden case: golden\.npz: ET \d+, TC \d+, WT \d+ voxels", text)


def test_a_bundle_without_proofs_says_so(tiny_bundle: Path) -> None:
    text = bundle_overview(open_bundle(tiny_bundle))
    assert "no proofs: nothing was compared with Keras" in text
    assert "measured on: no case" in text


def test_the_command_prints_the_overview_or_json(bundle: Path) -> None:
    shown = CliRunner().invoke(APP, [str(bundle)])
    assert shown.output == bundle_overview(open_bundle(bundle)) + "\n"
    content = json.loads(CliRunner().invoke(APP, [str(bundle), "--json"]).output)
    assert content["signature"] == "not verified"
    assert content["artifacts"][0]["path"] == "model.onnx"
    assert len(content["parity"]) == 4
