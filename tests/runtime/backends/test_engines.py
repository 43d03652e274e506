"""The list of engines: what it says is true, and an entry in it is all that a new engine takes beside its file."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from eenet_runtime.backends.engines import ENGINES, EngineSpec, backend_names, engine_named
from eenet_runtime.errors import BackendError

ABACUS = """
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class Abacus:
    artifact: Any
    shape: tuple
    name = version = device = "abacus"
    gpu_index = None

    def labels(self, volume):
        return np.zeros(self.shape, np.uint8)

    def close(self):
        pass


def load(request):
    return Abacus(request.artifact, request.preset.shape)


if __name__ == "__main__":
    from eenet_runtime.backends import engines

    spec = engines.EngineSpec
    package = engines.Package(("numpy",), "pip install beads")
    engines.ENGINES = (spec("abacus", "abacus", "abacus", "onnx", cpu=package, precision="fp32"), *engines.ENGINES)

    from eenet_runtime.backends import choose, make_backend
    from eenet_runtime.bundle.manifest import open_bundle
    from eenet_runtime.cli import main

    bundle = open_bundle(Path(sys.argv[1]))
    print("auto:", choose(bundle).name)
    print("named:", make_backend(bundle, backend="abacus").name)
    for arguments in (["info"], ["selftest", "--help"]):
        sys.argv = ["eenet-run", *arguments]
        try:
            main()
        except SystemExit:
            pass
"""


def test_a_new_engine_is_one_file_and_one_entry(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "abacus.py").write_text(ABACUS)
    finished = subprocess.run(
        [sys.executable, tmp_path / "abacus.py", tiny_bundle], capture_output=True, text=True, check=True
    )
    said = finished.stdout
    assert "auto: abacus\n" in said
    assert "named: abacus\n" in said
    assert "\n  abacus " in said
    assert "Inference engine: auto, abacus, native, " in " ".join(said.split())


def test_the_help_of_backend_lists_every_engine() -> None:
    start = [sys.executable, "-c", "from eenet_runtime.cli import main; main()", "infer", "folder", "--help"]
    finished = subprocess.run(start, capture_output=True, text=True, check=True)
    words = " ".join(finished.stdout.split())
    assert (
        "--backend <engine> Inference engine: auto, native, onnxruntime, onnxruntime-tensorrt, openvino, tensorrt, "
        "tensorrt-rtx." in words
    )
    assert "range>" not in words
    assert "list[" not in words


@pytest.mark.parametrize("spec", ENGINES, ids=lambda spec: spec.name)
def test_an_engines_file_has_what_its_entry_promises(spec: EngineSpec) -> None:
    module, _, function = spec.file.partition(":")
    loader = getattr(import_module(module), function or "load")
    assert list(inspect.signature(loader).parameters) == ["request"]
    assert hasattr(import_module(module), "obstacle") == spec.asks
    assert spec.runs_on


def test_names_are_unique_and_auto_is_none_of_them() -> None:
    names = [spec.name for spec in ENGINES]
    assert backend_names() == ("auto", *sorted(set(names)))
    assert len(set(names)) == len(names)
    with pytest.raises(BackendError, match="unknown backend 'auto'"):
        engine_named("auto")


def test_auto_tries_the_fastest_first_on_either_kind_of_processor() -> None:
    assert [spec.name for spec in ENGINES if spec.cpu and spec.in_auto] == ["native", "openvino", "onnxruntime"]
    assert [spec.name for spec in ENGINES if spec.gpu and spec.in_auto] == ["tensorrt", "tensorrt-rtx", "onnxruntime"]
    # ONNX Runtime's TensorRT builds its engine for minutes at every start: only who asks for it gets it.
    assert not engine_named("onnxruntime-tensorrt").in_auto


def test_the_list_is_read_without_anything_heavy() -> None:
    code = (
        "import sys, eenet_runtime.backends.engines; "
        "print(sorted({'numpy', 'nibabel', 'openvino', 'onnxruntime', 'eenet_native'} & set(sys.modules)))"
    )
    finished = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"
