"""`eenet-bench`: parse, call one library function, print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from eenet_runtime.cli_support import ExitCode, new_app, run_app
from eenet_runtime.errors import EENetError, ParityError

app = new_app("Measure latency, memory, parity with Keras, and quality by BraTS rules.")


BundleArgument = Annotated[Path, typer.Argument(help="Bundle made by eenet-export.")]
BackendsOption = Annotated[
    str, typer.Option(metavar="NAMES", help="Engines, with commas between them (default: all).", show_default=False)
]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Also write everything to this file.")]


@app.command("latency")
def latency(
    bundle: BundleArgument,
    cases: Annotated[Path, typer.Argument(help="Cases in any known layout.")],
    repeats: Annotated[int, typer.Option(min=1, help="Measured runs of each case, after a warm-up.")] = 5,
    max_cases: Annotated[int, typer.Option(min=1, help="How many of the cases to measure.")] = 1,
    backends: BackendsOption = "",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads (default: as many as usable).")] = None,
    json_file: JsonOption = None,
) -> None:
    """Cold start, seconds by stage and peak memory of each engine, measured in turns."""
    from eenet_bench.latency import LatencySettings, latency_table, measure_latency, write_latency

    settings = LatencySettings(repeats, max_cases, _names(backends), threads)
    report = measure_latency(bundle, cases, settings, lambda step: typer.echo(step, err=True))
    typer.echo(latency_table(report))
    if json_file is not None:
        write_latency(report, json_file)


@app.command("parity")
def parity(
    bundle: BundleArgument,
    cases: Annotated[Path, typer.Argument(help="Cases in any known layout.")],
    max_cases: Annotated[
        int | None, typer.Option(min=1, help="How many of the cases to compare (default: all).")
    ] = None,
    backends: BackendsOption = "",
    max_difference: Annotated[float, typer.Option(min=0, help="Largest difference of a probability.")] = 1e-3,
    min_dice: Annotated[float, typer.Option(min=0, max=1, help="Smallest Dice between two masks.")] = 0.999,
    json_file: JsonOption = None,
) -> None:
    """Agreement of a bundle with the Keras model rebuilt from its weights (exit code 4 beyond the limits)."""
    from eenet_bench.parity import bundle_parity_table, compare_bundle, require_bundle_parity, write_parity
    from eenet_export.parity import ParityLimits
    from eenet_runtime.bundle import open_bundle
    from eenet_runtime.discovery import find_cases

    chosen = find_cases(cases).cases[:max_cases]
    report = compare_bundle(open_bundle(bundle), chosen, _names(backends), lambda step: typer.echo(step, err=True))
    typer.echo(bundle_parity_table(report))
    if json_file is not None:
        write_parity(report, json_file)
    limits = ParityLimits(max_abs_difference=max_difference, mean_dice=min_dice, worst_dice=min_dice)
    require_bundle_parity(report.rows, limits)


@app.command("evaluate")
def evaluate(
    predictions: Annotated[Path, typer.Argument(help="Masks named <case>.nii.gz, as eenet-run writes them.")],
    truth: Annotated[Path, typer.Argument(help="Cases with labels in any known layout, or label files.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for evaluation.html, evaluation.json and evaluation.csv."),
    ] = None,
    ceiling: Annotated[
        str | None, typer.Option(metavar="PRESET", help="Also show what a perfect network of this preset would get.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Label values of the masks: brats2020 (ET = 4), brats2023 (ET = 3) or msd "
            "(default: told by the report beside a mask, otherwise as in the truth)."
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the cases.")] = 1,
) -> None:
    """Dice, HD95, sensitivity, specificity and lesion-wise figures of masks (exit code 3 if a case was refused)."""
    from eenet_bench.error_pictures import worst_case_pictures
    from eenet_bench.evaluate import evaluate_folder, masks_without_truth
    from eenet_bench.evaluation_report import ceiling_table, evaluation_table, lesion_table, write_evaluation
    from eenet_bench.truth import scheme_by_name
    from eenet_runtime.presets import preset_by_name

    preset = preset_by_name(ceiling) if ceiling else None
    scheme = scheme_by_name(labels) if labels else None
    progress = _show_progress if sys.stderr.isatty() else None
    results = evaluate_folder(predictions, truth, ceiling=preset, scheme=scheme, workers=workers, progress=progress)
    typer.echo(f"{evaluation_table(results)}\n\n{lesion_table(results)}")
    if preset is not None:
        typer.echo(f"\nbeside a perfect network of {preset.name}:\n{ceiling_table(results)}")
    if output is not None:
        write_evaluation(results, output, worst_case_pictures(predictions, truth, results, scheme=scheme))
    for path in masks_without_truth(predictions, results):
        typer.echo(f"no truth for {path}", err=True)
    refused = [result for result in results if result.reason]
    for result in refused:
        typer.echo(f"refused {result.case_id}: {result.reason}", err=True)
    if refused:
        raise typer.Exit(ExitCode.SOME_CASES_FAILED)


def _show_progress(done: int, total: int) -> None:
    """One line that is written over, for terminals."""
    typer.echo(f"\r{done} of {total} cases evaluated", err=True, nl=done == total)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _exit_code(error: EENetError) -> ExitCode:
    return ExitCode.PARITY if isinstance(error, ParityError) else ExitCode.USAGE


def main() -> None:
    """Entry point of `eenet-bench`."""
    from eenet_train.tensorflow_setup import set_tensorflow_defaults

    set_tensorflow_defaults()
    run_app(app, "eenet-bench", _exit_code)
