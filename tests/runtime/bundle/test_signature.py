"""With a pinned key, a bundle that is not signed by it is refused before anything else of it is read."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from eenet_export.bundle.signing import KeyPair, new_key_pair, sign_bundle
from eenet_runtime.bundle.manifest import open_bundle
from eenet_runtime.commands.machine_info import bundle_as_dict, describe_bundle
from eenet_runtime.errors import BundleError
from eenet_runtime.results.result_files import ResultPaths, segment_to_files
from eenet_runtime.segmenter.segmenter import Segmenter
from tests.synthetic import case_files, edit_manifest, make_head

SIGNATURE = "manifest.json.sig"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return new_key_pair(tmp_path_factory.mktemp("keys") / "ours.pem")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return new_key_pair(tmp_path_factory.mktemp("keys") / "theirs.pem")


@pytest.fixture
def signed(tiny_bundle: Path, tmp_path: Path, keys: KeyPair) -> Path:
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    sign_bundle(folder, keys.private)
    return folder


def test_a_signed_bundle_opens_with_its_key_and_says_so(signed: Path, keys: KeyPair) -> None:
    bundle = open_bundle(signed, keys.public)
    assert bundle.signed_by == keys.fingerprint
    assert f"signature: signed, key {keys.fingerprint}" in describe_bundle(bundle)
    assert bundle_as_dict(bundle)["signature"] == f"signed, key {keys.fingerprint}"


def test_the_report_of_a_case_says_who_signed_the_model(signed: Path, keys: KeyPair, tmp_path: Path) -> None:
    files = case_files(tmp_path / "in", "A", make_head())
    (tmp_path / "out").mkdir()
    paths = ResultPaths.in_folder(tmp_path / "out", "A")
    for key, said in ((keys.public, f"signed, key {keys.fingerprint}"), (None, "not verified")):
        with Segmenter(signed, threads=1, public_key=key) as loaded:
            segment_to_files(loaded, files, paths, preview=False)
        assert json.loads(paths.report.read_text())["bundle"]["signature"] == said


def test_without_a_key_nothing_changes(signed: Path, tiny_bundle: Path) -> None:
    (signed / SIGNATURE).write_text("nonsense")
    assert open_bundle(signed).signature == "not verified"
    assert open_bundle(signed).bundle_id == open_bundle(tiny_bundle).bundle_id


def test_a_missing_signature_is_refused(signed: Path, keys: KeyPair) -> None:
    (signed / SIGNATURE).unlink()
    with pytest.raises(BundleError, match=rf"manifest\.json\.sig: no signature found, .* {keys.fingerprint}"):
        open_bundle(signed, keys.public)


def test_a_signature_of_another_key_is_refused(signed: Path, keys: KeyPair, others: KeyPair) -> None:
    sign_bundle(signed, others.private)
    with pytest.raises(BundleError, match=f"not signed with this key; .*{others.fingerprint}.*{keys.fingerprint}"):
        open_bundle(signed, keys.public)


def test_a_signature_of_another_key_that_claims_to_be_ours_is_refused(
    signed: Path, keys: KeyPair, others: KeyPair
) -> None:
    sign_bundle(signed, others.private)
    text = (signed / SIGNATURE).read_text()
    (signed / SIGNATURE).write_text(text.replace(others.fingerprint, keys.fingerprint))
    with pytest.raises(BundleError, match="changed after it was signed"):
        open_bundle(signed, keys.public)


def test_a_manifest_that_was_changed_with_its_checksum_is_refused(signed: Path, keys: KeyPair) -> None:
    edit_manifest(signed, {"name": "another"})
    assert open_bundle(signed).manifest.name == "another"
    with pytest.raises(BundleError, match=r"manifest\.json: changed after it was signed"):
        open_bundle(signed, keys.public)


def test_one_changed_space_is_a_changed_manifest(signed: Path, keys: KeyPair) -> None:
    with (signed / "manifest.json").open("a") as stream:
        stream.write(" ")
    with pytest.raises(BundleError, match="changed after it was signed"):
        open_bundle(signed, keys.public)


def test_nothing_of_an_unsigned_bundle_is_parsed_or_hashed(signed: Path, keys: KeyPair) -> None:
    (signed / "manifest.json").write_bytes(b'{"schema_version": 99} \xff')
    (signed / "model.onnx").unlink()
    with pytest.raises(BundleError, match="changed after it was signed"):
        open_bundle(signed, keys.public)


def test_the_manifest_is_read_once(signed: Path, keys: KeyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    # Two reads could be two different files: one that is signed and one that is used.
    read: list[str] = []
    original = Path.read_bytes

    def count(path: Path) -> bytes:
        read.append(path.name)
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", count)
    open_bundle(signed, keys.public)
    assert read.count("manifest.json") == 1


def test_a_signed_bundle_with_a_damaged_file_is_still_damaged(signed: Path, keys: KeyPair) -> None:
    (signed / "model.onnx").write_bytes(b"another")
    with pytest.raises(BundleError, match=r"model\.onnx: 7 bytes"):
        open_bundle(signed, keys.public)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense\nkey 00\n",
        base64.b64encode(bytes(63)).decode() + "\nkey 00\n",
        base64.b64encode(bytes(64)).decode(),
        base64.b64encode(bytes(64)).decode() + "\nkey 00\nmore\n",
        "ü\nkey 00\n",
    ],
)
def test_a_file_that_is_no_signature_is_refused(signed: Path, keys: KeyPair, text: str) -> None:
    (signed / SIGNATURE).write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json\.sig: no Ed25519 signature found"):
        open_bundle(signed, keys.public)


def test_a_signature_without_end_is_not_read(signed: Path, keys: KeyPair) -> None:
    (signed / SIGNATURE).write_bytes(bytes(1 << 20))
    with pytest.raises(BundleError, match="more than 16384 bytes found"):
        open_bundle(signed, keys.public)


def test_a_file_that_is_no_public_key_is_refused(signed: Path, keys: KeyPair, tmp_path: Path) -> None:
    (tmp_path / "text.pem").write_text("hello")
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    pem = other.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "rsa.pem").write_bytes(pem)
    for path in (tmp_path / "text.pem", tmp_path / "rsa.pem", keys.private):
        with pytest.raises(BundleError, match=rf"{path.name}: no Ed25519 public key found"):
            open_bundle(signed, path)
    with pytest.raises(BundleError, match=r"gone\.pem: cannot be read \(No such file"):
        open_bundle(signed, tmp_path / "gone.pem")


def test_without_the_package_a_key_refuses_and_no_key_does_not(
    signed: Path, keys: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    open_bundle(signed)
    with pytest.raises(BundleError, match=r'pip install "eenet\[sign\]"'):
        open_bundle(signed, keys.public)


@pytest.mark.parametrize("command", ["info", "selftest", "infer"])
def test_every_command_that_opens_a_bundle_takes_a_key(
    signed: Path, others: KeyPair, tmp_path: Path, command: str
) -> None:
    arguments = {
        "info": ["info", str(signed)],
        "selftest": ["selftest", str(signed)],
        "infer": ["infer", "folder", str(tmp_path), str(tmp_path / "out"), "--model", str(signed)],
    }[command]
    start = [sys.executable, "-c", "from eenet_runtime.cli import main; main()"]
    result = subprocess.run(
        [*start, *arguments, "--public-key", str(others.public)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "not signed with this key" in result.stderr
    assert len(result.stderr.splitlines()) == 1
