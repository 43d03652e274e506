"""What a command line asks for is what the library is asked for."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from eenet_export.bundle import native
from eenet_export.cli import app
from eenet_export.gate import verify
from eenet_export.gate.parity import ParityLimits
from eenet_export.gate.verify import Verification
from eenet_runtime.bundle.manifest import ParityRow, PostprocessingSettings, open_bundle
from eenet_runtime.volumes.pose import Pose


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("allowed", [False, True])
def test_verify_passes_the_cases_and_the_limits_on(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    row = ParityRow("A", "oracle", "onnx-fp32", 0.0, {"ET": 1.0, "WT": 1.0}, region_voxels={"ET": 0, "WT": 8})
    asked: list[tuple[Any, ...]] = []

    def verified(folder: Path, cases: Path, *, max_cases: int, limits: ParityLimits, **_: Any) -> Verification:
        asked.append((folder, cases, max_cases, limits))
        return Verification((row,), {}, {}, {})

    monkeypatch.setattr(verify, "verify_bundle", verified)
    said = run(
        *("verify", tiny_bundle, "--cases", tmp_path, "--max-cases", 3),
        *(["--allow-unproven"] if allowed else []),
    )
    assert asked == [(tiny_bundle, tmp_path, 3, ParityLimits(allow_unproven=allowed))]
    assert "not proven: ET: no voxel of it in any case that onnx-fp32 was measured on" in said


def test_native_passes_the_limits_on(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[ParityLimits] = []

    def added(folder: Path, cases: Path, *, limits: ParityLimits, **_: Any) -> native.AddedNative:
        asked.append(limits)
        return native.AddedNative(open_bundle(folder), (), True)

    monkeypatch.setattr(native, "add_native", added)
    run("native", tiny_bundle, "--cases", tmp_path, "--allow-unproven")
    run("native", tiny_bundle, "--cases", tmp_path)
    assert asked == [ParityLimits(allow_unproven=True), ParityLimits()]


@pytest.mark.tf
@pytest.mark.parametrize("command", ["onnx", "all"])
def test_an_export_gets_every_option(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    from eenet_export.bundle import package, source
    from eenet_export.bundle.package import ExportSettings
    from eenet_train.network.weights import WeightPrecision

    asked: list[tuple[Any, ...]] = []

    def exported(*arguments: Any) -> Any:
        asked.append(arguments[:4])
        return open_bundle(tiny_bundle)

    monkeypatch.setattr(package, "export_model", exported)
    monkeypatch.setattr(source, "source_of", lambda run, preset: (run, preset.name))
    output, cases = tmp_path / "bundle", tmp_path / "cases"
    run(
        *(command, tmp_path, "--output", output, "--cases", cases, "--max-cases", 5, "--weights", "fp16"),
        *("--preset", "eenet-fast", "--name", "a name", "--note", "a note", "--min-tumour-ml", 0.5),
        *("--min-enhancing-ml", 0.25, "--half-input", "--allow-unproven", "--no-head-only", "--pose", "mni152"),
        *(["--precision", "int8"] if command == "onnx" else []),
    )
    settings = ExportSettings(
        name="a name",
        weights=WeightPrecision.FP16,
        precisions=("fp32", "int8") if command == "onnx" else ("fp32", "fp16", "int8"),
        half_input=True,
        engine=command == "all",
        max_cases=5,
        limits=ParityLimits(allow_unproven=True),
        postprocessing=PostprocessingSettings(0.5, 0.25, head_only=False),
        note="a note",
        pose=Pose.MNI152,
    )
    assert asked == [((tmp_path, "eenet-fast"), output, cases, settings)]
    plain = ExportSettings()
    same = {field.name for field in fields(settings) if getattr(settings, field.name) == getattr(plain, field.name)}
    assert same <= {"native", "engine"}, "an option that nobody set is not tested here"
