"""What a file of network weights holds, layer by layer, whoever wrote it; nothing of it is run.

Four layouts are read:

- Keras 2 and tf.keras, `.h5`: a group for each layer, its weights listed in the attribute `weight_names`. A model
  inside the model is one group, whose weights carry the inner layers' names. A whole model keeps the same below
  `model_weights`, and its architecture as JSON in the attribute `model_config`.
- Keras 3, `.weights.h5`: a group for each layer, named after its class and counted (`layers/conv3d_2/vars/0`); the
  layer's name is an attribute, in files from Keras 3.8 or so on.
- Keras 3, `.keras`: an archive with such a file and the architecture as JSON.
- safetensors: tensors called `layer/variable`, as in a bundle.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import safetensors
from numpy.typing import NDArray

from eenet_runtime.errors import TrainingError
from eenet_train.network.weights import read_weights
from eenet_train.runs.run_folder import RunFolder

_BUNDLE_WEIGHTS: Final = "weights.safetensors"
_EXPECTED: Final = (
    "expected a run folder, a bundle, or a file that Keras wrote (.h5, .weights.h5, .keras) or that is .safetensors"
)
_RESCALING: Final = "rescaling"
_SAME_KIND: Final = {
    "staged_group_normalization": "group_normalization",
    "sync_batch_normalization": "batch_normalization",
}
"""Kinds of layers whose weights mean the same as those of another kind."""
_COUNTED: Final = re.compile(r"(?P<kind>.+?)(?:_(?P<number>\d+))?")
_CONTAINERS: Final = frozenset({"functional", "model", "sequential"})
_GENERATED: Final = frozenset(
    {
        "batch_normalization",
        "conv2d",
        "conv2d_transpose",
        "conv3d",
        "conv3d_transpose",
        "dense",
        "depthwise_conv2d",
        "group_normalization",
        "normalization",
    }
)
"""Kinds after which Keras names layers that the author of a network gave no name."""


@dataclass(frozen=True)
class StoredWeight:
    """One array of a layer; `name` is empty where the file only counts them."""

    name: str
    values: NDArray[Any]


@dataclass(frozen=True)
class StoredLayer:
    """A layer in a file.

    Attributes:
        name: the layer's name, empty where the file does not know it.
        path: where it stands in the file.
        kind: its class in Keras' spelling for names (`conv2d_transpose`), empty where the file does not say.
        number: what Keras counted the layer as, None where its author named it.
        weights: its arrays, in the order of the file.
    """

    name: str
    path: str
    kind: str
    number: int | None
    weights: tuple[StoredWeight, ...]


@dataclass(frozen=True)
class StoredNetwork:
    """The layers of a file that have weights, in the network's order as far as the file tells it.

    Attributes:
        layers: the layers.
        rescalings: how many rescaling layers the network has, None where the file does not tell.
    """

    layers: tuple[StoredLayer, ...]
    rescalings: int | None


def read_network(path: Path) -> StoredNetwork:
    """Read the weights of a network.

    Args:
        path: a file of one of the layouts above, a run folder (its `model.keras` is read), or a bundle.

    Raises:
        TrainingError: nothing there, unreadable, or of another kind.
    """
    file = _weights_file(path)
    try:
        if file.suffix == ".safetensors":
            return _read_safetensors(file)
        if zipfile.is_zipfile(file):
            return _read_archive(file)
        if h5py.is_hdf5(file):
            with h5py.File(file, "r") as stream:
                return _read_hdf5(stream)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        # h5py, zipfile and json raise these for damaged files.
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise TrainingError(f"{file}: cannot be read as weights of a network ({reason}); {_EXPECTED}") from error
    except safetensors.SafetensorError as error:
        raise TrainingError(f"{file}: not a readable safetensors file ({error}); {_EXPECTED}") from error
    raise TrainingError(f"{file}: no weights of a network; {_EXPECTED}")


def plain_kind(class_name: str) -> str:
    """A layer's kind from the name of its class: "Addons>GroupNormalization" is "group_normalization"."""
    spelt = _spelt(class_name)
    return _SAME_KIND.get(spelt, spelt)


def _weights_file(path: Path) -> Path:
    if path.is_dir():
        for file in (path / _BUNDLE_WEIGHTS, RunFolder(path).model):
            if file.is_file():
                return file
        raise TrainingError(f"{path}: holds neither {RunFolder(path).model.name} nor {_BUNDLE_WEIGHTS}; {_EXPECTED}")
    if not path.is_file():
        raise TrainingError(f"{path}: no such file; {_EXPECTED}")
    return path


def _read_safetensors(path: Path) -> StoredNetwork:
    layers: dict[str, list[StoredWeight]] = {}
    for key, values in read_weights(path).items():
        layer, _, variable = key.rpartition("/")
        layers.setdefault(layer, []).append(StoredWeight(variable, values))
    return StoredNetwork(tuple(_layer(name, name, "", weights) for name, weights in layers.items()), None)


def _read_archive(path: Path) -> StoredNetwork:
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
        with h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as stream:
            return _read_counted(stream, {place: (name, kind) for place, name, kind in _places(config)})


def _read_hdf5(stream: h5py.File) -> StoredNetwork:
    weights = stream.get("model_weights", stream)
    if "layer_names" not in weights.attrs and "layer_names0" not in weights.attrs:
        return _read_counted(stream, {})
    config = json.loads(stream.attrs["model_config"]) if "model_config" in stream.attrs else {}
    return _read_named(weights, {name: kind for _, name, kind in _places(config)})


def _read_named(root: h5py.Group, kinds: Mapping[str, str]) -> StoredNetwork:
    """The layout of Keras 2.

    Args:
        root: holds the groups of the layers.
        kinds: class of each layer by its name, as far as known.
    """
    layers = []
    names = _texts(root, "layer_names")
    for name in names:
        parts: dict[str, list[StoredWeight]] = {}
        for weight in _texts(root[name], "weight_names"):
            scope, _, variable = weight.rpartition("/")
            parts.setdefault(scope, []).append(StoredWeight(variable.partition(":")[0], _array(root[name][weight])))
        for scope, weights in parts.items():
            # Only a model inside the model has weights of several layers in its group.
            nested = len(parts) > 1 or {kinds.get(name), _count(name)[0]} & _CONTAINERS
            inner = scope.rpartition("/")[2] if nested else name
            layers.append(_layer(inner, name if inner == name else f"{name}/{inner}", kinds.get(inner, ""), weights))
    rescalings = sum(_count(name)[0] == _RESCALING for name in {*names, *kinds})
    # EfficientNet has one at least: none means that the file does not list the layers inside a model.
    return StoredNetwork(tuple(layers), rescalings or None)


def _read_counted(stream: h5py.File, config: Mapping[str, tuple[str, str]]) -> StoredNetwork:
    """The layout of Keras 3.

    Args:
        stream: the file.
        config: name and class of the layer at each place, as far as known.
    """
    groups: dict[str, h5py.Group] = {}
    stream.visititems(lambda key, item: groups.update({key: item}) if isinstance(item, h5py.Group) else None)
    layers, rescalings = [], 0
    for key in sorted(groups, key=_natural):
        # Keras 2.12 separated the parts of a place by backslashes.
        *place, last = key.replace("\\", "/").split("/")
        if last != "vars" or not place or place[0] == "optimizer" or "seed_generator" in place:
            continue
        counted_kind = _count(place[-1])[0]
        rescalings += counted_kind == _RESCALING
        name, kind = config.get("/".join(place), (str(groups[key].attrs.get("name", "")), counted_kind))
        weights = [StoredWeight("", _array(groups[key][index])) for index in sorted(groups[key], key=int)]
        if weights:
            layers.append(_layer(name, "/".join(place), kind, weights))
    return StoredNetwork(tuple(layers), rescalings or None)


def _array(dataset: h5py.Dataset) -> NDArray[Any]:
    values = np.asarray(dataset[()])
    if values.dtype.kind not in "fiu":
        raise ValueError(f"{dataset.name} has the type {values.dtype}, not numbers")
    return values


def _layer(name: str, path: str, kind: str, weights: list[StoredWeight]) -> StoredLayer:
    counted_kind, number = _count(name or path.rpartition("/")[2])
    counted_kind, kind = _SAME_KIND.get(counted_kind, counted_kind), _SAME_KIND.get(kind, kind)
    generated = not name or (counted_kind == kind if kind else counted_kind in _GENERATED)
    kind = kind or (counted_kind if generated else "")
    return StoredLayer(name, path, kind, number if generated else None, tuple(weights))


def _count(name: str) -> tuple[str, int]:
    """ "conv2d_3" is ("conv2d", 3), and "conv2d" is ("conv2d", 0)."""
    found = _COUNTED.fullmatch(name)
    return (found["kind"], int(found["number"] or 0)) if found else (name, 0)


def _natural(key: str) -> list[tuple[str, int]]:
    return [_count(part) for part in key.replace("\\", "/").split("/")]


def _places(config: Any, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """For each layer of an architecture, also inside models: its place in a Keras 3 file, name and class."""
    inner = config.get("config") if isinstance(config, dict) else None
    listed = inner.get("layers", []) if isinstance(inner, dict) else inner if isinstance(inner, list) else []
    used: dict[str, int] = {}
    for layer in listed:
        spelt = _spelt(layer["class_name"])
        number = used.get(spelt, 0)
        used[spelt] = number + 1
        place = f"{prefix}layers/{spelt}{f'_{number}' if number else ''}"
        settings = layer["config"] if isinstance(layer["config"], dict) else {}
        yield place, str(settings.get("name", "")), plain_kind(layer["class_name"])
        yield from _places(layer, f"{place}/")


def _spelt(class_name: str) -> str:
    """A class name as Keras spells it in names: "Conv2DTranspose" is "conv2d_transpose"."""
    words = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", class_name.rpartition(">")[2]))
    return re.sub("([a-z])([A-Z])", r"\1_\2", words).lower()


def _texts(group: h5py.Group, name: str) -> list[str]:
    """A list of texts among the attributes; long ones are stored in numbered pieces."""
    keys = [name] if name in group.attrs else [f"{name}{index}" for index in range(len(group.attrs))]
    values = [value for key in keys if key in group.attrs for value in np.asarray(group.attrs[key]).tolist()]
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]
