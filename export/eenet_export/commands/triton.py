"""`eenet-export triton`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def triton(
    bundle: Annotated[Path, typer.Argument(help="The bundle.")],
    repository: Annotated[Path, typer.Argument(help="Model repository of a Triton server; may hold other models.")],
    name: Annotated[
        str, typer.Option("--name", metavar="<name>", help="Name of the model (default: the bundle's).")
    ] = "",
    public_key: Annotated[
        Path | None, typer.Option("--public-key", help="Refuse a bundle that is not signed with this key (PEM).")
    ] = None,
) -> None:
    """Write a bundle's ONNX graphs and TensorRT plans as models of a Triton Inference Server."""
    from eenet_export.bundle.triton import write_repository
    from eenet_runtime.bundle.manifest import open_bundle

    written = write_repository(open_bundle(bundle, public_key), repository, name)
    for model in written.models:
        typer.echo(f"wrote {model}")
    for sentence in written.left_out:
        typer.echo(f"left out {sentence}")
