"""`eenet-export native`: the native engine's artefact into a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eenet_export.commands.options import GateOptions
from eenet_runtime.commands.option_groups import spread
from eenet_train.network.tensorflow_setup import load_tensorflow


@spread
def native(
    bundle: Annotated[Path, typer.Argument(help="The bundle (eenet-export onnx); the artefact is added to it.")],
    gate: GateOptions,
) -> None:
    """Add what the native CPU engine needs, if it agrees with the float64 oracle (exit code 4 if not)."""
    load_tensorflow()
    from eenet_export.bundle.native import add_native
    from eenet_export.gate.parity import parity_table
    from eenet_runtime.bundle.manifest import MANIFEST_NAME
    from eenet_runtime.bundle.signature import signature_path

    added = add_native(
        bundle,
        gate.cases,
        max_cases=gate.max_cases,
        limits=gate.limits(),
        on_step=lambda step: typer.echo(step, err=True),
    )
    typer.echo(parity_table(added.rows))
    typer.echo(f"{bundle}: the native artefact is {'added' if added.written else 'the same, its figures are new'}")
    if signature_path(bundle / MANIFEST_NAME).exists():
        typer.echo(f"{bundle}: its manifest is another one now, sign it again (eenet-export sign)")
