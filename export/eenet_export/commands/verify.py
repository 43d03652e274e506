"""`eenet-export verify`: the gate for a bundle that exists."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eenet_export.commands.options import GateOptions
from eenet_runtime.bundle.manifest import MANIFEST_NAME
from eenet_runtime.bundle.signature import signature_path
from eenet_runtime.commands.option_groups import spread
from eenet_train.network.tensorflow_setup import load_tensorflow


@spread
def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle.")],
    gate: GateOptions,
    record: Annotated[bool, typer.Option("--record", help="Write the figures into the manifest.")] = False,
) -> None:
    """Hold every artefact of a bundle against the float64 oracle on real cases (exit code 4 if one fails)."""
    load_tensorflow()
    from eenet_export.gate.parity import parity_table
    from eenet_export.gate.verify import record as record_figures
    from eenet_export.gate.verify import verify_bundle
    from eenet_runtime.bundle.proof import not_proven_in_words
    from eenet_runtime.errors import ParityError

    found = verify_bundle(
        bundle,
        gate.cases,
        max_cases=gate.max_cases,
        limits=gate.limits(),
        on_step=lambda step: typer.echo(step, err=True),
    )
    typer.echo(parity_table(found.rows))
    for line in not_proven_in_words(found.rows):
        typer.echo(line)
    for path, reason in found.not_run.items():
        typer.echo(f"not run: {path}: {reason}")
    if found.failed:
        raise ParityError("; ".join(found.failed.values()))
    if record:
        typer.echo(f"recorded: bundle {record_figures(bundle, found).bundle_id}")
        if signature_path(bundle / MANIFEST_NAME).exists():
            typer.echo("the manifest's signature no longer fits: sign the bundle again with eenet-export sign")
