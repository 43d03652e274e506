"""Run inside an environment that holds the base install and nothing else: `make lean`."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

FORBIDDEN = {"tensorflow", "keras", "onnx", "tf2onnx", "torch", "scipy", "onnxruntime", "openvino", "nilearn"}


def main() -> int:
    """Check what is installed, and that the command line answers without an engine."""
    installed = {distribution.metadata["Name"].lower() for distribution in distributions()}
    if heavy := sorted(installed & FORBIDDEN):
        return _fail(f"the base install pulls {', '.join(heavy)}")
    program = Path(sys.executable).with_name("eenet-run")
    for arguments in (["--help"], ["infer", "--help"], ["infer", "folder", "--help"], ["info"]):
        finished = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        if finished.returncode != 0:
            return _fail(f"eenet-run {' '.join(arguments)} exits {finished.returncode}: {finished.stderr}")
    if "not installed" not in finished.stdout:
        return _fail("eenet-run info does not say that no engine is installed")
    sys.stdout.write(f"lean install: {len(installed)} packages, none of {', '.join(sorted(FORBIDDEN))}\n")
    return 0


def _fail(reason: str) -> int:
    sys.stderr.write(f"lean install: {reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
