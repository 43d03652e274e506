"""The weights file: names, precision, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from eenet_runtime.errors import ExportError, OutputError
from eenet_train.network.weights import (
    METADATA,
    WeightPrecision,
    WeightRounding,
    load_weights,
    named_weights,
    round_weights,
    save_weights,
)

pytestmark = pytest.mark.tf

FP16, FP32 = WeightPrecision.FP16, WeightPrecision.FP32
NAMES = [
    "normalization/mean",
    "normalization/variance",
    "normalization/count",
    "conv/kernel",
    "conv/bias",
    "norm/gamma",
    "norm/beta",
    "norm/moving_mean",
    "norm/moving_variance",
    "head/kernel",
]


def small_model(seed: int = 0) -> Any:
    """Every kind of weight that the network has, in 8 x 8 pixels, with values that no initialiser gives."""
    image = keras.Input((8, 8, 3))
    x = keras.layers.Normalization(name="normalization")(image)
    x = keras.layers.Conv2D(4, 3, padding="same", name="conv")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.SpatialDropout2D(0.5, name="dropout")(x)
    x = keras.layers.Conv2DTranspose(2, 3, use_bias=False, name="head")(x)
    model = keras.Model(image, x, name="small")
    generator = np.random.default_rng(seed)
    for name, variable in named_weights(model).items():
        if name != "normalization/count":
            variable.assign(generator.uniform(0.1, 1.0, variable.shape))
    model.get_layer("normalization").finalize_state()
    return model


def values_of(model: Any) -> dict[str, np.ndarray]:
    return {name: keras.ops.convert_to_numpy(variable).copy() for name, variable in named_weights(model).items()}


def output_of(model: Any) -> np.ndarray:
    image = np.random.default_rng(1).normal(size=(1, 8, 8, 3)).astype(np.float32)
    return np.asarray(model(image, training=False))


def assert_same_weights(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_weights_are_named_after_layer_and_variable_and_random_states_are_not_weights() -> None:
    assert list(named_weights(small_model())) == NAMES


def test_two_weights_of_one_name_are_refused() -> None:
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), keras.layers.Dense(4)], name="inner")
    volume = keras.Input((4,))
    with pytest.raises(ExportError, match="two weights are called inner/kernel"):
        named_weights(keras.Model(volume, inner(volume), name="outer"))


def test_fp32_gives_back_every_bit(tmp_path: Path) -> None:
    model, other = small_model(0), small_model(1)
    rounding = save_weights(model, tmp_path / "w.safetensors", FP32)
    load_weights(other, tmp_path / "w.safetensors")
    assert_same_weights(values_of(other), values_of(model))
    assert rounding == WeightRounding(FP32, sum(v.size for v in values_of(model).values()), 0, 0, 0)


def test_a_loaded_model_computes_what_the_saved_one_computes(tmp_path: Path) -> None:
    model, other = small_model(0), small_model(1)
    assert np.abs(output_of(model) - output_of(other)).max() > 0.1
    save_weights(model, tmp_path / "w.safetensors", FP32)
    load_weights(other, tmp_path / "w.safetensors")
    np.testing.assert_array_equal(output_of(other), output_of(model))


def test_fp16_is_for_kernels_and_vectors_keep_every_bit(tmp_path: Path) -> None:
    model = small_model()
    save_weights(model, tmp_path / "w.safetensors", FP16)
    stored = load_file(tmp_path / "w.safetensors")
    assert {name for name, array in stored.items() if array.dtype == np.float16} == {"conv/kernel", "head/kernel"}
    vectors = {name: value for name, value in values_of(model).items() if value.ndim < 2}
    assert_same_weights({name: stored[name] for name in vectors}, vectors)


@pytest.mark.parametrize("precision", list(WeightPrecision))
def test_a_rounded_model_holds_what_the_file_holds(tmp_path: Path, precision: WeightPrecision) -> None:
    model, other = small_model(0), small_model(1)
    save_weights(model, tmp_path / "w.safetensors", precision)
    load_weights(other, tmp_path / "w.safetensors")
    round_weights(model, precision)
    assert_same_weights(values_of(model), values_of(other))
    np.testing.assert_array_equal(output_of(model), output_of(other))
    assert round_weights(model, precision).rounded == 0


def test_kernels_lie_in_the_file_as_onnx_wants_them(tmp_path: Path) -> None:
    model = small_model()
    save_weights(model, tmp_path / "w.safetensors", FP32)
    stored = load_file(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(stored["conv/kernel"], values_of(model)["conv/kernel"].transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(stored["head/kernel"], values_of(model)["head/kernel"].transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(stored["conv/bias"], values_of(model)["conv/bias"])


def test_a_file_that_does_not_say_how_its_kernels_lie_has_them_as_keras_has_them(tmp_path: Path) -> None:
    model, other = small_model(0), small_model(1)
    save_file(values_of(model), tmp_path / "w.safetensors")
    load_weights(other, tmp_path / "w.safetensors")
    assert_same_weights(values_of(other), values_of(model))


def test_saving_leaves_the_model_alone(tmp_path: Path) -> None:
    model = small_model()
    before = values_of(model)
    rounding = save_weights(model, tmp_path / "w.safetensors", FP16)
    assert rounding.rounded > 100
    assert_same_weights(values_of(model), before)


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    save_weights(small_model(), tmp_path / "a.safetensors", FP16)
    save_weights(small_model(), tmp_path / "b.safetensors", FP16)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_lost_and_worn_values_are_counted() -> None:
    model = small_model()
    kernel = np.full(model.get_layer("conv").kernel.shape, 0.5, np.float32)
    kernel.flat[:6] = [0.0, 1e-8, -2e-8, 1e-6, -(2.0**-20), 1 / 3]
    model.get_layer("conv").kernel.assign(kernel)
    model.get_layer("head").kernel.assign(np.ones(model.get_layer("head").kernel.shape))
    rounding = round_weights(model, FP16)
    # 1e-8 and -2e-8 become zero; 1e-6 and -2^-20 are subnormal, the latter exactly; 1/3 is rounded.
    assert (rounding.flushed_to_zero, rounding.subnormal, rounding.rounded) == (2, 2, 4)


@pytest.mark.parametrize("precision", list(WeightPrecision))
@pytest.mark.parametrize("weight", ["conv/kernel", "norm/moving_variance"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite_is_refused_by_name(
    tmp_path: Path, precision: WeightPrecision, weight: str, value: float
) -> None:
    model = small_model()
    broken = values_of(model)[weight]
    broken.flat[0] = value
    named_weights(model)[weight].assign(broken)
    with pytest.raises(ExportError, match=f"weight {weight}: 1 values are not finite"):
        save_weights(model, tmp_path / "w.safetensors", precision)
    with pytest.raises(ExportError, match=weight):
        round_weights(model, precision)
    assert list(tmp_path.iterdir()) == []


def test_a_kernel_beyond_fp16_is_refused_by_name_and_fits_fp32(tmp_path: Path) -> None:
    model = small_model()
    kernel = values_of(model)["head/kernel"]
    kernel.flat[0] = -65520.0  # the smallest magnitude that rounds to infinity
    model.get_layer("head").kernel.assign(kernel)
    before = values_of(model)
    with pytest.raises(ExportError, match=r"weight head/kernel: magnitude 6\.552e\+04 found, FP16 ends at 65504"):
        round_weights(model, FP16)
    assert_same_weights(values_of(model), before)
    save_weights(model, tmp_path / "w.safetensors", FP32)
    assert load_file(tmp_path / "w.safetensors")["head/kernel"].flat[0] == -65520.0


def test_a_vector_beyond_fp16_is_stored() -> None:
    model = small_model()
    model.get_layer("norm").moving_variance.assign(np.full(4, 1e6))
    round_weights(model, FP16)
    np.testing.assert_array_equal(values_of(model)["norm/moving_variance"], 1e6)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"no/w\.safetensors"):
        save_weights(small_model(), tmp_path / "no" / "w.safetensors", FP32)


def file_with(tmp_path: Path, **changes: np.ndarray | None) -> Path:
    """A weights file of `small_model` with tensors changed, added or (None) left out; `__` stands for `/`."""
    path = tmp_path / "w.safetensors"
    save_weights(small_model(), path, FP32)
    tensors = {**load_file(path), **{name.replace("__", "/"): array for name, array in changes.items()}}
    save_file({name: array for name, array in tensors.items() if array is not None}, path, METADATA)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conv__bias": None, "norm__beta": None}, "2 weights of small are missing, the first is conv/bias"),
        ({"conv__scale": np.ones(4)}, "1 tensors are not weights of small, the first is conv/scale"),
        ({"conv__bias": np.ones(5)}, r"conv/bias has shape \(5,\), small expects \(4,\)"),
        ({"conv__kernel": np.ones((3, 4, 3, 3))}, r"conv/kernel has shape \(3, 3, 4, 3\)"),
    ],
)
def test_a_file_of_another_network_is_refused_and_changes_nothing(
    tmp_path: Path, changes: dict[str, np.ndarray | None], message: str
) -> None:
    model = small_model(1)
    before = values_of(model)
    path = file_with(tmp_path, **changes)
    with pytest.raises(ExportError, match=message) as refusal:
        load_weights(model, path)
    assert str(refusal.value).startswith(str(path))
    assert_same_weights(values_of(model), before)


def test_files_that_hold_no_weights_are_refused(tmp_path: Path) -> None:
    whole = file_with(tmp_path).read_bytes()
    header = json.dumps({"conv/bias": {"dtype": "F32", "shape": [4], "data_offsets": [0, 999]}}).encode()
    for name, content in {
        "empty": b"",
        "text": b"not a weights file",
        "truncated": whole[:-1],
        "offsets": len(header).to_bytes(8, "little") + header + bytes(16),
    }.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ExportError, match="not a readable safetensors file"):
            load_weights(small_model(), path)
    with pytest.raises(ExportError, match="no such file"):
        load_weights(small_model(), tmp_path / "missing")
