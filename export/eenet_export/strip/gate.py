"""Held against the original before it gets a name: both engines, on whole heads at the networks' own sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from eenet_export.strip.synthetic_head import draw_head
from eenet_runtime.backends.graph import GraphRequest, graph_engines, load_graph
from eenet_runtime.bundle.strip_manifest import StripNetwork, StripParity, StripPreprocessing
from eenet_runtime.errors import ExportError, ParityError
from eenet_runtime.files.nifti import read_volume
from eenet_runtime.heads.stripping.two_stages import TwoStages
from eenet_runtime.heads.stripping.working_grid import working_grid
from eenet_runtime.volumes.dice import dice

LEAST_DICE: Final = 0.9995
ENGINES: Final = ("openvino", "onnxruntime")
SYNTHETIC: Final[Mapping[str, float]] = {"synthetic upright": 0.0, "synthetic, nods by 20 degrees": 20.0}
"""Heads of our own making, which need no file, by how far they nod."""
_LEAST_BRAIN_VOXELS: Final = 100_000

Head = tuple[str, NDArray[np.float32]]


def gate_heads(files: Sequence[Path]) -> list[Head]:
    """The heads that a conversion is proved on: synthetic ones, and those of files as the runtime would see them.

    Raises:
        CaseError: a file cannot be read.
    """
    heads = [(name, draw_head((192, 224, 224), 1.0, pitch_degrees=pitch).image) for name, pitch in SYNTHETIC.items()]
    for index, path in enumerate(files, start=1):
        volume = read_volume(path)
        # Names of files may be patients'.
        heads.append((f"head {index}, SHA-256 {volume.sha256[:12]}", working_grid(volume).sampled(volume, None, None)))
    return heads


def measure(
    original: Callable[[NDArray[np.float32], str], NDArray[np.float32]],
    graphs: Mapping[str, bytes],
    networks: Mapping[str, StripNetwork],
    heads: Sequence[Head],
    say: Callable[[str], None],
) -> tuple[StripParity, ...]:
    """Compare both engines with the original on every head.

    Args:
        original: the original networks, from a head to the probability of brain.
        graphs: the ONNX files by `find` and `cut`.
        networks: what the manifest will say about them.
        heads: what to measure on.
        say: told what was found.

    Raises:
        ExportError: an engine is missing.
        ParityError: a mask disagrees, or proves nothing because there is no brain in it.
    """
    figures = StripPreprocessing()
    expected = {name: original(head, name) > figures.threshold for name, head in heads}
    rows = []
    for engine in ENGINES:
        stages, version = _stages(engine, graphs, networks)
        for name, head in heads:
            mask = stages.brain_probability(head, name) > figures.threshold
            row = StripParity(
                name,
                f"{engine} {version}",
                dice(mask, expected[name]),
                int(np.count_nonzero(mask != expected[name])),
                int(np.count_nonzero(expected[name])),
            )
            say(f"{row.head}, {row.engine}: Dice {row.dice:.6f}, {row.different_voxels} of {row.brain_voxels} voxels")
            _require(row)
            rows.append(row)
    return tuple(rows)


def _require(row: StripParity) -> None:
    if row.brain_voxels < _LEAST_BRAIN_VOXELS:
        raise ParityError(f"{row.head}: {row.brain_voxels} voxels of brain found, which proves nothing")
    if not row.dice >= LEAST_DICE:
        raise ParityError(f"{row.head}: Dice {row.dice:.6f} in {row.engine} found, expected at least {LEAST_DICE}")


def _stages(engine: str, graphs: Mapping[str, bytes], networks: Mapping[str, StripNetwork]) -> tuple[TwoStages, str]:
    spec = graph_engines(engine)[0]
    if spec.name != engine:
        raise ExportError(f"{engine} is not installed, and the gate needs it")
    find, cut = (
        load_graph(
            spec, GraphRequest(graphs[role], networks[role].path, networks[role].input_name, networks[role].output_name)
        )
        for role in ("find", "cut")
    )
    return TwoStages(find, cut, networks["find"].edge, networks["cut"].edge, StripPreprocessing()), find.version
