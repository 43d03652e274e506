"""What a training ran on: packages, commit, processor and devices."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from eenet_runtime._version import __version__

PACKAGES: Final = ("tensorflow", "keras", "numpy", "scipy", "nibabel", "h5py", "safetensors", "tensorboard")


def describe_environment() -> dict[str, Any]:
    """Versions, commit and machine, ready for JSON; nothing that names the user or the machine."""
    import tensorflow as tf

    return {
        "eenet": __version__,
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "gpus": [
            tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
            for gpu in tf.config.list_physical_devices("GPU")
        ],
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", ""),
        "packages": {name: package_version(name) for name in PACKAGES},
    }


def environment_json() -> str:
    """`describe_environment` as text."""
    return json.dumps(describe_environment(), indent=2) + "\n"


def git_commit() -> str:
    """The commit of the checkout that this file belongs to, with "-dirty" where tracked files were changed.

    Empty where there is none: installed into an environment inside somebody else's checkout, it is not theirs either.
    """
    folder = Path(__file__).parent
    try:
        _git(folder, "ls-files", "--error-unmatch", Path(__file__).name)
        return _git(folder, "describe", "--always", "--dirty", "--exclude=*", "--abbrev=40")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()


def package_version(package: str) -> str:
    """The version of an installed package; "unknown" where it carries no metadata."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
