"""A process that forks after it has loaded a model: the child is told so at once, in every engine, and can end."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from eenet_runtime.backends import Backend, make_backend
from eenet_runtime.backends.loaded_model import LoadedModel
from eenet_runtime.bundle.engine_file import FLAVOURS
from eenet_runtime.bundle.manifest import open_bundle
from eenet_runtime.machine.home_process import HomeProcess
from eenet_runtime.segmenter.segmenter import Segmenter
from tests.forks import LIMIT_S, in_a_fork
from tests.native_stand_in import add_native_artifact, install
from tests.places import ROOT
from tests.runtime.backends.engine_site import make_site, make_volume
from tests.synthetic import TINY

DEMO = ROOT / "models/eenet-fast-phantom"
REFUSED = "BackendError: the model was loaded in process {}, of which process "


def refuses_in_a_fork(backend: Backend, volume: NDArray[np.float32]) -> None:
    """Both outputs are refused at once with what to do; closing works, and dropping the last reference."""
    for call in (backend, backend.labels):
        answer = in_a_fork(partial(call, volume))
        assert answer.startswith(REFUSED.format(os.getpid()))
        assert answer.endswith(
            "load it in the process that uses it, and start processes with multiprocessing's 'spawn'"
        )
    assert in_a_fork(backend.close) == "None"


@pytest.mark.parametrize("name", ["native", "openvino", "onnxruntime"])
def test_an_engine_is_refused_in_a_fork_and_goes_on_in_its_own_process(name: str) -> None:
    module = {"native": "eenet_native"}.get(name, name)
    if find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    bundle = open_bundle(DEMO)
    volume = np.random.default_rng(0).standard_normal((*bundle.manifest.preset.shape, 4)).astype(np.float32)
    backend = make_backend(bundle, backend=name, threads=2)
    expected = backend.labels(volume)
    refuses_in_a_fork(backend, volume)
    np.testing.assert_array_equal(backend.labels(volume), expected)
    backend.close()


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_an_engine_on_a_gpu_is_refused_in_a_fork(flavour: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = make_site(flavour, tmp_path, monkeypatch)
    site.write()
    backend = site.load()
    refuses_in_a_fork(backend, make_volume())
    backend.close()


@pytest.mark.parametrize("name", ["native", "openvino", "onnxruntime"])
def test_a_fork_that_ends_like_any_program_does_not_wait_for_the_engines_threads(name: str, tmp_path: Path) -> None:
    if find_spec({"native": "eenet_native"}.get(name, name)) is None:
        pytest.skip(f"{name} is not installed")
    script = tmp_path / "forks.py"
    script.write_text(f"""
import os, signal, sys
from pathlib import Path
import numpy as np
from eenet_runtime.backends import make_backend
from eenet_runtime.bundle.manifest import open_bundle
bundle = open_bundle(Path({str(DEMO)!r}))
backend = make_backend(bundle, backend={name!r}, threads=2)
backend.labels(np.zeros((*bundle.manifest.preset.shape, 4), np.float32))
child = os.fork()
if child == 0:
    signal.alarm({LIMIT_S})
    del backend
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
""")
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-W", "ignore", str(script)]) == 0


def test_a_call_that_ran_when_the_process_forked_does_not_keep_the_fork_waiting(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch)
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    add_native_artifact(bundle)
    backend = make_backend(open_bundle(bundle), backend="native", threads=1)
    assert isinstance(backend, LoadedModel)
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with backend._turn():
            inside.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    refuses_in_a_fork(backend, np.zeros((*TINY.shape, 4), np.float32))
    done.set()
    thread.join()


def test_a_segmenter_says_so_before_it_reads_a_file_and_can_be_closed(tiny_bundle: Path) -> None:
    with Segmenter(tiny_bundle, backend="onnxruntime", threads=1) as segmenter:
        said = in_a_fork(lambda: segmenter.segment({"t1": Path("nothing.nii.gz")}))
        assert said.startswith("BackendError: the model of this segmenter was loaded in process ")
        assert in_a_fork(segmenter.close) == "None"


def test_a_process_knows_itself_and_a_fork_knows_that_it_is_another() -> None:
    home = HomeProcess()
    assert home.is_here
    home.require("anything")
    assert in_a_fork(lambda: home.is_here) == "False"
