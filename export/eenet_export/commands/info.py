"""`eenet-export info`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def info(
    bundle: Annotated[Path, typer.Argument(help="The bundle to verify and describe.")],
    public_key: Annotated[
        Path | None, typer.Option("--public-key", help="Refuse a bundle that is not signed with this key (PEM).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a bundle holds and what was proved about it before it got its name."""
    import json

    from eenet_export.bundle.overview import bundle_overview
    from eenet_runtime.bundle.manifest import open_bundle
    from eenet_runtime.commands.machine_info import bundle_as_dict

    opened = open_bundle(bundle, public_key)
    typer.echo(json.dumps(bundle_as_dict(opened), indent=2) if as_json else bundle_overview(opened))
