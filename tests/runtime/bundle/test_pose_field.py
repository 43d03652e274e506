"""What a bundle says of its training's pose."""

from __future__ import annotations

import json

import pytest

from eenet_runtime.bundle.bundle_files import _checksum
from eenet_runtime.bundle.manifest import Artifact, Manifest
from eenet_runtime.errors import BundleError
from eenet_runtime.volumes.pose import Pose
from eenet_runtime.volumes.presets import EENET_FAST

MANIFEST = Manifest("model", EENET_FAST, (Artifact("onnx", "model.onnx", "fp32", "fp32"),), ())


def changed(**fields: object) -> str:
    """The manifest's text with other fields; None takes one out."""
    content = {**json.loads(MANIFEST.to_json()), **fields}
    content = {key: value for key, value in content.items() if value is not None}
    content["checksum"] = _checksum(content)
    return json.dumps(content)


@pytest.mark.parametrize("pose", list(Pose))
def test_a_manifest_keeps_the_pose(pose: Pose) -> None:
    found = Manifest.from_json(changed(pose=pose.value), "manifest.json")
    assert found.pose is pose
    assert json.loads(found.to_json())["pose"] == pose.value


def test_a_bundle_of_before_the_field_is_native() -> None:
    assert Manifest.from_json(changed(pose=None), "manifest.json").pose is Pose.NATIVE


def test_a_pose_that_nobody_knows_is_refused() -> None:
    with pytest.raises(BundleError, match="talairach"):
        Manifest.from_json(changed(pose="talairach"), "manifest.json")
