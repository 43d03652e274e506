"""A bundle is what was exported, byte for byte, or it is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from eenet_runtime.bundle.bundle_files import READ_LIMIT_BYTES
from eenet_runtime.bundle.manifest import Manifest, open_bundle
from eenet_runtime.errors import BundleError
from tests.synthetic import TINY, edit_manifest, write_bundle


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "manifest.json"])
@pytest.mark.parametrize("where", [0.1, 0.5, 0.9])
def test_one_changed_byte_anywhere_is_noticed(bundle: Path, name: str, where: float) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[int(len(content) * where)] ^= 1
    (bundle / name).write_bytes(bytes(content))
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        open_bundle(bundle)


def test_a_newer_schema_is_refused_in_plain_words(bundle: Path) -> None:
    edit_manifest(bundle, {"schema_version": 99})
    with pytest.raises(BundleError, match="schema version 99 found, this runtime reads 2; update eenet"):
        open_bundle(bundle)


def test_an_older_schema_is_refused_in_plain_words(bundle: Path) -> None:
    edit_manifest(bundle, {"schema_version": 1})
    with pytest.raises(BundleError, match="schema version 1 found, this runtime reads 2; export the model again"):
        open_bundle(bundle)


def test_a_missing_file_is_named(bundle: Path) -> None:
    (bundle / "model.onnx.data").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx\.data: cannot be read"):
        open_bundle(bundle)


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no manifest\.json found"):
        open_bundle(tmp_path)


def test_a_file_outside_the_bundle_is_refused(bundle: Path) -> None:
    edit_manifest(bundle, {"files": [{"path": "../secret", "sha256": "0", "bytes": 1}]})
    with pytest.raises(BundleError, match="a file outside the bundle"):
        open_bundle(bundle)


@pytest.mark.parametrize(
    "change",
    [
        {"modalities": ["t1ce", "t1", "t2", "flair"]},
        {"axes": "RAS"},
        {"normalisation": "percentiles"},
        {"labels": {"BACKGROUND": 0, "NCR": 2, "ED": 1, "ET": 3}},
        {"artifacts": []},
        {"preset": {"name": "x", "shape": [90, 96, 72], "spacing_mm": 2.0, "depth_strides": [3, 4, 2]}},
    ],
)
def test_a_network_that_this_runtime_cannot_feed_is_refused(bundle: Path, change: dict[str, object]) -> None:
    edit_manifest(bundle, change)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        open_bundle(bundle)


def test_a_manifest_survives_the_way_to_json_and_back(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", TINY)
    manifest = open_bundle(folder).manifest
    assert Manifest.from_json(manifest.to_json(), "again") == manifest


@pytest.mark.parametrize("content", ["[]", "{}", "7", '{"schema_version": "2"}', '{"schema_version": null}'])
def test_what_is_no_manifest_of_ours_is_refused(bundle: Path, content: str) -> None:
    (bundle / "manifest.json").write_text(content)
    with pytest.raises(BundleError, match="no schema_version found, expected a manifest made by eenet-export"):
        open_bundle(bundle)


def test_a_listed_file_is_read_up_to_a_gibibyte() -> None:
    assert READ_LIMIT_BYTES == 2**30
