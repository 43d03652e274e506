"""`eenet-export`: the commands are in `eenet_export.commands`, each parses, calls one library function and prints."""

from __future__ import annotations

from eenet_export.commands.engine import engine
from eenet_export.commands.info import info
from eenet_export.commands.native import native
from eenet_export.commands.onnx import export_all, onnx
from eenet_export.commands.sign import sign
from eenet_export.commands.strip import strip
from eenet_export.commands.triton import triton
from eenet_export.commands.verify import verify
from eenet_runtime.commands.support import ExitCode, new_app, run_app
from eenet_runtime.errors import EENetError, ParityError
from eenet_train.network.tensorflow_setup import set_tensorflow_defaults

app = new_app("Turn a trained EENet into a bundle that the runtime can trust.")
app.command("all")(export_all)
app.command("onnx")(onnx)
app.command("engine")(engine)
app.command("native")(native)
app.command("verify")(verify)
app.command("sign")(sign)
app.command("strip")(strip)
app.command("triton")(triton)
app.command("info")(info)


def _exit_code(error: EENetError) -> ExitCode:
    return ExitCode.PARITY if isinstance(error, ParityError) else ExitCode.USAGE


def main() -> None:
    """Entry point of `eenet-export`."""
    set_tensorflow_defaults()
    run_app(app, "eenet-export", _exit_code, extras="export")
