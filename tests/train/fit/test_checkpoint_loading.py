"""Weights from elsewhere: found by name in every layout, by order only without a choice, and never half in silence."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from eenet_runtime.errors import TrainingError
from eenet_runtime.volumes.presets import GeometryPreset
from tests.places import DEMO_BUNDLE

pytestmark = [pytest.mark.tf, pytest.mark.slow]

SMALL = GeometryPreset("small", (64, 64, 24), 1.0, (2, 2, 2))
PUBLISHED_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
PUBLISHED_STD = np.array([0.229, 0.224, 0.225], np.float32)
BUNDLE = DEMO_BUNDLE

Weights = dict[str, dict[str, np.ndarray]]
"""Layer, variable, values."""
Groups = list[tuple[str, list[tuple[str, np.ndarray]]]]
"""Layers of a Keras 2 file, each with the names and values of its weights."""


@pytest.fixture(scope="module")
def network() -> Any:
    """One network for the module; every test finds it with all weights at zero."""
    from eenet_train.network.network import build_eenet

    return build_eenet(SMALL)


@pytest.fixture(autouse=True)
def _zero_weights(network: Any) -> None:
    _set(network, lambda shape: np.zeros(shape))


@pytest.fixture
def weights(network: Any) -> Weights:
    """Random weights for every layer; a variance is positive."""
    rng = np.random.default_rng(5)
    return {
        layer.name: {w.name: rng.uniform(0.1, 1, w.shape).astype(w.dtype) for w in layer.weights}
        for layer in network.layers
        if layer.weights
    }


def _set(network: Any, make: Callable[[tuple[int, ...]], np.ndarray]) -> None:
    for layer in network.layers:
        layer.set_weights([make(w.shape) for w in layer.get_weights()])
        if layer.name == "normalization":
            layer.finalize_state()


def _holds(network: Any, weights: Weights, *, but: Sequence[str] = ()) -> None:
    for name, variables in weights.items():
        for variable in network.get_layer(name).weights:
            expected = np.zeros(variable.shape) if name in but else variables[variable.name]
            assert np.array_equal(variable, expected), f"{name}/{variable.name}"


def _is_untouched(network: Any) -> bool:
    return not any(np.any(weight) for layer in network.layers for weight in layer.get_weights())


def _is_encoder(name: str) -> bool:
    return name.startswith(("stem", "block", "top", "normalization"))


def _flat(weights: Weights, rename: Mapping[str, str] | None = None) -> Groups:
    """Every layer as a group of its own."""
    new = {name: (rename or {}).get(name, name) for name in weights}
    return [(new[name], [(f"{new[name]}/{key}:0", a) for key, a in arrays.items()]) for name, arrays in weights.items()]


def _nested(group: str, names: Iterable[str], weights: Weights, rename: Mapping[str, str] | None = None) -> Groups:
    """Several layers in the group of a model, trainable weights first and under the names that Keras 2 gives them."""
    entries = [
        (f"{group}/{(rename or {}).get(name, name)}/{'depthwise_' * name.endswith('dwconv')}{variable}:0", values)
        for name in names
        for variable, values in weights[name].items()
    ]
    fixed = [entry for entry in entries if entry[0].rpartition("/")[2].startswith(("mov", "mean", "var", "count"))]
    trainable = [entry for entry in entries if not any(entry is other for other in fixed)]
    return [(group, trainable + fixed)]


def _decoder_names() -> dict[str, str]:
    """The 2D decoder's layers under the names that Keras counts, from some number on."""
    names = {f"Dec2D_Up_{f}": f"conv2d_transpose_{3 + i}" for i, f in enumerate((512, 256, 128, 64, "Slices"))}
    return names | {f"Dec2D_BatchNorm_{f}": f"batch_normalization_{7 + i}" for i, f in enumerate((512, 256, 128, 64))}


def _published_layout(weights: Weights) -> Groups:
    """Layers named as in the authors' code; the encoder a model, each up step of the decoder a model, names counted."""
    rename = _decoder_names()
    groups = _flat({name: w for name, w in weights.items() if not _is_encoder(name) and name not in rename})
    groups += _nested("efficientnetb0", [name for name in weights if _is_encoder(name)], weights)
    for index, filters in enumerate((512, 256, 128, 64)):
        inner = [f"Dec2D_Up_{filters}", f"Dec2D_BatchNorm_{filters}"]
        groups += _nested(f"sequential_{index}" if index else "sequential", inner, weights, rename)
    return [*groups, *_flat({"Dec2D_Up_Slices": weights["Dec2D_Up_Slices"]}, rename)]


def _write_keras2(path: Path, groups: Groups, config: object = None, unweighted: Sequence[str] = ()) -> Path:
    with h5py.File(path, "w") as file:
        root = file if config is None else file.create_group("model_weights")
        if config is not None:
            file.attrs["model_config"] = json.dumps(config).encode()
        names = [*unweighted, *(name for name, _ in groups)]
        half = len(names) // 2
        # Long lists are stored in pieces.
        root.attrs["layer_names0"] = [name.encode() for name in names[:half]]
        root.attrs["layer_names1"] = [name.encode() for name in names[half:]]
        for name, entries in groups:
            group = root.create_group(name)
            group.attrs["weight_names"] = np.array([key.encode() for key, _ in entries])
            for key, values in entries:
                group.create_dataset(key, data=values)
        for name in unweighted:
            root.create_group(name).attrs["weight_names"] = np.array([], dtype="S1")
    return path


def test_a_checkpoint_with_models_in_the_model_is_loaded_whole(network: Any, weights: Weights, tmp_path: Path) -> None:
    from eenet_train.fit.checkpoint_loading import LayerStatus, load_by_name, load_table

    path = _write_keras2(tmp_path / "published.h5", _published_layout(weights))
    report = load_by_name(network, path, strict=True)
    _holds(network, weights)
    assert report.is_complete
    assert report.share == 1
    assert report.unused == ()
    assert {layer.layer for layer in report.having(LayerStatus.BY_ORDER)} == set(_decoder_names())
    assert report.having(LayerStatus.BY_ORDER)[0].stored == "sequential/conv2d_transpose_3"
    table = load_table(report)
    assert "100.0% loaded" in table
    assert "sequential_3/batch_normalization_10" in table


def test_the_normalization_computes_with_the_loaded_values_at_once(
    network: Any, weights: Weights, tmp_path: Path
) -> None:
    from eenet_train.fit.checkpoint_loading import load_by_name

    load_by_name(network, _write_keras2(tmp_path / "published.h5", _published_layout(weights)))
    layer = network.get_layer("normalization")
    assert np.allclose(np.ravel(layer.mean), weights["normalization"]["mean"])
    assert np.allclose(np.ravel(layer.variance), weights["normalization"]["variance"])


def test_counted_names_are_matched_in_order_within_their_kind(network: Any, weights: Weights, tmp_path: Path) -> None:
    from eenet_train.fit.checkpoint_loading import LayerStatus, load_by_name

    norms = [name for name in weights if name.startswith("GroupNorm")]
    rename = {name: f"group_normalization_{index + 9}" for index, name in enumerate(norms)}
    rename |= {"normalization": "normalization_2", **_decoder_names()}
    report = load_by_name(network, _write_keras2(tmp_path / "counted.h5", _flat(weights, rename)), strict=True)
    _holds(network, weights)
    assert {layer.layer for layer in report.having(LayerStatus.BY_ORDER)} == set(rename)


def test_counted_names_out_of_order_are_left_alone(network: Any, weights: Weights, tmp_path: Path) -> None:
    from eenet_train.fit.checkpoint_loading import LayerStatus, load_by_name, load_table

    norms = [name for name in weights if name.startswith("GroupNorm")]
    rename = {name: f"group_normalization_{len(norms) - index}" for index, name in enumerate(norms)}
    path = _write_keras2(tmp_path / "shuffled.h5", _flat(weights, rename))
    report = load_by_name(network, path)
    _holds(network, weights, but=norms)
    assert [layer.layer for layer in report.having(LayerStatus.MISSING)] == norms
    assert set(report.unused) == set(rename.values())
    assert "not in the file" in load_table(report)


def test_of_layers_whose_number_differs_only_unique_shapes_are_matched(
    network: Any, weights: Weights, tmp_path: Path
) -> None:
    from eenet_train.fit.checkpoint_loading import LayerStatus, load_by_name

    rename = {"Dec2D_BatchNorm_512": "batch_normalization", "Dec2D_BatchNorm_256": "batch_normalization_1"}
    groups = _flat({n: w for n, w in weights.items() if not n.startswith("Dec2D_BatchNorm")})
    groups += _flat({name: weights[name] for name in rename}, rename)
    groups += _flat({"Dec2D_BatchNorm_256": weights["Dec2D_BatchNorm_256"]}, {"Dec2D_BatchNorm_256": "batch_norm_x"})
    groups += _flat(
        {"Dec2D_BatchNorm_256": weights["Dec2D_BatchNorm_256"]}, {"Dec2D_BatchNorm_256": "batch_normalization_2"}
    )
    report = load_by_name(network, _write_keras2(tmp_path / "fewer.h5", groups))
    assert [layer.layer for layer in report.having(LayerStatus.BY_ORDER)] == ["Dec2D_BatchNorm_512"]
    assert set(report.unused) == {"batch_norm_x", "batch_normalization_1", "batch_normalization_2"}
    _holds(network, weights, but=["Dec2D_BatchNorm_256", "Dec2D_BatchNorm_128", "Dec2D_BatchNorm_64"])


def test_layers_with_names_of_their_own_are_never_matched_by_order(
    network: Any, weights: Weights, tmp_path: Path
) -> None:
    from eenet_train.fit.checkpoint_loading import LayerStatus, load_by_name

    config = _config([("Bottleneck", "Conv3D")])
    path = _write_keras2(tmp_path / "own.h5", _flat(weights, {"L4_Dec": "Bottleneck"}), config)
    report = load_by_name(network, path)
    assert [layer.layer for layer in report.having(LayerStatus.MISSING)] == ["L4_Dec"]
    assert report.unused == ("Bottleneck",)


def test_a_name_that_two_inner_models_share_is_not_trusted(network: Any, weights: Weights, tmp_path: Path) -> None:
    from eenet_train.fit.checkpoint_loading import LayerStatus, load_by_name

    groups = _flat({name: w for name, w in weights.items() if name not in ("L1_Dec", "L2_Dec")})
    groups += _nested("branch_a", ["L1_Dec", "L2_Dec"], weights) + _nested("branch_b", ["L1_Dec", "L2_Dec"], weights)
    report = load_by_name(network, _write_keras2(tmp_path / "twice.h5", groups))
    assert [layer.layer for layer in report.having(LayerStatus.MISSING)] == ["L1_Dec", "L2_Dec"]
    assert report.unused == ("branch_a/L1_Dec", "branch_a/L2_Dec", "branch_b/L1_Dec", "branch_b/L2_Dec")


def test_a_layer_that_does_not_fit_is_shown_with_both_shapes(network: Any, weights: Weights, tmp_path: Path) -> None:
    from eenet_train.fit.checkpoint_loading import LayerStatus, load_by_name, load_table

    changed: Weights = {**weights, "Input_L1": {"kernel": np.ones((3, 3, 3, 2, 16), np.float32), "bias": np.ones(16)}}
    path = _write_keras2(tmp_path / "two-channels.h5", _flat(changed))
    report = load_by_name(network, path)
    _holds(network, weights, but=["Input_L1"])
    (layer,) = report.having(LayerStatus.MISMATCH)
    assert (layer.layer, layer.expected) == ("Input_L1", "kernel 3x3x3x4x16, bias 16")
    assert layer.found == "kernel 3x3x3x2x16, bias 16"
    assert layer.found in load_table(report)
    assert layer.expected in load_table(report)


def test_weights_of_other_names_do_not_fit(network: Any, weights: Weights, tmp_path: Path) -> None:
    from eenet_train.fit.checkpoint_loading import LayerStatus, load_by_name

    norm = weights["GroupNorm_1_L1"]
    scaled = {**weights, "GroupNorm_1_L1": {"offset": norm["beta"], "scale": norm["gamma"]}}
    load_by_name(network, _write_keras2(tmp_path / "other-names.h5", _flat(scaled)), strict=True)
    _holds(network, weights)
    unknown = {**weights, "GroupNorm_1_L1": {"alpha": norm["beta"], "omega": norm["gamma"]}}
    report = load_by_name(network, _write_keras2(tmp_path / "unknown.h5", _flat(unknown)))
    assert [layer.layer for layer in report.having(LayerStatus.MISMATCH)] == ["GroupNorm_1_L1"]


def test_strict_loading_names_what_is_wrong_and_changes_nothing(network: Any, weights: Weights, tmp_path: Path) -> None:
    from eenet_train.fit.checkpoint_loading import load_by_name

    changed = {name: w for name, w in weights.items() if name != "L4_Dec"}
    changed["Input_L1"] = {"kernel": np.ones((3, 3, 3, 2, 16), np.float32), "bias": np.ones(16)}
    path = _write_keras2(tmp_path / "partial.h5", _flat(changed))
    with pytest.raises(
        TrainingError, match=r"2 of \d+ layers of small cannot be loaded: Input_L1 \(kernel 3x3x3x2x16"
    ) as e:
        load_by_name(network, path, strict=True)
    assert str(e.value).startswith(f"{path}: ")
    assert "L4_Dec (not in the file)" in str(e.value)
    assert "\n" not in str(e.value)
    assert _is_untouched(network)


def test_values_that_are_not_finite_are_refused_and_change_nothing(
    network: Any, weights: Weights, tmp_path: Path
) -> None:
    from eenet_train.fit.checkpoint_loading import load_by_name

    weights["L4_Dec"]["bias"][:2] = (np.nan, np.inf)
    path = _write_keras2(tmp_path / "diverged.h5", _flat(weights))
    with pytest.raises(TrainingError, match=r"diverged\.h5: L4_Dec: 2 values are not finite"):
        load_by_name(network, path)
    assert _is_untouched(network)


def test_the_weights_of_another_network_are_refused(network: Any, tmp_path: Path) -> None:
    from eenet_train.fit.checkpoint_loading import load_by_name

    path = _write_keras2(tmp_path / "other.h5", [("fc", [("fc/kernel:0", np.ones((4, 4), np.float32))])])
    with pytest.raises(TrainingError, match=r"other\.h5: no layer of small found among 1 layers with weights"):
        load_by_name(network, path)


def _config(names: Sequence[tuple[str, str]]) -> dict[str, Any]:
    layers = [{"class_name": kind, "config": {"name": name}} for name, kind in names]
    return {"class_name": "Functional", "config": {"name": "model", "layers": layers}}


@pytest.mark.parametrize("whole", [False, True])
def test_published_statistics_are_mended_where_the_network_rescales_twice(
    whole: bool, network: Any, weights: Weights, tmp_path: Path
) -> None:
    from eenet_train.fit.checkpoint_loading import load_by_name

    weights["normalization"].update(mean=PUBLISHED_MEAN, variance=PUBLISHED_STD)
    rescalings = ["rescaling_4", "rescaling_5"]
    inner = _config([("normalization", "Normalization"), *((name, "Rescaling") for name in rescalings)])
    names = [name for name in weights if _is_encoder(name)]
    groups = _flat({name: w for name, w in weights.items() if not _is_encoder(name)})
    config = None
    if whole:  # A whole model tells its inner layers by its architecture, a list of weights by their names.
        groups += _nested("efficientnetb0", names, weights)
        config = {"class_name": "Functional", "config": {"layers": [inner | {"class_name": "Functional"}]}}
        path = _write_keras2(tmp_path / "whole.h5", groups, config)
    else:
        groups += _flat({name: weights[name] for name in names})
        path = _write_keras2(tmp_path / "list.h5", groups, unweighted=rescalings)
    report = load_by_name(network, path, strict=True)
    assert np.allclose(np.ravel(network.get_layer("normalization").variance), PUBLISHED_STD**2)
    assert report.remarks == ()


def test_published_statistics_are_remarked_on_where_the_file_cannot_tell(
    network: Any, weights: Weights, tmp_path: Path
) -> None:
    from eenet_train.fit.checkpoint_loading import load_by_name, load_table

    weights["normalization"].update(mean=PUBLISHED_MEAN, variance=PUBLISHED_STD)
    report = load_by_name(network, _write_keras2(tmp_path / "published.h5", _published_layout(weights)), strict=True)
    assert np.allclose(np.ravel(network.get_layer("normalization").variance), PUBLISHED_STD)
    assert "note: normalization: variance 0.229, 0.224, 0.225 are the standard deviations" in load_table(report)


@pytest.mark.parametrize("name", ["w.weights.h5", "m.h5", "m.keras", "run", "bundle", "w.safetensors"])
def test_what_this_toolkit_writes_is_loaded_whole(name: str, network: Any, weights: Weights, tmp_path: Path) -> None:
    from eenet_train.fit.checkpoint_loading import load_by_name
    from eenet_train.network.weights import WeightPrecision, save_weights

    path = tmp_path / name
    _set_named(network, weights)
    if name == "w.weights.h5":
        network.save_weights(path)
    elif name in ("run", "bundle"):
        path.mkdir()
    if name in ("m.h5", "m.keras"):
        network.save(path)
    elif name == "run":
        network.save(path / "model.keras")
    elif name in ("bundle", "w.safetensors"):
        file = path / "weights.safetensors" if name == "bundle" else path
        save_weights(network, file, WeightPrecision.FP32)
    _set(network, lambda shape: np.zeros(shape))
    report = load_by_name(network, path, strict=True)
    _holds(network, weights)
    assert np.allclose(np.ravel(network.get_layer("normalization").variance), weights["normalization"]["variance"])
    assert report.unused == ()


def _set_named(network: Any, weights: Weights) -> None:
    for name, variables in weights.items():
        layer = network.get_layer(name)
        layer.set_weights([variables[variable.name] for variable in layer.weights])


def _without_names(file: h5py.File) -> None:
    file.visititems(lambda _, item: item.attrs.clear())


@pytest.mark.parametrize("name", ["old.weights.h5", "old.keras"])
def test_files_of_keras_versions_that_kept_no_names_are_loaded(
    name: str, network: Any, weights: Weights, tmp_path: Path
) -> None:
    from eenet_train.fit.checkpoint_loading import LayerStatus, load_by_name

    _set_named(network, weights)
    path, inner = tmp_path / name, tmp_path / "inner.weights.h5"
    network.save_weights(inner)
    with h5py.File(inner, "r+") as file:
        _without_names(file)
    if name.endswith(".keras"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", network.to_json())
            archive.write(inner, "model.weights.h5")
    else:
        shutil.copy(inner, path)
    _set(network, lambda shape: np.zeros(shape))
    report = load_by_name(network, path, strict=True)
    _holds(network, weights)
    expected = LayerStatus.BY_NAME if name.endswith(".keras") else LayerStatus.BY_ORDER
    assert {layer.status for layer in report.layers} == {expected}


def test_a_foreign_network_without_names_gives_nothing(network: Any, tmp_path: Path) -> None:
    import keras

    from eenet_train.fit.checkpoint_loading import load_by_name

    inputs = keras.Input((8, 8, 8, 4))
    path = tmp_path / "foreign.weights.h5"
    keras.Model(inputs, keras.layers.Conv3D(16, 3, padding="same")(inputs)).save_weights(path)
    with h5py.File(path, "r+") as file:
        _without_names(file)
    with pytest.raises(TrainingError, match="no layer of small found among 1 layers"):
        load_by_name(network, path)


def test_a_foreign_network_gives_the_layers_that_have_the_same_names(network: Any, tmp_path: Path) -> None:
    import keras

    from eenet_train.fit.checkpoint_loading import LayerStatus, load_by_name

    inputs = keras.Input((8, 8, 8, 4))
    x = keras.layers.Conv3D(16, 3, padding="same", name="Input_L1")(inputs)
    x = keras.layers.GroupNormalization(8, name="GroupNorm_1_L1")(x)
    block = keras.Sequential([keras.Input((8, 8, 8, 16)), keras.layers.Conv3D(16, 1, name="Res_L1")], name="block")
    foreign = keras.Model(inputs, keras.layers.Conv3D(2, 1, name="Head")(block(x)))
    foreign.compile("adam", "mse")
    foreign.optimizer.build(foreign.trainable_variables)
    path = tmp_path / "foreign.keras"
    foreign.save(path)
    report = load_by_name(network, path)
    loaded = [layer.layer for layer in report.having(LayerStatus.BY_NAME)]
    assert loaded == ["Input_L1", "GroupNorm_1_L1", "Res_L1"]
    assert report.unused == ("layers/conv3d_1",)
    assert np.array_equal(network.get_layer("Res_L1").kernel, block.get_layer("Res_L1").kernel)


def test_the_demo_bundle_is_loaded_into_another_geometry(network: Any) -> None:
    import safetensors.numpy

    from eenet_train.fit.checkpoint_loading import load_by_name

    report = load_by_name(network, BUNDLE, strict=True)
    assert report.share == 1
    # The file holds (out, in, ...), Keras (..., in, out).
    stored = safetensors.numpy.load_file(BUNDLE / "weights.safetensors")["Input_L1/kernel"]
    expected = np.moveaxis(stored, (1, 0), (-2, -1)).astype(np.float32)
    assert np.array_equal(network.get_layer("Input_L1").kernel, expected)


@pytest.mark.parametrize(
    "name", ["text.h5", "cut.h5", "text.keras", "empty.keras", "text.safetensors", "missing.h5", "folder", "names.h5"]
)
def test_what_cannot_be_read_is_refused_in_one_line_with_its_name(name: str, network: Any, tmp_path: Path) -> None:
    from eenet_train.fit.checkpoint_loading import load_by_name

    path = tmp_path / name
    if name.startswith("text"):
        path.write_text("no weights")
    elif name == "cut.h5":
        whole = _write_keras2(tmp_path / "whole.h5", [("a", [("a/kernel:0", np.ones((99, 99)))])]).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif name == "empty.keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme.txt", "nothing")
    elif name == "folder":
        path.mkdir()
    elif name == "names.h5":
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = [b"gone"]
    with pytest.raises(TrainingError, match="expected") as refusal:
        load_by_name(network, path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert "\n" not in str(refusal.value)


def test_class_names_become_kinds_as_keras_spells_them() -> None:
    from eenet_train.fit.stored_layers import plain_kind

    assert plain_kind("Conv2DTranspose") == "conv2d_transpose"
    assert plain_kind("DepthwiseConv2D") == "depthwise_conv2d"
    assert plain_kind("Addons>GroupNormalization") == "group_normalization"
    assert plain_kind("StagedGroupNormalization") == "group_normalization"
