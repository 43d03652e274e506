"""`eenet-bench`: parse, call one library function, print."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from eenet_bench.commands.options import (
    BackendsOption,
    BundleArgument,
    CasesOption,
    JsonOption,
    MasksOptions,
    PeersOptions,
    RoundsOption,
    RunOptions,
    ThreadsOption,
    names_in,
)
from eenet_runtime.commands.option_groups import spread
from eenet_runtime.commands.support import ExitCode, new_app, run_app
from eenet_runtime.errors import EENetError, ParityError

app = new_app("Measure speed, memory, agreement with Keras, and quality by BraTS rules.")


@app.command("run")
@spread
def run(
    bundle: BundleArgument,
    options: RunOptions,
    cases: CasesOption = Path("examples"),
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for results.json, results.md and results.html.")
    ] = None,
) -> None:
    """Speed by stage, memory and agreement of every engine and precision, in turns (exit code 4 where one differs)."""
    from eenet_bench.run.run import require_agreement, run_benchmark
    from eenet_bench.run.run_page import write_run
    from eenet_bench.run.run_tables import run_text

    report = run_benchmark(bundle, cases, options.settings(), partial(typer.echo, err=True))
    typer.echo(run_text(report))
    if output is not None:
        write_run(report, output)
    require_agreement(report)


@app.command("compare")
def compare(
    before: Annotated[Path, typer.Argument(help="results.json of eenet-bench run.")],
    after: Annotated[Path, typer.Argument(help="Another one, of the same machine, preset and cases.")],
    threshold: Annotated[
        float, typer.Option(metavar="<number>", min=0, help="Share from which on a change counts.")
    ] = 0.05,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Compare different machines, presets or cases, too.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Also list what did not move.")] = False,
) -> None:
    """What moved between two runs beyond the noise of both (exit code 5 for a regression beyond the threshold)."""
    from eenet_bench.run.compare import compare_files, comparison_text

    comparison = compare_files(before, after, threshold, anyway=anyway)
    typer.echo(comparison_text(comparison, everything=everything))
    if comparison.regressions:
        raise typer.Exit(ExitCode.REGRESSION)


@app.command("gpu")
def gpu(
    bundle: BundleArgument,
    cases: CasesOption = Path("examples"),
    repeats: Annotated[int, typer.Option(metavar="<number>", min=1, help="Timed runs of each engine, after ten.")] = 50,
    require_gpu: Annotated[bool, typer.Option("--require-gpu", help="Fail where there is no GPU.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for gpu.json, gpu.md, gpu.html.")
    ] = None,
) -> None:
    """Acceptance on a GPU: build both kinds of engines, gate, prove and time them (4: one failed, 3: none ran)."""
    from eenet_bench.acceptance.acceptance import accept
    from eenet_bench.acceptance.acceptance_page import acceptance_text, write_acceptance

    report = accept(bundle, cases, repeats=repeats, require_gpu=require_gpu, on_step=partial(typer.echo, err=True))
    typer.echo(acceptance_text(report))
    if output is not None:
        write_acceptance(report, output)
    if report.failed:
        raise typer.Exit(ExitCode.PARITY)
    if not report.engines:
        raise typer.Exit(ExitCode.SOME_CASES_FAILED)


@app.command("stages")
def stages(
    cases: Annotated[Path, typer.Argument(help="Cases in any known layout; the first with a label is measured.")],
    preset: Annotated[
        str, typer.Option(metavar="<preset>", help="Geometry of the network that is left out.")
    ] = "eenet-144",
    repeats: RoundsOption = 7,
    threads: ThreadsOption = None,
    json_file: JsonOption = None,
) -> None:
    """Time of every stage outside the network, beside the naive way with nibabel and SciPy, in turns."""
    from eenet_bench.limits.stages import measure_stages, stages_table, write_stages
    from eenet_runtime.volumes.presets import preset_by_name

    geometry = preset_by_name(preset)
    report = measure_stages(cases, geometry, repeats, threads, partial(typer.echo, err=True))
    typer.echo(stages_table(report))
    if json_file is not None:
        write_stages(report, json_file)


@app.command("evaluate")
@spread
def evaluate(
    masks: MasksOptions,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for evaluation.html, evaluation.json and evaluation.csv."),
    ] = None,
    ceiling: Annotated[
        str | None, typer.Option(metavar="<preset>", help="Also show what a perfect network of this preset would get.")
    ] = None,
    workers: Annotated[int, typer.Option(metavar="<number>", min=1, help="Processes that share the cases.")] = 1,
) -> None:
    """Dice, HD95, sensitivity, specificity and lesion-wise figures of masks (exit code 3 if a case was refused)."""
    from eenet_bench.evaluation.error_pictures import worst_case_pictures
    from eenet_bench.evaluation.evaluate import evaluate_folder, masks_without_truth
    from eenet_bench.evaluation.evaluation_report import (
        ceiling_table,
        evaluation_table,
        lesion_tables,
        write_evaluation,
    )
    from eenet_runtime.volumes.presets import preset_by_name

    preset, scheme = preset_by_name(ceiling) if ceiling else None, masks.scheme()
    progress = _show_progress if sys.stderr.isatty() else None
    predictions, truth = masks.predictions, masks.truth
    results = evaluate_folder(predictions, truth, ceiling=preset, scheme=scheme, workers=workers, progress=progress)
    typer.echo(f"{evaluation_table(results)}\n\n{lesion_tables(results)}")
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


@app.command("brats-agreement")
@spread
def brats_agreement(
    masks: MasksOptions,
    python: Annotated[
        Path | None, typer.Option(help="Python that has brats-evaluation (default: this one).", show_default=False)
    ] = None,
    tolerance: Annotated[float, typer.Option(metavar="<number>", min=0, help="Largest difference of a figure.")] = 1e-6,
) -> None:
    """Hold our figures against the challenges' own package (extra: brats; exit code 4 where one differs)."""
    from eenet_bench.evaluation.brats_agreement import agreement_table, compare_with_package, comparison_text

    on_case = partial(typer.echo, err=True)
    agreement = compare_with_package(
        masks.predictions, masks.truth, scheme=masks.scheme(), python=python, on_case=on_case
    )
    typer.echo(agreement_table(agreement))
    for case_id, reason in agreement.refused.items():
        typer.echo(f"refused {case_id}: {reason}", err=True)
    apart = agreement.beyond(tolerance)
    for one in apart:
        typer.echo(comparison_text(one), err=True)
    if apart:
        raise typer.Exit(ExitCode.PARITY)
    if agreement.refused:
        raise typer.Exit(ExitCode.SOME_CASES_FAILED)


@app.command("input-checks")
def input_checks(
    cases: Annotated[Path, typer.Argument(help="Sound, complete cases, in any known layout; labels are used.")],
    heads: Annotated[Path | None, typer.Option(help="Folder of single images: real heads, stripped or not.")] = None,
    max_cases: Annotated[
        int | None, typer.Option(metavar="<number>", min=1, help="How many of the cases to use (default: all).")
    ] = None,
    workers: Annotated[
        int, typer.Option(metavar="<number>", min=1, help="Processes; each needs about 1 GB of memory.")
    ] = 1,
    json_file: JsonOption = None,
) -> None:
    """False alarms and hits of the input checks, on the cases as they are and on the same with known faults."""
    from eenet_bench.inputs.input_checks import input_check_tables, study_input_checks, write_study
    from eenet_runtime.cases.discovery import find_cases
    from eenet_runtime.errors import DatasetError
    from eenet_runtime.volumes.labels import CHANNEL_ORDER

    chosen = [case for case in find_cases(cases).cases if len(case.images) == len(CHANNEL_ORDER)][:max_cases]
    if not chosen:
        raise DatasetError(f"{cases}: no complete case found, expected four images of each")

    def tell(done: int, of: int, case: str) -> None:
        typer.echo(f"{done} of {of}: {case}", err=True)

    study = study_input_checks(chosen, heads, workers, tell)
    typer.echo(input_check_tables(study))
    if json_file is not None:
        write_study(study, json_file)


@app.command("raw-checks")
def raw_checks(
    cases: Annotated[Path, typer.Argument(help="Sound raw cases of four series, in any known layout; two or more.")],
    lines: Annotated[Path, typer.Option("--lines", help="File of JSON lines: one for each case and variant.")],
    max_cases: Annotated[
        int | None, typer.Option(metavar="<number>", min=1, help="How many of the cases to use (default: all).")
    ] = None,
    variants: Annotated[str, typer.Option(metavar="<names>", help="Which, with commas between (default: all).")] = "",
    pose: Annotated[
        str, typer.Option(metavar="<pose>", help="Pose that heads are turned to: native, mni152 or sri24.")
    ] = "sri24",
    threads: ThreadsOption = None,
) -> None:
    """Figures and verdicts of raw cases as they are and spoiled, without a network; goes on where it was stopped."""
    from eenet_bench.inputs.raw_checks import RawRow, raw_check_tables, study_raw_checks
    from eenet_runtime.cases.discovery import find_cases
    from eenet_runtime.segmenter.raw import chain_for
    from eenet_runtime.segmenter.raw_settings import RawSettings
    from eenet_runtime.volumes.labels import CHANNEL_ORDER

    def tell(row: RawRow) -> None:
        typer.echo(f"{row.case_id}, {row.variant}: {row.verdict} {', '.join(row.rules)}", err=True)

    chosen = [case for case in find_cases(cases).cases if len(case.images) == len(CHANNEL_ORDER)][:max_cases]
    chain = chain_for(RawSettings(), 1.0, pose, threads)
    typer.echo(raw_check_tables(study_raw_checks(chosen, chain, lines, names_in(variants), tell)))


@app.command("raw-transforms")
def raw_transforms(
    phantoms: Annotated[Path, typer.Argument(help="Folder of eenet-train phantom --raw: cases and their truth.")],
    lines: Annotated[Path, typer.Option("--lines", help="File of JSON lines: one for each case and kind.")],
    max_cases: Annotated[
        int | None, typer.Option(metavar="<number>", min=1, help="How many of the cases to use (default: all).")
    ] = None,
    threads: ThreadsOption = None,
) -> None:
    """Errors of registrations whose results are known, and whether bad ones are doubted; goes on where it stopped."""
    from eenet_bench.inputs.raw_transforms import TransformRow, study_transforms, transform_tables
    from eenet_runtime.cases.discovery import find_cases
    from eenet_runtime.volumes.labels import CHANNEL_ORDER

    def tell(row: TransformRow) -> None:
        error = row.reason if row.mean_mm is None else f"{row.mean_mm:.2f} mm"
        typer.echo(f"{row.case_id}, {row.kind}: {error} {', '.join(row.rules)}", err=True)

    found = find_cases(phantoms / "cases").cases
    chosen = [case for case in found if len(case.images) == len(CHANNEL_ORDER)][:max_cases]
    typer.echo(transform_tables(study_transforms(chosen, phantoms / "truth", lines, threads, tell)))


@app.command("folder")
def folder(
    bundle: BundleArgument,
    cases: Annotated[Path, typer.Argument(help="Cases, one file for each modality.")],
    repeats: Annotated[
        int, typer.Option(metavar="<number>", min=1, help="Measured rounds, after one that is not.")
    ] = 5,
    threads: ThreadsOption = None,
    backend: Annotated[str, typer.Option(metavar="<engine>", help="Inference engine, as for eenet-run.")] = "auto",
    json_file: JsonOption = None,
) -> None:
    """What a folder run costs, files to files, beside its inferences alone."""
    from eenet_bench.limits.folder_overlap import folder_table, measure_folder, write_folder_report

    report = measure_folder(bundle, cases, repeats, threads, backend, partial(typer.echo, err=True))
    typer.echo(folder_table(report))
    if json_file is not None:
        write_folder_report(report, json_file)


@app.command("missing-modality")
def missing_modality(
    bundle: BundleArgument,
    cases: Annotated[Path, typer.Argument(help="Cases with labels, in any known layout.")],
    assume_dropout: Annotated[
        bool, typer.Option(help="Measure a bundle whose manifest names no training with modality dropout, too.")
    ] = False,
    threads: ThreadsOption = None,
    json_file: JsonOption = None,
) -> None:
    """What leaving out each modality costs in Dice."""
    from eenet_bench.inputs.missing_modality import cost_table, measure_cost, write_cost
    from eenet_runtime.cases.discovery import find_cases

    chosen = [case for case in find_cases(cases).cases if case.label is not None]
    cost = measure_cost(bundle, chosen, assume_dropout, threads, partial(typer.echo, err=True))
    typer.echo(cost_table(cost))
    if json_file is not None:
        write_cost(cost, json_file)


@app.command("peers")
@spread
def peers(
    cases: Annotated[Path, typer.Argument(help="Cases with one file for each modality.")],
    options: PeersOptions,
    preset: Annotated[str, typer.Option(metavar="<preset>", help="Geometry of the network.")] = "eenet-144",
    weights: Annotated[Path | None, typer.Option(help="Bundle whose weights to take (default: random ones).")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for peers.json and peers.png.")] = None,
) -> None:
    """Files to files beside Keras in a notebook, a plain ONNX graph and MONAI (extra: peers), in turns."""
    from eenet_bench.peers.measure import measure_peers
    from eenet_bench.peers.report import peers_table, write_peers
    from eenet_runtime.volumes.presets import preset_by_name

    on_step = partial(typer.echo, err=True)
    report = measure_peers(cases, preset_by_name(preset), weights, options.settings(), on_step)
    typer.echo(peers_table(report))
    if output is not None:
        write_peers(report, output)


@app.command("scaling")
def scaling(
    bundle: BundleArgument,
    cases: Annotated[Path | None, typer.Option(help="Cases, to measure cases in flight, too.")] = None,
    rounds: RoundsOption = 5,
    backends: BackendsOption = "native,openvino,onnxruntime",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for scaling.json and scaling.png.")
    ] = None,
) -> None:
    """The network's time by size of the volume, threads and cases in flight; the sizes get the bundle's weights."""
    from eenet_bench.limits.scaling import measure_scaling, scaling_table, write_scaling

    report = measure_scaling(bundle, cases, rounds, names_in(backends), on_step=partial(typer.echo, err=True))
    typer.echo(scaling_table(report))
    if output is not None:
        write_scaling(report, output)


@app.command("roofline")
def roofline(
    bundle: BundleArgument,
    rounds: RoundsOption = 5,
    threads: ThreadsOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for roofline.json and roofline.png.")
    ] = None,
) -> None:
    """Operations and bytes by layer, the machine's rates, and how far each CPU engine is from them."""
    from eenet_bench.limits.roofline import measure_roofline, roofline_table, write_roofline

    report = measure_roofline(bundle, rounds, threads, partial(typer.echo, err=True))
    typer.echo(roofline_table(report))
    if output is not None:
        write_roofline(report, output)


def _show_progress(done: int, total: int) -> None:
    """One line that is written over, for terminals."""
    typer.echo(f"\r{done} of {total} cases evaluated", err=True, nl=done == total)


def _exit_code(error: EENetError) -> ExitCode:
    return ExitCode.PARITY if isinstance(error, ParityError) else ExitCode.USAGE


def main() -> None:
    """Entry point of `eenet-bench`."""
    from eenet_train.network.tensorflow_setup import set_tensorflow_defaults

    set_tensorflow_defaults()
    run_app(app, "eenet-bench", _exit_code, extras="bench,export")
