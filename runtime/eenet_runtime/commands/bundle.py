"""`eenet-run info` and `eenet-run selftest`: what is here, what a bundle is, and whether it computes what it should."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eenet_runtime.commands.option_groups import spread
from eenet_runtime.commands.options import EngineOptions, PublicKeyOption


def info(
    bundle: Annotated[Path | None, typer.Argument(help="A bundle to verify and describe.")] = None,
    public_key: PublicKeyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show versions, engines and, for a bundle, what it is and what was proved about it."""
    import json

    from eenet_runtime.commands.machine_info import (
        describe_bundle,
        describe_serving,
        describe_system,
        info_as_dict,
        serving_info,
        system_info,
    )

    system = system_info()
    opened = None
    if bundle is not None:
        from eenet_runtime.bundle.manifest import open_bundle

        opened = open_bundle(bundle, public_key)
    if as_json:
        typer.echo(json.dumps(info_as_dict(system, opened), indent=2))
        return
    typer.echo(describe_system(system))
    if opened is not None:
        typer.echo(f"\n{describe_bundle(opened)}\n\n{describe_serving(serving_info(opened))}")


@spread
def selftest(
    bundle: Annotated[Path, typer.Argument(help="Bundle made by eenet-export.")],
    engine: EngineOptions,
    public_key: PublicKeyOption = None,
) -> None:
    """Verify a bundle and run its golden case on this machine; exit code 4 if the engine computes something else."""
    from contextlib import closing

    from eenet_runtime.backends import make_backend
    from eenet_runtime.bundle.manifest import open_bundle
    from eenet_runtime.selftest.selftest import describe_self_test, require_passed, self_test

    opened = open_bundle(bundle, public_key)
    loading = make_backend(
        opened, backend=engine.backend, device=engine.device, precision=engine.precision, threads=engine.threads
    )
    with closing(loading) as loaded:
        result = self_test(opened, loaded)
    typer.echo(f"{opened.manifest.name} ({opened.folder}), id {opened.bundle_id}, signature: {opened.signature}")
    typer.echo(describe_self_test(result))
    require_passed(opened, result)
