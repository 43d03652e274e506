"""`eenet-export sign`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def sign(
    bundle: Annotated[Path | None, typer.Argument(help="The bundle to sign.")] = None,
    key: Annotated[Path | None, typer.Option("--key", help="Private key (Ed25519, PEM) to sign with.")] = None,
    new_key: Annotated[
        Path | None, typer.Option("--new-key", help="Make a key pair: this private file, and <file>.pub beside it.")
    ] = None,
) -> None:
    """Sign a bundle's manifest, so that a site can refuse every bundle that is not of your making."""
    from eenet_export.bundle.signing import new_key_pair, sign_bundle

    if (key is None) == (new_key is None):
        raise typer.BadParameter("expected either a key to sign with or a new one to make", param_hint="--key")
    if bundle is None and new_key is None:
        raise typer.BadParameter("expected a bundle to sign", param_hint="BUNDLE")
    if new_key is not None:
        pair = new_key_pair(new_key)
        typer.echo(f"private key {pair.private}: keep it; public key {pair.public}: give it to the sites")
        typer.echo(f"fingerprint {pair.fingerprint}")
    private_key = key or new_key
    if bundle is not None and private_key is not None:
        typer.echo(f"{bundle}: signed, key {sign_bundle(bundle, private_key)}")
