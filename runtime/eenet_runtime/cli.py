"""`eenet-run`: parse, call one library function, print. Heavy imports wait until a command needs them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eenet_runtime._version import __version__
from eenet_runtime.cli_support import ExitCode, new_app, run_app
from eenet_runtime.errors import EENetError, SelfTestError

if TYPE_CHECKING:
    from eenet_runtime.bundle import PostprocessingSettings
    from eenet_runtime.folder import CaseOutcome
    from eenet_runtime.labels import LabelScheme
    from eenet_runtime.segmenter import Segmenter

app = new_app("Segment brain tumours in MRI with an EENet model. Not for diagnosis.")
infer = new_app("Segment one case or a folder of cases.")
app.add_typer(infer, name="infer")

ModelOption = Annotated[Path, typer.Option("--model", "-m", help="Bundle made by eenet-export.")]
BackendOption = Annotated[
    str, typer.Option(help="Inference engine: auto, openvino, onnxruntime, tensorrt or tensorrt-rtx.")
]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="Threads (default: as many as this process may use).")]
LabelsOption = Annotated[
    str | None, typer.Option(help="Label values of the mask: brats2020 (ET = 4), brats2023 (ET = 3) or msd.")
]
PreviewOption = Annotated[bool, typer.Option("--preview/--no-preview", help="Draw a PNG beside each mask.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
MinTumourOption = Annotated[
    float | None, typer.Option(min=0, help="Drop tumour components below this volume in ml (default: the bundle's).")
]
MinEnhancingOption = Annotated[
    float | None, typer.Option(min=0, help="Relabel enhancing tumour below this volume in ml as NCR.")
]
PublicKeyOption = Annotated[
    Path | None, typer.Option("--public-key", help="Refuse a bundle that is not signed with this key (PEM).")
]
SelftestOption = Annotated[bool, typer.Option("--selftest", help="Run the bundle's golden case before the first case.")]


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"eenet-run {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of the program itself."""


@infer.command("folder")
def infer_folder(
    folder: Annotated[Path, typer.Argument(help="Cases in a BraTS, Decathlon, nnU-Net or flat layout.")],
    output: Annotated[Path, typer.Argument(help="Folder for masks, reports, previews and the summary.")],
    model: ModelOption,
    backend: BackendOption = "auto",
    threads: ThreadsOption = None,
    labels: LabelsOption = None,
    preview: PreviewOption = True,
    min_tumour_ml: MinTumourOption = None,
    min_enhancing_ml: MinEnhancingOption = None,
    public_key: PublicKeyOption = None,
    selftest: SelftestOption = False,
    quiet: QuietOption = False,
) -> None:
    """Segment every case of a folder; a bad case is reported and the others go on (exit code 3)."""
    from eenet_runtime.folder import FolderSettings, segment_folder

    scheme = _scheme(labels)
    with _load(model, backend, threads, min_tumour_ml, min_enhancing_ml, public_key, selftest) as segmenter:
        on_case = None if quiet else _print_outcome
        run = segment_folder(segmenter, folder, output, FolderSettings(scheme, preview), on_case)
    if not quiet:
        typer.echo("")
        typer.echo(_table(run.outcomes))
    for outcome in run.failed:
        typer.echo(f"refused {outcome.case_id}: {outcome.reason}", err=True)
    if run.failed:
        raise typer.Exit(ExitCode.SOME_CASES_FAILED)


@infer.command("case")
def infer_case(
    t1: Annotated[Path, typer.Option("--t1", help="T1 volume.")],
    t1ce: Annotated[Path, typer.Option("--t1ce", help="T1 volume after gadolinium.")],
    t2: Annotated[Path, typer.Option("--t2", help="T2 volume.")],
    flair: Annotated[Path, typer.Option("--flair", help="FLAIR volume.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The mask, ending in .nii.gz.")],
    model: ModelOption,
    backend: BackendOption = "auto",
    threads: ThreadsOption = None,
    labels: LabelsOption = None,
    preview: PreviewOption = True,
    min_tumour_ml: MinTumourOption = None,
    min_enhancing_ml: MinEnhancingOption = None,
    public_key: PublicKeyOption = None,
    selftest: SelftestOption = False,
    quiet: QuietOption = False,
) -> None:
    """Segment one case given by its four files; report and preview are written beside the mask."""
    from eenet_runtime.case_files import case_from_paths
    from eenet_runtime.files import make_output_folder
    from eenet_runtime.folder import CaseOutcome
    from eenet_runtime.labels import Modality
    from eenet_runtime.results import ResultPaths, segment_to_files

    if not output.name.endswith(".nii.gz"):
        raise typer.BadParameter(f"{output}: expected a name ending in .nii.gz", param_hint="--output")
    case_id = output.name.removesuffix(".nii.gz")
    images = {Modality.T1: t1, Modality.T1CE: t1ce, Modality.T2: t2, Modality.FLAIR: flair}
    scheme = _scheme(labels)
    files = case_from_paths(case_id, images)
    with _load(model, backend, threads, min_tumour_ml, min_enhancing_ml, public_key, selftest) as segmenter:
        make_output_folder(output.parent)
        paths = ResultPaths.in_folder(output.parent, case_id)
        report = segment_to_files(segmenter, files, paths, scheme=scheme, preview=preview)
    if not quiet:
        typer.echo(_table([CaseOutcome(case_id, report)]))


@app.command("info")
def info(
    bundle: Annotated[Path | None, typer.Argument(help="A bundle to verify and describe.")] = None,
    public_key: PublicKeyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show versions, engines and, for a bundle, what it is and what was proved about it."""
    import json
    from dataclasses import asdict

    from eenet_runtime.bundle import open_bundle
    from eenet_runtime.info import bundle_as_dict, describe_bundle, describe_system, system_info

    system = system_info()
    opened = open_bundle(bundle, public_key) if bundle is not None else None
    if as_json:
        content = {"system": asdict(system), "bundle": bundle_as_dict(opened) if opened else None}
        typer.echo(json.dumps(content, indent=2))
        return
    typer.echo(describe_system(system))
    if opened is not None:
        typer.echo("\n" + describe_bundle(opened))


@app.command("selftest")
def selftest(
    bundle: Annotated[Path, typer.Argument(help="Bundle made by eenet-export.")],
    backend: BackendOption = "auto",
    threads: ThreadsOption = None,
    public_key: PublicKeyOption = None,
) -> None:
    """Verify a bundle and run its golden case on this machine; exit code 4 if the engine computes something else."""
    from contextlib import closing

    from eenet_runtime.backends import make_backend
    from eenet_runtime.bundle import open_bundle
    from eenet_runtime.selftest import describe_self_test, require_passed, self_test

    opened = open_bundle(bundle, public_key)
    with closing(make_backend(opened, backend, threads)) as engine:
        result = self_test(opened, engine)
    typer.echo(f"{opened.manifest.name} ({opened.folder}), id {opened.bundle_id}, signature: {opened.signature}")
    typer.echo(describe_self_test(result))
    require_passed(opened, result)


def _scheme(name: str | None) -> LabelScheme | None:
    from eenet_runtime.labels import LABEL_SCHEMES

    if name is None:
        return None
    if name not in LABEL_SCHEMES:
        raise typer.BadParameter(f"{name!r}: expected one of {', '.join(LABEL_SCHEMES)}", param_hint="--labels")
    return LABEL_SCHEMES[name]


def _load(
    model: Path,
    backend: str,
    threads: int | None,
    min_tumour_ml: float | None,
    min_enhancing_ml: float | None,
    public_key: Path | None,
    selftest: bool,
) -> Segmenter:
    from eenet_runtime.bundle import open_bundle
    from eenet_runtime.segmenter import Segmenter

    opened = open_bundle(model, public_key)
    settings: PostprocessingSettings = opened.manifest.postprocessing.changed(min_tumour_ml, min_enhancing_ml)
    return Segmenter(opened, backend=backend, threads=threads, postprocessing=settings, selftest=selftest)


def _print_outcome(count: int, total: int, outcome: CaseOutcome) -> None:
    seconds = f"{sum(outcome.report.seconds.values()):.1f} s" if outcome.report else "refused"
    typer.echo(f"[{count}/{total}] {outcome.case_id}: {seconds}", err=True)
    for warning in outcome.report.warnings if outcome.report else ():
        typer.echo(f"    {warning}", err=True)


def _table(outcomes: list[CaseOutcome]) -> str:
    from eenet_runtime.folder import outcome_table

    return outcome_table(outcomes)


def _exit_code(error: EENetError) -> ExitCode:
    return ExitCode.PARITY if isinstance(error, SelfTestError) else ExitCode.USAGE


def main() -> None:
    """Entry point of `eenet-run`."""
    run_app(app, "eenet-run", _exit_code)
