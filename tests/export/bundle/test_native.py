"""The native artefact into a bundle that exists: proved first, named last, and the bundle whole at any moment."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from eenet_export.bundle import native
from eenet_export.bundle.native import add_native, native_artifact
from eenet_export.cli import app
from eenet_export.gate import verify
from eenet_export.gate.gate import Form
from eenet_export.gate.parity import KERAS, ORACLE
from eenet_export.gate.verify import verify_bundle
from eenet_export.graph.graphs import FP32_FILE, WEIGHTS_FILE
from eenet_export.graph.plane import PLANE_FILE, write_plane
from eenet_runtime.backends.native_backend import obstacle
from eenet_runtime.backends.openvino_backend import OpenVinoBackend
from eenet_runtime.bundle.manifest import MANIFEST_NAME, Artifact, Manifest, ParityRow, describe_files, open_bundle
from eenet_runtime.errors import ExportError, ParityError
from eenet_runtime.files.atomic import sha256_of_file, write_atomically
from eenet_runtime.volumes.presets import EENET_FAST
from tests.native_stand_in import Features, install, uninstall
from tests.places import DEMO_BUNDLE
from tests.synthetic import make_head, write_case

pytestmark = pytest.mark.slow

DEMO = DEMO_BUNDLE
needs_extension = pytest.mark.skipif(bool(obstacle()), reason=f"the native engine does not run here: {obstacle()}")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The demo bundle's FP32 graph and nothing else."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    for name in (FP32_FILE, WEIGHTS_FILE):
        shutil.copyfile(DEMO / name, folder / name)
    artifact = Artifact("onnx", FP32_FILE, "fp32", "fp16")
    files = describe_files(folder, (FP32_FILE, WEIGHTS_FILE))
    (folder / MANIFEST_NAME).write_text(Manifest("bare", EENET_FAST, (artifact,), files).to_json())
    return folder


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    write_case(folder, "Case_1", make_head())
    return folder


@pytest.fixture(scope="module")
def computed() -> dict[bytes, NDArray[np.float32]]:
    """What the oracle made of each volume."""
    return {}


@pytest.fixture(autouse=True)
def oracle(monkeypatch: pytest.MonkeyPatch, computed: dict[bytes, NDArray[np.float32]]) -> None:
    """OpenVINO for the oracle: right to 3e-6 with these weights (manifest of the demo bundle), and no TensorFlow."""

    def compute(volume: NDArray[np.float32]) -> NDArray[np.float32]:
        key = volume.tobytes()
        if key not in computed:
            backend = OpenVinoBackend(DEMO / FP32_FILE, Artifact("onnx", FP32_FILE, "fp32", "fp16"), EENET_FAST)
            computed[key] = backend(volume)
            backend.close()
        return computed[key]

    forms = (Form(ORACLE, compute), Form(KERAS, compute))
    monkeypatch.setattr(native, "keras_forms", lambda _: forms)
    monkeypatch.setattr(verify, "keras_forms", lambda _: forms)


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder."""
    return {path.name: sha256_of_file(path) for path in folder.iterdir()}


@needs_extension
def test_the_artefact_is_proved_in_both_engines_of_the_2d_network_and_named(
    bundle: Path, cases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hashes(bundle)
    added = add_native(bundle, cases, max_cases=1)
    manifest = open_bundle(bundle).manifest
    assert added.written
    assert [artifact.form for artifact in manifest.artifacts] == ["onnx-fp32", "native-fp32"]
    assert [row.candidate for row in manifest.parity] == ["native-fp32", "native-fp32-openvino"]
    assert all(row.max_abs_difference is not None and row.max_abs_difference <= 1e-3 for row in manifest.parity)
    assert set(manifest.cases) == {"Case_1"}
    after = hashes(bundle)
    assert set(after) == {*before, PLANE_FILE}
    assert all(after[name] == before[name] for name in (FP32_FILE, WEIGHTS_FILE))

    monkeypatch.setattr(native, "measure", lambda _, forms, *__: tuple(rows_of(added, forms[-1])))
    again = add_native(bundle, cases, max_cases=1)
    assert not again.written
    assert again.bundle.manifest == manifest


def rows_of(added: native.AddedNative, form: Form) -> list[ParityRow]:
    """What was measured with one form."""
    return [row for row in added.rows if row.candidate == form.name]


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_killed_at_any_write_the_bundle_is_whole(
    bundle: Path, cases: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    install(monkeypatch)
    row = ParityRow("Case_1", ORACLE, "native-fp32", 0.0, {"WT": 1.0}, usual_difference=0.0, region_voxels={"WT": 1})
    monkeypatch.setattr(native, "measure", lambda *_: (row,))
    # Another file under the artefact's name, as an earlier version of the toolkit might have made it.
    write_plane(bundle / FP32_FILE, bundle)
    with (bundle / PLANE_FILE).open("ab") as stream:
        stream.write(b"\x72\x00")
    manifest = open_bundle(bundle).manifest
    artifacts = (*manifest.artifacts, native_artifact(manifest.artifacts[0]))
    files = (*manifest.files, *describe_files(bundle, (PLANE_FILE,)))
    (bundle / MANIFEST_NAME).write_text(replace(manifest, artifacts=artifacts, files=files).to_json())
    open_bundle(bundle)
    done = 0

    def killed_after(path: Path, content: bytes) -> None:
        nonlocal done
        if done == writes:
            raise KeyboardInterrupt
        done += 1
        write_atomically(path, content)

    monkeypatch.setattr(native, "write_atomically", killed_after)
    with pytest.raises(KeyboardInterrupt):
        add_native(bundle, cases, max_cases=1)
    forms = [artifact.form for artifact in open_bundle(bundle).manifest.artifacts]
    assert forms == (["onnx-fp32", "native-fp32"] if writes == 0 else ["onnx-fp32"])


def test_an_engine_that_computes_something_else_changes_nothing(
    bundle: Path, cases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hashes(bundle)
    install(monkeypatch)
    with pytest.raises(ParityError, match="native-fp32 against oracle"):
        add_native(bundle, cases, max_cases=1)
    assert hashes(bundle) == before


@pytest.mark.parametrize("here", ["no extension", "no AVX2"])
def test_what_cannot_be_proved_here_is_not_added(
    bundle: Path, cases: Path, monkeypatch: pytest.MonkeyPatch, here: str
) -> None:
    before = hashes(bundle)
    if here == "no extension":
        uninstall(monkeypatch)
    else:
        install(monkeypatch, features=Features(avx2=False))
    with pytest.raises(ExportError, match=r"no native artefact can be proved here: .*(not installed|has no AVX2)"):
        add_native(bundle, cases)
    assert hashes(bundle) == before


def test_a_bundle_without_an_fp32_graph_is_refused(bundle: Path, cases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    manifest = open_bundle(bundle).manifest
    half = replace(manifest.artifacts[0], precision="fp16")
    (bundle / MANIFEST_NAME).write_text(replace(manifest, artifacts=(half,)).to_json())
    with pytest.raises(ExportError, match="no onnx-fp32 artefact found"):
        add_native(bundle, cases)


def test_verify_lists_an_artefact_that_cannot_run_here(
    bundle: Path, cases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plane(bundle / FP32_FILE, bundle)
    manifest = open_bundle(bundle).manifest
    only = (native_artifact(manifest.artifacts[0]),)
    files = (*manifest.files, *describe_files(bundle, (PLANE_FILE,)))
    (bundle / MANIFEST_NAME).write_text(replace(manifest, artifacts=only, files=files).to_json())
    uninstall(monkeypatch)
    found = verify_bundle(bundle, cases, max_cases=1)
    assert found.not_run.keys() == {PLANE_FILE}
    assert "eenet_native is not installed" in found.not_run[PLANE_FILE]


def test_the_command_says_what_it_did_and_that_the_signature_is_void(
    bundle: Path, cases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bundle / f"{MANIFEST_NAME}.sig").write_text("signed")

    def added(folder: Path, found: Path, **options: Any) -> native.AddedNative:
        assert (folder, found, options["max_cases"]) == (bundle, cases, 1)
        return native.AddedNative(open_bundle(bundle), (), True)

    monkeypatch.setattr(native, "add_native", added)
    result = CliRunner().invoke(app, ["native", str(bundle), "--cases", str(cases), "--max-cases", "1"])
    assert result.exit_code == 0, result.output
    assert "the native artefact is added" in result.output
    assert "sign it again" in result.output
