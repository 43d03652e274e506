"""A plan is deserialised only if its bytes, its library and its GPU are those that its sidecar names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from eenet_runtime.bundle.engine_file import (
    AMPERE_PLUS,
    SAME_COMPUTE_CAPABILITY,
    TENSORRT,
    TENSORRT_RTX,
    BuildGpu,
    EngineFlags,
    EngineSidecar,
    EngineTensor,
    LayerSummary,
    check_engine,
)
from eenet_runtime.bundle.manifest import BundleFile
from eenet_runtime.errors import BackendError, BundleError

PLAN = b"not really a plan"
DIGEST = hashlib.sha256(PLAN).hexdigest()

RTX = EngineSidecar(
    flavour=TENSORRT_RTX,
    tensorrt_version="1.7.1.116",
    precision="fp16",
    plan=BundleFile("model.plan", DIGEST, len(PLAN)),
    source=(BundleFile("model.onnx", "0" * 64, 5), BundleFile("weights.safetensors", "1" * 64, 7)),
    tensors=(
        EngineTensor("volume", "input", (1, 4, 64, 64, 24), "float32"),
        EngineTensor("labels", "output", (1, 64, 64, 24), "uint8"),
    ),
    compute_capabilities=("8.6", "8.9"),
    gpu=None,
    flags=EngineFlags(opt_level=3, workspace_bytes=1 << 30),
    activation_bytes=1000,
    weights_bytes=100,
    layers=LayerSummary(7, 12345, ("float16",), "2" * 64),
    tools={"eenet": "0.1.0"},
    created="2026-01-01T00:00:00+00:00",
)
SERVER = replace(
    RTX,
    flavour=TENSORRT,
    tensorrt_version="10.16.1.11",
    compute_capabilities=("8.9",),
    gpu=BuildGpu("NVIDIA L4", "8.9", 58, "13.0"),
)


@pytest.mark.parametrize("sidecar", [RTX, SERVER])
def test_a_sidecar_survives_the_way_to_json_and_back(sidecar: EngineSidecar) -> None:
    assert EngineSidecar.from_json(sidecar.to_json(), "again") == sidecar


def test_a_plan_on_its_own_library_and_gpu_is_accepted() -> None:
    for capability in ("8.6", "8.9"):
        check_engine(RTX, PLAN, TENSORRT_RTX, "1.7.1.116", capability)
    check_engine(SERVER, PLAN, TENSORRT, "10.16.1.11", "8.9")


def test_one_changed_byte_in_a_plan_is_noticed() -> None:
    changed = b"N" + PLAN[1:]
    with pytest.raises(BackendError, match=rf"model\.plan: 17 bytes with SHA-256 .* found, .* with {DIGEST[:12]}"):
        check_engine(RTX, changed, TENSORRT_RTX, "1.7.1.116", "8.6")


def test_a_plan_that_goes_on_after_its_end_is_refused() -> None:
    with pytest.raises(BackendError, match=r"18 bytes .* says 17 bytes"):
        check_engine(RTX, PLAN + b"!", TENSORRT_RTX, "1.7.1.116", "8.6")


def test_the_bytes_are_looked_at_before_anything_else() -> None:
    with pytest.raises(BackendError, match="SHA-256"):
        check_engine(RTX, b"other", TENSORRT, "0", "0.0")


def test_a_plan_of_the_other_library_is_refused() -> None:
    with pytest.raises(BackendError, match="a plan of tensorrt-rtx found, tensorrt needs its own; build one with"):
        check_engine(RTX, PLAN, TENSORRT, "1.7.1.116", "8.6")


@pytest.mark.parametrize("version", ["1.7.1.117", "1.7.1", "1.8.0.1"])
def test_a_plan_runs_on_exactly_its_version(version: str) -> None:
    with pytest.raises(BackendError, match=rf"built with tensorrt-rtx 1\.7\.1\.116, {version} found here"):
        check_engine(RTX, PLAN, TENSORRT_RTX, version, "8.6")


@pytest.mark.parametrize("capability", ["8.0", "9.0", "12.0", "8.60", "86", ""])
def test_a_gpu_that_is_not_among_the_targets_is_refused(capability: str) -> None:
    with pytest.raises(BackendError, match=rf"compute capability 8\.6, 8\.9, this GPU has {capability}; build one"):
        check_engine(RTX, PLAN, TENSORRT_RTX, "1.7.1.116", capability)


@pytest.mark.parametrize("capability", ["8.0", "8.9", "9.0", "12.0"])
def test_a_plan_for_ampere_and_newer_runs_on_all_of_them(capability: str) -> None:
    check_engine(_compatible(AMPERE_PLUS), PLAN, TENSORRT, "10.16.1.11", capability)


def test_a_plan_for_ampere_and_newer_does_not_run_on_turing() -> None:
    with pytest.raises(BackendError, match=r"compute capability 8\.9 and newer, this GPU has 7\.5"):
        check_engine(_compatible(AMPERE_PLUS), PLAN, TENSORRT, "10.16.1.11", "7.5")


def test_a_plan_for_one_compute_capability_runs_on_no_other() -> None:
    with pytest.raises(BackendError, match=r"this GPU has 8\.6"):
        check_engine(_compatible(SAME_COMPUTE_CAPABILITY), PLAN, TENSORRT, "10.16.1.11", "8.6")


def test_compatibility_means_nothing_for_rtx() -> None:
    odd = replace(RTX, flags=replace(RTX.flags, hardware_compatibility=AMPERE_PLUS))
    with pytest.raises(BackendError, match=r"this GPU has 12\.0"):
        check_engine(odd, PLAN, TENSORRT_RTX, "1.7.1.116", "12.0")


def _compatible(kind: str) -> EngineSidecar:
    return replace(SERVER, flags=replace(SERVER.flags, hardware_compatibility=kind))


def _without(*path: str) -> Callable[[dict[str, Any]], object]:
    return lambda content: _inner(content, path[:-1]).pop(path[-1])


def _with(value: object, *path: str) -> Callable[[dict[str, Any]], object]:
    return lambda content: _inner(content, path[:-1]).__setitem__(path[-1], value)


def _inner(content: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    for name in path:
        content = content[name]
    return content


ODD: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (_without("schema_version"), "schema version None found, this runtime reads 1"),
    (_with(2, "schema_version"), "schema version 2 found"),
    (_with(True, "schema_version"), "schema version True found"),
    (_with("1", "schema_version"), "schema version 1 found"),
    (_without("plan"), "field plan is missing"),
    (_without("plan", "sha256"), r"field plan\.sha256 is missing"),
    (_with(1, "surprise"), "field surprise is unknown"),
    (_with(1, "flags", "refit"), r"field flags\.refit is unknown"),
    (_with("3", "flags", "opt_level"), r"field flags\.opt_level is '3', expected int"),
    (_with(True, "activation_bytes"), "field activation_bytes is True, expected int"),
    (_with(1.5, "weights_bytes"), r"field weights_bytes is 1\.5, expected int"),
    (_with("8.6", "compute_capabilities"), r"field compute_capabilities is '8\.6'"),
    (_with([8.6], "compute_capabilities"), r"field compute_capabilities\[0\] is 8\.6, expected str"),
    (_with([], "compute_capabilities"), "compute capabilities"),
    (_with(["sm_86"], "compute_capabilities"), "compute capabilities"),
    (_with("onnx", "flavour"), "flavour 'onnx'"),
    (_with(True, "flags", "tf32"), "TF32"),
    (_with("any", "flags", "hardware_compatibility"), "hardware compatibility 'any'"),
    (_with("f" * 63, "plan", "sha256"), "no SHA-256"),
    (_with(-1, "plan", "bytes"), "below zero"),
    (_with(-1, "activation_bytes"), "below zero"),
    (_with(-1, "weights_bytes"), "below zero"),
    (_with(-1, "layers", "traffic_bytes"), "below zero"),
    (_with("f" * 65, "layers", "sha256"), "no SHA-256"),
    (_with("f" * 63, "layers", "sha256"), "no SHA-256"),
    (_with("F" * 64, "plan", "sha256"), "no SHA-256"),
    (lambda content: content["source"][-1].update(sha256="g" * 64), "no SHA-256"),
    (lambda content: content["source"][-1].update(bytes=-1), "below zero"),
    (lambda content: content["tensors"][0].update(mode="both"), "neither input nor output"),
    (
        lambda content: content["tensors"].append({**content["tensors"][0], "mode": "scratch"}),
        "neither input nor output",
    ),
    (lambda content: content["tensors"].pop(0), "no input or no output"),
    (_with([], "source"), "no source"),
    (_with([], "tensors"), "no input or no output"),
    (_with({"eenet": 1}, "tools"), r"field tools\.eenet is 1, expected str"),
]


@pytest.mark.parametrize(("change", "message"), ODD)
def test_an_odd_sidecar_is_refused_with_its_name_and_the_field(
    change: Callable[[dict[str, Any]], object], message: str
) -> None:
    content = json.loads(RTX.to_json())
    change(content)
    with pytest.raises(BundleError, match=rf"^x\.plan\.json: .*{message}"):
        EngineSidecar.from_json(json.dumps(content), "x.plan.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '"text"', "[" * 100_000])
def test_what_is_no_sidecar_at_all_is_refused(text: str) -> None:
    with pytest.raises(BundleError, match=r"^x\.plan\.json: "):
        EngineSidecar.from_json(text, "x.plan.json")


def test_sizes_of_nothing_are_no_oddity() -> None:
    content = json.loads(RTX.to_json())
    for change in (_with(0, "activation_bytes"), _with(0, "weights_bytes"), _with(0, "plan", "bytes")):
        change(content)
    assert EngineSidecar.from_json(json.dumps(content), "x.plan.json").activation_bytes == 0
