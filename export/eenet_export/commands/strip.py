"""`eenet-export strip`: deepbet's networks as a bundle that strips heads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def strip(
    output: Annotated[Path, typer.Argument(help="The bundle, a new folder.")],
    wheel: Annotated[
        Path | None, typer.Option(help="deepbet's wheel (default: the package that is installed).")
    ] = None,
    head: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="<path>", help="T1-weighted head with its skull to measure on, besides synthetic ones; repeat it."
        ),
    ] = None,
) -> None:
    """Convert deepbet's two networks; nothing gets the final name that does not agree with PyTorch (exit code 4)."""
    from eenet_export.strip.package import make_strip_bundle

    bundle = make_strip_bundle(output, wheel, head or (), lambda step: typer.echo(step, err=True))
    total = sum(entry.bytes for entry in bundle.manifest.files)
    typer.echo(f"{output}: strip bundle {bundle.bundle_id}, {total / 1e6:.1f} MB, licence {bundle.manifest.licence}")
