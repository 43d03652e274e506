"""The runtime's doors, checked from outside: what importing it brings along, and what it offers."""

from __future__ import annotations

import resource
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest

import eenet_runtime
from tests.places import ROOT

HEAVY = ["tensorflow", "keras", "tf2onnx", "onnx", "torch", "scipy", "nilearn", "onnxruntime", "openvino", "highdicom"]

# nibabel takes SciPy along where it is installed; check_lean_install.py shows that the base install has none.
WALK = f"""
import importlib, pkgutil, sys
import eenet_runtime
names = [module.name for module in pkgutil.walk_packages(eenet_runtime.__path__, "eenet_runtime.")]
def heavy(names):
    for name in names:
        importlib.import_module(name)
    return sorted((set({HEAVY!r}) - {{"scipy"}}) & set(sys.modules))
print(heavy(name for name in names if not name.startswith("eenet_runtime.dicom.")), heavy(names))
"""


def test_importing_every_runtime_module_brings_nothing_heavy_but_what_writes_dicom() -> None:
    finished = subprocess.run([sys.executable, "-I", "-c", WALK], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[] ['highdicom']"


def test_importing_the_package_does_not_import_nibabel() -> None:
    code = "import sys, eenet_runtime; sys.exit(bool({'nibabel', 'numpy', 'pydicom'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-I", "-c", code], check=False).returncode == 0


def test_the_embedding_api_brings_no_engine_no_command_line_and_no_pictures() -> None:
    others = [
        "typer",
        "PIL",
        "pydicom",
        "pydantic",
        "eenet_native",
        "tensorrt_rtx",
        "cuda",
        "concurrent.futures.process",
    ]
    unwanted = set(HEAVY + others) - {"scipy"}
    # A lean install has no pydicom; where there is one, nibabel takes it along, and pillow with it.
    lean = "import sys; sys.modules['pydicom'] = None"
    code = (
        f"{lean}; from eenet_runtime import Segmenter; print(sorted({unwanted!r} & set(sys.modules) - {{'pydicom'}}))"
    )
    finished = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"


def test_importing_the_package_costs_next_to_nothing() -> None:
    times: dict[str, list[float]] = {"pass": [], "import eenet_runtime": []}
    for _ in range(5):
        for code, found in times.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-I", "-c", code], check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert sorted(times["import eenet_runtime"])[2] - sorted(times["pass"])[2] < 0.15


def test_the_base_install_names_nothing_heavy() -> None:
    base = [entry for entry in requires("eenet") or [] if "extra ==" not in entry]
    assert base
    assert not [entry for entry in base if any(entry.lower().startswith(name) for name in HEAVY)]


def test_help_takes_less_than_half_a_second() -> None:
    program = Path(sys.executable).with_name("eenet-run")
    times = []
    for _ in range(5):
        # Processor time of the child, not wall time: a busy machine is not a slow program.
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([program, "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert sorted(times)[2] < 0.5


@pytest.mark.parametrize("name", eenet_runtime.__all__)
def test_every_public_name_exists(name: str) -> None:
    assert getattr(eenet_runtime, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'segment_everything'"):
        _ = eenet_runtime.segment_everything


def test_the_import_contracts_hold() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    finished = subprocess.run([program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout
