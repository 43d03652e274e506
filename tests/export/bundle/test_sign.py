"""Keys are made once and kept from others; a bundle is signed only when it is whole."""

from __future__ import annotations

import base64
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import typer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from eenet_export.bundle import signing
from eenet_export.bundle.signing import new_key_pair, sign_bundle
from eenet_export.commands.sign import sign
from eenet_runtime.bundle.manifest import open_bundle
from eenet_runtime.errors import BundleError, ExportError, OutputError

APP = typer.Typer()
APP.command()(sign)


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def test_a_private_key_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        pair = new_key_pair(tmp_path / "key.pem")
    finally:
        os.umask(before)
    assert stat.S_IMODE(pair.private.stat().st_mode) == 0o600
    assert pair.public == tmp_path / "key.pem.pub"
    assert b"PRIVATE" not in pair.public.read_bytes()


@pytest.mark.parametrize("there", ["key.pem", "key.pem.pub"])
def test_no_key_is_ever_overwritten(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("precious")
    with pytest.raises(ExportError, match=rf"{there}: exists already"):
        new_key_pair(tmp_path / "key.pem")
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "precious"


def test_a_private_key_without_its_public_half_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, content: bytes) -> None:
        raise OutputError(f"{path}: cannot be written (no space left on device)")

    monkeypatch.setattr(signing, "write_atomically", fail)
    with pytest.raises(OutputError, match="no space left"):
        new_key_pair(tmp_path / "key.pem")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"key\.pem: cannot be written"):
        new_key_pair(tmp_path / "nowhere" / "key.pem")


def test_signing_changes_nothing_but_the_signature(bundle: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    pair = new_key_pair(tmp_path / "key.pem")
    assert sign_bundle(bundle, pair.private) == pair.fingerprint
    after = {path.name: path.read_bytes() for path in bundle.iterdir()}
    signature = after.pop("manifest.json.sig").decode()
    assert after == before
    assert signature.splitlines()[1] == f"key {pair.fingerprint}"


def test_signing_again_with_another_key_replaces_the_signature(bundle: Path, tmp_path: Path) -> None:
    first, second = new_key_pair(tmp_path / "a.pem"), new_key_pair(tmp_path / "b.pem")
    sign_bundle(bundle, first.private)
    sign_bundle(bundle, second.private)
    assert open_bundle(bundle, second.public).signed_by == second.fingerprint
    with pytest.raises(BundleError, match="not signed with this key"):
        open_bundle(bundle, first.public)


def test_a_damaged_bundle_is_not_signed(bundle: Path, tmp_path: Path) -> None:
    pair = new_key_pair(tmp_path / "key.pem")
    (bundle / "model.onnx").write_bytes(b"another")
    with pytest.raises(BundleError, match=r"model\.onnx"):
        sign_bundle(bundle, pair.private)
    assert not (bundle / "manifest.json.sig").exists()


def test_an_unusable_key_is_named(bundle: Path, tmp_path: Path) -> None:
    pair = new_key_pair(tmp_path / "key.pem")
    locked = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tmp_path / "locked.pem").write_bytes(locked)
    for path, message in (
        (pair.public, "no Ed25519 private key found"),
        (tmp_path / "locked.pem", "the key is encrypted"),
        (tmp_path / "gone.pem", "cannot be read"),
    ):
        with pytest.raises(ExportError, match=rf"{path.name}: {message}"):
            sign_bundle(bundle, path)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_a_site_can_check_the_signature_without_this_toolkit(bundle: Path, tmp_path: Path) -> None:
    pair = new_key_pair(tmp_path / "key.pem")
    sign_bundle(bundle, pair.private)
    (tmp_path / "raw.sig").write_bytes(base64.b64decode((bundle / "manifest.json.sig").read_text().splitlines()[0]))
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", pair.public, "-rawin"]
    command += ["-in", bundle / "manifest.json", "-sigfile", tmp_path / "raw.sig"]
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "Signature Verified Successfully" in result.stdout


def test_the_command_makes_a_key_and_signs_with_it(bundle: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(APP, [str(bundle), "--new-key", str(tmp_path / "key.pem")])
    assert result.exit_code == 0, result.output
    fingerprint = open_bundle(bundle, tmp_path / "key.pem.pub").signed_by
    assert f"{bundle}: signed, key {fingerprint}" in result.output


@pytest.mark.parametrize("arguments", [[], ["bundle"], ["--key", "a.pem"], ["b", "--key", "a.pem", "--new-key", "c"]])
def test_the_command_wants_a_bundle_and_one_key(arguments: list[str]) -> None:
    assert CliRunner().invoke(APP, arguments).exit_code == 2
