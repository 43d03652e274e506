"""A strip bundle from deepbet's wheel: convert, prove, describe, and only then give it its name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import numpy as np

from eenet_export.gate.npz import npz_bytes
from eenet_export.gate.workshop import Workshop
from eenet_export.strip.convert import INPUT, OUTPUT, convert
from eenet_export.strip.gate import gate_heads, measure
from eenet_export.strip.original import LICENCE_FILE, NETWORKS, VERSION, WHEEL_SHA256, Original, read_original
from eenet_export.strip.synthetic_head import draw_head
from eenet_runtime.bundle.bundle_files import MANIFEST_NAME, describe_files
from eenet_runtime.bundle.golden_file import GOLDEN_NAME
from eenet_runtime.bundle.strip_manifest import StripBundle, StripManifest, StripNetwork, open_strip_bundle
from eenet_runtime.files.atomic import write_atomically
from eenet_runtime.heads.stripping.golden_head import EDGE, GOLDEN_HEAD_FORMAT, STEPS

NOTICE: Final = "LICENSE"
FILES: Final = {"find": "find.onnx", "cut": "cut.onnx"}
_GOLDEN_SHAPE: Final = (88, 104, 104)
_GOLDEN_SPACING_MM: Final = 2.2
_TOOLS: Final = ("eenet", "torch", "onnx", "onnxruntime", "openvino", "numpy")


def make_strip_bundle(
    output: Path,
    wheel: Path | None = None,
    heads: Sequence[Path] = (),
    say: Callable[[str], None] = lambda step: None,
) -> StripBundle:
    """Convert deepbet's networks.

    Args:
        output: the bundle, a new folder.
        wheel: deepbet's wheel; None: the package that is installed.
        heads: NIfTI files of heads with their skulls, T1-weighted, to prove it on besides the synthetic ones.
        say: told in words what happens.

    Raises:
        ExportError: the wheel, PyTorch or an engine is missing or another, or `output` exists.
        ParityError: an engine disagrees with the original; there is no bundle under the final name.
        CaseError: a head cannot be read.
        OutputError: the bundle cannot be written.
    """
    files = read_original(wheel)
    original = Original.load(files)
    read = gate_heads(heads)
    with Workshop(output, hashlib.sha256(repr((VERSION, [name for name, _ in read])).encode()).hexdigest()) as workshop:
        folder = workshop.bundle
        say("converting")
        graphs = {role: convert(original.torch, getattr(original, role)) for role in NETWORKS}
        networks = {
            "find": StripNetwork(FILES["find"], original.find_edge, INPUT, OUTPUT),
            "cut": StripNetwork(FILES["cut"], original.cut_edge, INPUT, OUTPUT),
        }
        say("measuring")
        parity = measure(original.brain_probability, graphs, networks, read, say)
        for role, content in graphs.items():
            write_atomically(folder / FILES[role], content)
        write_atomically(folder / NOTICE, files.licence)
        write_atomically(folder / GOLDEN_NAME, golden_head(original))
        manifest = StripManifest(
            name=output.name,
            find=networks["find"],
            cut=networks["cut"],
            files=describe_files(folder, (*FILES.values(), GOLDEN_NAME, NOTICE)),
            golden=GOLDEN_NAME,
            source={
                "package": f"deepbet {VERSION}",
                "wheel_sha256": WHEEL_SHA256,
                "files": dict(NETWORKS.values()),
                "licence_file": LICENCE_FILE,
                "address": "https://github.com/wwu-mmll/deepbet",
                "weights": "convolutions' kernels stored in FP16; one channel of log-odds instead of a softmax of two",
            },
            licence="MIT",
            notice=NOTICE,
            parity=parity,
            tools={tool: found for tool in _TOOLS if (found := _version(tool))},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        write_atomically(folder / MANIFEST_NAME, manifest.to_json().encode())
        open_strip_bundle(folder)
        workshop.finish()
    return open_strip_bundle(output)


def golden_head(original: Original) -> bytes:
    """The bytes of the golden case: a synthetic head, and what the original networks make of it at a small size."""
    image = draw_head(_GOLDEN_SHAPE, _GOLDEN_SPACING_MM, seed=1).image
    head = np.rint(np.clip(image / image.max(), 0, 1) * STEPS).astype(np.uint8)
    small = replace(original, find_edge=EDGE, cut_edge=EDGE)
    probability = small.brain_probability(head.astype(np.float32), "the golden case")
    return npz_bytes(
        {
            "format": np.array(GOLDEN_HEAD_FORMAT, dtype=np.int64),
            "head": head,
            "probability": np.rint(probability * STEPS).astype(np.uint8),
        }
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
