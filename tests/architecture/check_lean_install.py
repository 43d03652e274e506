"""Run inside an environment that holds the base install and nothing else: `make lean`."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from tempfile import TemporaryDirectory

FORBIDDEN = {"tensorflow", "keras", "onnx", "tf2onnx", "torch", "scipy", "onnxruntime", "openvino", "nilearn"}
INSTALLERS = {"pip", "setuptools", "wheel"}
MOST_MEGABYTES = 175
"""What the base install may take (docs/dependencies.md); with OpenVINO, the larger CPU engine, 360."""

ROOT = Path(__file__).parents[2]
NEEDS_AN_EXTRA = {
    "eenet-train fit examples --output nowhere": "train,phantom",
    "eenet-train phantom nowhere": "train,phantom",
    "eenet-export onnx nowhere --output nothing --cases examples": "export",
    "eenet-bench stages examples": "bench,export",
    "eenet-gateway echo --config nowhere.toml": "gateway",
}
"""Commands that the base install cannot run, and what their one line names."""


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
    for command, extras in NEEDS_AN_EXTRA.items():
        name, *arguments = command.replace("examples", str(ROOT / "examples")).split()
        with TemporaryDirectory() as folder:
            finished = subprocess.run(
                [program.with_name(name), *arguments], capture_output=True, text=True, check=False, cwd=folder
            )
        if finished.returncode != 2 or not finished.stderr.endswith(f'pip install "eenet[{extras}]"\n'):
            return _fail(f"{command} does not name the extra {extras}: {finished.stderr}")
    sizes = installed_megabytes()
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        sys.stdout.write(f"{size:8.1f} MB  {name}\n")
    if (total := sum(sizes.values())) > MOST_MEGABYTES:
        return _fail(f"the base install takes {total:.0f} MB, at most {MOST_MEGABYTES} expected")
    sys.stdout.write(f"lean install: {len(sizes)} packages, {total:.0f} MB, none of {', '.join(sorted(FORBIDDEN))}\n")
    return 0


def installed_megabytes() -> dict[str, float]:
    """Size of every package by the files it has on record, compiled bytecode included; pip itself does not count."""
    sizes = {}
    for distribution in distributions():
        paths = [Path(str(distribution.locate_file(file))) for file in distribution.files or []]
        sizes[distribution.metadata["Name"].lower()] = (
            sum(path.stat().st_size for path in paths if path.is_file()) / 1e6
        )
    return {name: size for name, size in sizes.items() if name not in INSTALLERS}


def _fail(reason: str) -> int:
    sys.stderr.write(f"lean install: {reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
