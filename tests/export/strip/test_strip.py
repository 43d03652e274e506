"""`eenet-export strip`: pinned files, and a gate that lets nothing through that differs."""

from __future__ import annotations

import hashlib
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eenet_export.strip import gate, original, package
from eenet_export.strip.original import NETWORKS, WHEEL_SHA256, Original, read_original
from eenet_export.strip.synthetic_head import draw_head
from eenet_runtime.bundle.strip_manifest import StripNetwork, StripPreprocessing, open_strip_bundle
from eenet_runtime.errors import ExportError, ParityError
from eenet_runtime.heads.stripping import shipped_strip_bundle
from eenet_runtime.heads.stripping.two_stages import TwoStages
from tests.strip_stand_in import MIDDLE, STEEPNESS, _graph, ball

STAND_INS = {"find": StripNetwork("find.onnx", 32), "cut": StripNetwork("cut.onnx", 64)}
HEADS = [("a ball", (ball((90, 90, 90), 36) * 100).astype(np.float32))]


def test_the_hashes_are_those_of_deepbet_1_0_2() -> None:
    assert WHEEL_SHA256 == "1999e2ea00ec48f6233b95b96f3901a962d3f70431c63aeb985e8a49a198473c"
    assert {name: sha256[:8] for name, sha256 in NETWORKS.values()} == {
        "data/models/bbox_model.pt": "39a7b2b5",
        "data/models/model.pt": "de8ee7c6",
    }


def test_the_shipped_bundle_was_made_from_the_pinned_files() -> None:
    source = open_strip_bundle(shipped_strip_bundle()).manifest.source
    assert source["wheel_sha256"] == WHEEL_SHA256
    assert source["files"] == dict(NETWORKS.values())


def test_another_wheel_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "deepbet-1.0.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("data/models/model.pt", b"other")
    with pytest.raises(ExportError, match=r"SHA-256 [0-9a-f]{12} found, expected 1999e2ea00ec, the wheel of deepbet"):
        read_original(wheel)


def test_a_wheel_with_another_network_inside_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "x.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("data/models/bbox_model.pt", b"other")
    monkeypatch.setattr(original, "WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    with pytest.raises(ExportError, match=r"bbox_model\.pt with SHA-256 [0-9a-f]{12} found, expected 39a7b2b5f799"):
        read_original(wheel)


def test_a_wheel_that_is_not_there_is_told_how_to_get(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"get it with: pip download deepbet==1\.0\.2 --no-deps"):
        read_original(tmp_path / "none.whl")


def same(head: np.ndarray, source: str, steepness: float = STEEPNESS, middle: float = MIDDLE) -> np.ndarray:
    def log_odds(values: np.ndarray) -> np.ndarray:
        return (values - np.float32(middle)) * np.float32(steepness)

    return TwoStages(log_odds, log_odds, 32, 64, StripPreprocessing()).brain_probability(head, source)


GRAPHS = {role: _graph(network) for role, network in STAND_INS.items()}


def test_networks_that_agree_pass_in_both_engines() -> None:
    told: list[str] = []
    rows = gate.measure(same, GRAPHS, STAND_INS, HEADS, told.append)
    assert [row.engine.split()[0] for row in rows] == ["openvino", "onnxruntime"]
    assert all(row.dice == 1 for row in rows)
    assert len(told) == 2


def test_a_mask_that_differs_by_a_thousandth_is_refused() -> None:
    def larger(head: np.ndarray, source: str) -> np.ndarray:
        probability = same(head, source)
        probability[:2, :60, :2] = 1
        return probability

    with pytest.raises(ParityError, match=r"a ball: Dice 0\.999\d+ in openvino .* expected at least 0\.9995"):
        gate.measure(larger, GRAPHS, STAND_INS, HEADS, lambda line: None)


def test_agreement_without_a_brain_proves_nothing() -> None:
    heads = [("a small ball", (ball((60, 60, 60), 12) * 100).astype(np.float32))]
    with pytest.raises(ParityError, match="which proves nothing"):
        gate.measure(same, GRAPHS, STAND_INS, heads, lambda line: None)


def wheel_and_torch() -> Path:
    pytest.importorskip("torch", reason="PyTorch is not installed; the extra strip brings it")
    wheel = Path(os.environ.get("EENET_DEEPBET_WHEEL", ""))
    if not wheel.is_file():
        pytest.skip("EENET_DEEPBET_WHEEL names no wheel of deepbet 1.0.2")
    return wheel


def test_the_conversion_gives_the_shipped_networks_and_numpy_does_what_pytorch_does() -> None:
    wheel = wheel_and_torch()
    made = Original.load(read_original(wheel))
    shipped = shipped_strip_bundle()
    from eenet_export.strip.convert import convert

    assert convert(made.torch, made.find) == (shipped / "find.onnx").read_bytes()
    small = replace(made, find_edge=64, cut_edge=64)
    head = (shipped / "golden.npz").read_bytes()
    assert package.golden_head(made) == head

    def network(loaded: object) -> object:
        def log_odds(values: np.ndarray) -> np.ndarray:
            with made.torch.no_grad():
                brain = loaded(made.torch.from_numpy(values))[:, 1:].numpy().astype(np.float64)  # type: ignore[operator]
            brain = np.clip(brain, 1e-9, 1 - 1e-9)
            return np.asarray(np.log(brain / (1 - brain)), np.float32)

        return log_odds

    stages = TwoStages(network(made.find), network(made.cut), 64, 64, StripPreprocessing())  # type: ignore[arg-type]
    image = draw_head((88, 104, 104), 2.2, seed=3).image
    assert np.abs(stages.brain_probability(image, "x") - small.brain_probability(image, "x")).max() < 2e-3


def test_a_refused_conversion_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = wheel_and_torch()
    monkeypatch.setattr(package, "gate_heads", lambda files: [])

    def refused(*arguments: object) -> None:
        raise ParityError("no")

    monkeypatch.setattr(package, "measure", refused)
    with pytest.raises(ParityError):
        package.make_strip_bundle(tmp_path / "out", wheel)
    assert list(tmp_path.iterdir()) == []
