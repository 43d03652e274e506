"""The runtime in somebody else's program: the documented gateway works, and nothing happens that nobody asked for."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from eenet_runtime.segmenter.segmenter import Segmenter
from tests.places import ROOT
from tests.synthetic import Head, case_files

LINES_OF_A_GATEWAY = 30

# Runs in a process of its own: two cases in memory and one in files, with every audit event that changes or reaches
# anything outside written down, and every look at the environment that comes from our code.
WATCHED = """
import os, sys
import numpy as np  # its import sets and unsets a variable, which is no doing of ours
sys.dont_write_bytecode = True
events, active = [], False
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
OUTWARD = ("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.putenv", "os.unsetenv",
           "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "os.link", "os.symlink", "os.chmod",
           "shutil.", "tempfile.", "urllib.", "http.", "webbrowser.")

def hook(name, arguments):
    if not active:
        return
    if name == "open":
        path, mode, flags = arguments
        if flags & WRITES and path != os.devnull:
            events.append(f"open {path}")
    elif name.startswith(OUTWARD):
        events.append(" ".join([name, *map(str, arguments[:2])]))

def from_us(frame):
    while frame is not None and frame.f_code.co_filename.endswith(("os.py", "_collections_abc.py", "<string>")):
        frame = frame.f_back
    return frame is not None and "eenet_runtime" in frame.f_code.co_filename

def watched(original):
    def look(self, *arguments):
        if active and from_us(sys._getframe(1)):
            events.append(f"environment {arguments}")
        return original(self, *arguments)
    return look

for method in ("__getitem__", "__iter__"):
    setattr(os._Environ, method, watched(getattr(os._Environ, method)))
sys.addaudithook(hook)
# Where pydicom is installed nibabel takes it along, and with it packages that try a socket; a lean install has none.
sys.modules["pydicom"] = None
active = True

from pathlib import Path
import nibabel as nib
from eenet_runtime import ImageArray, Segmenter, find_cases

bundle, backend, cases, mask = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
with Segmenter(bundle, backend=backend, threads=1) as segmenter:
    case = find_cases(cases).cases[0]
    segmenter.segment(case).save(mask)
    loaded = {name.value: nib.load(source.path) for name, source in case.images.items()}
    segmenter.segment(loaded, keep_probabilities=True).to_nifti()
    segmenter.segment({name: ImageArray(np.asanyarray(i.dataobj), i.affine) for name, i in loaded.items()})
active = False
ours = sorted(m.__file__ for n, m in sys.modules.items() if n.startswith("eenet_runtime") and m.__file__)
import json
print(json.dumps({"events": events, "modules": ours}))
"""


@pytest.fixture(scope="module", params=["openvino", "onnxruntime"])
def watched(
    request: pytest.FixtureRequest, tiny_bundle: Path, head: Head, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What a run did, with empty folders for home, temporary files and the current folder."""
    site = tmp_path_factory.mktemp(f"watched-{request.param}")
    case_files(site / "cases", "A", head)
    places = {name: site / name for name in ("home", "temporary", "current", "masks")}
    for place in places.values():
        place.mkdir()
    finished = subprocess.run(
        [sys.executable, "-I", "-c", WATCHED, tiny_bundle, request.param, site / "cases", places["masks"] / "A.nii.gz"],
        cwd=places["current"],
        env={"HOME": str(places["home"]), "TMPDIR": str(places["temporary"]), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    left = {name: sorted(path.name for path in place.rglob("*")) for name, place in places.items()}
    output = finished.stdout.splitlines()
    return {**json.loads(output[-1]), "backend": request.param, "said": [*output[:-1], finished.stderr], "left": left}


def test_nothing_is_written_but_the_file_that_the_caller_named(watched: dict[str, Any]) -> None:
    assert watched["left"] == {"home": [], "temporary": [], "current": [], "masks": ["A.nii.gz"]}
    writes = [event for event in watched["events"] if not event.startswith("os.putenv")]
    assert writes
    assert [event for event in writes if "/masks/" not in event] == []


def test_nothing_is_printed(watched: dict[str, Any]) -> None:
    assert watched["said"] == [""]


def test_the_environment_is_not_read_and_one_variable_is_set_against_telemetry(watched: dict[str, Any]) -> None:
    assert [event for event in watched["events"] if event.startswith("environment")] == []
    put = [event for event in watched["events"] if event.startswith("os.putenv")]
    expected = ["os.putenv b'ORT_DISABLE_TELEMETRY' b'1'"] if watched["backend"] == "onnxruntime" else []
    assert put == expected


def test_no_module_that_serves_a_case_prints_exits_or_looks_at_the_environment(watched: dict[str, Any]) -> None:
    found = [f"{Path(path).name}: {name}" for path in watched["modules"] for name in _calls_to_avoid(Path(path))]
    assert len(watched["modules"]) > 20
    assert found == []


def _calls_to_avoid(path: Path) -> Iterator[str]:
    """Names of what only a command line may do, wherever they stand in a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("print", "exit", "input")
        ):
            yield node.func.id
        if isinstance(node, ast.Attribute) and node.attr in ("exit", "_exit", "getenv", "stdout", "stderr"):
            yield node.attr
        if isinstance(node, ast.Attribute) and node.attr == "environ" and path.name != "onnxruntime_backend.py":
            yield node.attr


# The page


def code_block() -> str:
    """The gateway of docs/embedding.md."""
    text = (ROOT / "docs" / "embedding.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    return str(blocks[0])


@pytest.fixture
def gateway(segmenter: Segmenter, head: Head, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The documented gateway with a case in its inbox: its address, and its outbox."""
    names: dict[str, Any] = {"__name__": "gateway"}
    exec(compile(code_block(), "docs/embedding.md", "exec"), names)
    inbox, outbox = tmp_path / "inbox", tmp_path / "outbox"
    files = case_files(tmp_path, "A", head)
    inbox.mkdir()
    outbox.mkdir()
    for modality, source in files.images.items():
        source.path.rename(inbox / f"{modality.value}.nii.gz")
    server = names["gateway"](segmenter, inbox, outbox, 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", outbox
    server.shutdown()
    thread.join()
    server.server_close()


def post(address: str, case: str, **files: str) -> tuple[int, dict[str, Any]]:
    """Status and answer."""
    body = json.dumps({"case": case, **files}).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(address, body, method="POST"), timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_the_gateway_has_30_lines() -> None:
    lines = [line for line in code_block().splitlines() if line.strip()]
    assert len(lines) <= LINES_OF_A_GATEWAY


def test_the_gateway_answers_many_requests_at_a_time(gateway: tuple[str, Path], segmenter: Segmenter) -> None:
    address, outbox = gateway
    files = {name: f"{name}.nii.gz" for name in ("t1", "t1ce", "t2", "flair")}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda index: post(address, f"case{index}", **files), range(8)))
    assert [status for status, _ in answers] == [200] * 8
    assert answers[0][1]["volumes_ml"]["WT"] > 0
    inbox = outbox.parent / "inbox"
    expected = segmenter.segment({name: inbox / file for name, file in files.items()}).file_values()
    for index in range(8):
        mask = nib.load(str(outbox / f"case{index}.nii.gz"))
        np.testing.assert_array_equal(np.asanyarray(mask.dataobj), expected)


def test_the_gateway_refuses_with_a_reason_and_leaves_no_mask(gateway: tuple[str, Path]) -> None:
    address, outbox = gateway
    status, answer = post(address, "B", t1="t1.nii.gz", t1ce="t1.nii.gz", t2="t2.nii.gz", flair="flair.nii.gz")
    assert status == 422
    assert "holds the same voxels" in answer["reason"]
    status, answer = post(address, "C", t1="t1.nii.gz")
    assert (status, answer["reason"]) == (
        422,
        "case C: no t1ce and no t2 and no flair found, expected all four modalities",
    )
    assert list(outbox.iterdir()) == []
