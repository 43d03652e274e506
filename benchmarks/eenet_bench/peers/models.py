"""The network of one geometry in the forms that a comparison needs: a bundle, and the graph as tf2onnx writes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eenet_runtime.bundle.manifest import MANIFEST_NAME, Artifact, Manifest, describe_files, open_bundle
from eenet_runtime.files.atomic import write_atomically
from eenet_runtime.selftest.golden import GOLDEN_NAME
from eenet_runtime.selftest.selftest import must_be_tested
from eenet_runtime.volumes.presets import GeometryPreset

if TYPE_CHECKING:
    import keras

PLAIN_GRAPH: Final = "plain.onnx"
_SEED: Final = 29


@dataclass(frozen=True)
class Models:
    """Where they are.

    Attributes:
        bundle: the folder of a bundle with the FP32 graph and the native engine's.
        plain: the same network as tf2onnx writes it, empty if it was not asked for.
        weights: where the weights come from, in words.
    """

    bundle: Path
    plain: Path | None
    weights: str


def make_models(folder: Path, preset: GeometryPreset, weights: Path | None = None, *, plain: bool = False) -> Models:
    """Write both forms. Nothing is proved about them: for measuring time and memory, never for patients.

    Args:
        folder: where to; made here.
        preset: the geometry.
        weights: a bundle whose weights they get; they fit every geometry. Random ones by default.
        plain: whether to write the graph of tf2onnx, too.

    Raises:
        BundleError: that bundle is refused.
        ExportError: the network cannot be converted, or the weights are another's.
    """
    import keras

    from eenet_runtime.bundle.weights_file import WEIGHTS_FILE
    from eenet_train.network.network import build_eenet
    from eenet_train.network.weights import load_weights

    keras.utils.set_random_seed(_SEED)
    model = build_eenet(preset)
    words = "random"
    if weights is not None:
        opened = open_bundle(weights)
        load_weights(model, opened.folder / WEIGHTS_FILE)
        words = f"of {opened.manifest.name}"
    return write_models(model, folder, preset, words, plain=plain)


def write_models(
    model: keras.Model, folder: Path, preset: GeometryPreset, words: str, *, plain: bool, native: bool = True
) -> Models:
    """Write the forms of a network.

    Args:
        model: the network.
        folder: where to; made here.
        preset: its geometry.
        words: where its weights come from.
        plain: whether to write the graph of tf2onnx, too.
        native: whether the bundle shall have the native engine's artefact; for that it must be EENet.

    Raises:
        ExportError: it cannot be converted.
    """
    from eenet_export.bundle.native import native_artifact
    from eenet_export.gate.gate import keras_function
    from eenet_export.gate.golden import make_golden, write_golden
    from eenet_export.graph.graphs import FP32_FILE, write_fp32
    from eenet_export.graph.plane import PLANE_FILE, write_plane
    from eenet_runtime.bundle.weights_file import WEIGHTS_FILE
    from eenet_train.network.network import as_oracle
    from eenet_train.network.weights import WeightPrecision

    bundle = folder / "bundle"
    bundle.mkdir(parents=True)
    write_fp32(model, bundle, WeightPrecision.FP32)
    artifacts, files = [Artifact("onnx", FP32_FILE, "fp32", "fp32")], [FP32_FILE, WEIGHTS_FILE]
    if native:
        write_plane(bundle / FP32_FILE, bundle)
        artifacts.append(native_artifact(artifacts[0]))
        files.append(PLANE_FILE)
    golden = ""
    if must_be_tested(artifacts[-1], preset):
        # Small geometries serve the native engine only after a self-test.
        golden = GOLDEN_NAME
        write_golden(make_golden(preset, keras_function(as_oracle(model, preset))), bundle / golden)
        files.append(golden)
    manifest = Manifest(
        name=f"{preset.name}-for-measuring",
        preset=preset,
        artifacts=tuple(artifacts),
        files=describe_files(bundle, tuple(files)),
        golden=golden,
        provenance={"note": f"weights: {words}; made to measure time and memory, nothing was proved"},
    )
    write_atomically(bundle / MANIFEST_NAME, manifest.to_json().encode())
    if plain:
        _write_plain(model, folder / PLAIN_GRAPH)
    return Models(bundle, folder / PLAIN_GRAPH if plain else None, words)


def _write_plain(model: keras.Model, path: Path) -> None:
    """What tf2onnx makes of a network, its weights as constants of the graph."""
    import keras
    import onnx

    from eenet_export.graph.convert import convert_to_onnx
    from eenet_train.network.weights import named_weights

    proto = convert_to_onnx(model)
    values = {name: keras.ops.convert_to_numpy(variable) for name, variable in named_weights(model).items()}
    inputs = [value.name for value in proto.graph.input[1:]]
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(values[name], name) for name in inputs)
    del proto.graph.input[1:]
    onnx.save(proto, path)
