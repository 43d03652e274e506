"""Loading a whole network's weights by the names of its layers, from whatever file holds them, with an account of it.

The layers of the published network are found by name. Keras numbers the layers that its authors left without one
(`conv2d_transpose_1`, `batch_normalization_3`, ...) as they happen to be made, so these names prove nothing: such
layers are matched by kind, shape and order, and only where that leaves no choice.
"""

from __future__ import annotations

import enum
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from eenet_runtime.errors import TrainingError
from eenet_runtime.folders.tables import format_table
from eenet_train.fit.stored_layers import StoredLayer, StoredNetwork, StoredWeight, plain_kind, read_network
from eenet_train.network.encoder_weights import IMAGENET_STD

_OTHER_NAMES: Final = {"scale": "gamma", "offset": "beta", "depthwise_kernel": "kernel"}
"""What other implementations of group norm, and the depthwise convolution of Keras 2, call their weights."""
_ROWS_SHOWN: Final = 40


class LayerStatus(enum.StrEnum):
    """What became of a layer."""

    BY_NAME = "loaded by name"
    BY_ORDER = "loaded by order and shape"
    MISMATCH = "does not fit"
    MISSING = "not in the file"


@dataclass(frozen=True)
class LayerLoad:
    """What became of one layer of the network.

    Attributes:
        layer: its name.
        status: whether and how it was loaded.
        parameters: how many numbers it holds.
        stored: the layer in the file that it was compared with, empty if it is missing there.
        expected, found: names and shapes of its weights and of those in the file, where they do not fit.
    """

    layer: str
    status: LayerStatus
    parameters: int
    stored: str = ""
    expected: str = ""
    found: str = ""

    @property
    def is_loaded(self) -> bool:
        """Whether the layer has the file's weights."""
        return self.status in (LayerStatus.BY_NAME, LayerStatus.BY_ORDER)


@dataclass(frozen=True)
class LoadReport:
    """What was loaded into a network.

    Attributes:
        source: the file or folder, as it was given.
        network: name of the network.
        layers: every layer of the network that has weights, in its order.
        unused: layers with weights in the file that no layer of the network took.
        remarks: what the reader should know besides.
    """

    source: str
    network: str
    layers: tuple[LayerLoad, ...]
    unused: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether every layer was loaded."""
        return all(layer.is_loaded for layer in self.layers)

    @property
    def share(self) -> float:
        """Share of the network's parameters that was loaded, 0 to 1."""
        loaded = sum(layer.parameters for layer in self.layers if layer.is_loaded)
        return loaded / max(1, sum(layer.parameters for layer in self.layers))

    def having(self, status: LayerStatus) -> tuple[LayerLoad, ...]:
        """The layers of one status."""
        return tuple(layer for layer in self.layers if layer.status == status)


@dataclass(frozen=True)
class _Match:
    """A layer of the network, the layer of the file for it, and arrays in the network's order if they fit."""

    layer: keras.layers.Layer
    stored: StoredLayer | None = None
    status: LayerStatus = LayerStatus.MISSING
    values: tuple[NDArray[Any], ...] | None = None


def load_by_name(model: keras.Model, path: Path, *, strict: bool = False) -> LoadReport:
    """Load weights into a network from `build_eenet`; a layer that does not fit keeps its own.

    A layer takes the stored layer of its name. Stored layers with generated names are matched with the layers left
    over, within one kind: all of them in order if their numbers and shapes agree one by one, else those whose shapes
    are found exactly once on either side. In a file without any names (Keras 3 before 3.8) a shape alone proves too
    little, and only the first rule holds. Nothing else is guessed.

    Args:
        model: its layers that fit are changed.
        path: a checkpoint of Keras 2 or tf.keras (.h5), of Keras 3 (.weights.h5 or .keras), a .safetensors file, a
            run folder or a bundle.
        strict: load every layer or nothing.

    Returns:
        What was loaded; `load_table` shows it.

    Raises:
        TrainingError: no weights can be read there, no layer fits, a weight is not finite, or, with `strict`, one
            layer is not in the file or does not fit. The network is not changed.
    """
    stored = read_network(path)
    matches = _match(model, stored.layers)
    report = _report(model, path, matches, stored)
    if not any(match.values is not None for match in matches):
        raise TrainingError(f"{path}: no layer of {model.name} found among {len(stored.layers)} layers with weights")
    if strict and not report.is_complete:
        raise TrainingError(_incomplete(report))
    for match in matches:
        if match.values is not None and match.stored is not None:
            _require_finite(path, match.stored, match.values)
    for match in matches:
        if match.values is not None:
            _assign(match.layer, match.values, stored.rescalings)
    return report


def load_table(report: LoadReport) -> str:
    """What matched and what did not: counts, then every layer that was not simply found by name."""
    rows = []
    total = max(1, sum(layer.parameters for layer in report.layers))
    for status in LayerStatus:
        layers = report.having(status)
        parameters = sum(layer.parameters for layer in layers)
        rows.append((status.value, str(len(layers)), f"{parameters:,}", f"{parameters / total:.1%}"))
    rows.append(("all", str(len(report.layers)), f"{total:,}", f"{report.share:.1%} loaded"))
    lines = [f"{report.source} into {report.network}", ""]
    lines.append(format_table(("layers of the network", "layers", "parameters", "share"), rows))
    remarkable = [layer for layer in report.layers if layer.status != LayerStatus.BY_NAME]
    if remarkable:
        details = [(layer.layer, layer.status.value, layer.stored or "-", _shapes(layer)) for layer in remarkable]
        lines += ["", format_table(("layer", "", "in the file", "weights"), details[:_ROWS_SHOWN])]
        lines += _more(len(details))
    if report.unused:
        lines += ["", f"not used, of the file: {len(report.unused)} layers"]
        lines += [f"  {name}" for name in report.unused[:_ROWS_SHOWN]] + _more(len(report.unused))
    return "\n".join([*lines, *(f"note: {remark}" for remark in report.remarks)])


def _more(count: int) -> list[str]:
    return [f"  and {count - _ROWS_SHOWN} more"] if count > _ROWS_SHOWN else []


def _shapes(layer: LayerLoad) -> str:
    return f"{layer.found}, expected {layer.expected}" if layer.status == LayerStatus.MISMATCH else ""


def _match(model: keras.Model, stored: Sequence[StoredLayer]) -> list[_Match]:
    """A match for each layer of the model that has weights."""
    times = Counter(layer.name for layer in stored)
    by_name = {layer.name: layer for layer in stored if layer.name and times[layer.name] == 1}
    matches = {}
    for layer in model.layers:
        if layer.weights:
            found = by_name.get(layer.name)
            values = None if found is None else _fitting_values(layer, found)
            status = LayerStatus.BY_NAME if values is not None else LayerStatus.MISMATCH
            matches[layer.name] = _Match(layer) if found is None else _Match(layer, found, status, values)
    used = {match.stored.path for match in matches.values() if match.stored is not None}
    left = [layer for layer in stored if layer.number is not None and layer.path not in used]
    for kind in sorted({layer.kind for layer in left}):
        waiting = [
            match.layer
            for match in matches.values()
            if match.stored is None and plain_kind(type(match.layer).__name__) == kind
        ]
        for layer, candidate in _pairs_by_order(waiting, [layer for layer in left if layer.kind == kind]):
            values = _fitting_values(layer, candidate)
            matches[layer.name] = _Match(layer, candidate, LayerStatus.BY_ORDER, values)
    return list(matches.values())


def _pairs_by_order(
    layers: Sequence[keras.layers.Layer], candidates: Sequence[StoredLayer]
) -> list[tuple[keras.layers.Layer, StoredLayer]]:
    """Pairs of one kind that leave no choice, see `load_by_name`."""
    numbers = [candidate.number or 0 for candidate in candidates]
    if len(layers) == len(candidates) and numbers == sorted(numbers):
        pairs = list(zip(layers, candidates, strict=True))
        if all(_fitting_values(layer, candidate) is not None for layer, candidate in pairs):
            return pairs
    pairs = []
    candidates = [candidate for candidate in candidates if candidate.name]
    for layer in layers:
        fitting = [candidate for candidate in candidates if _fitting_values(layer, candidate) is not None]
        rivals = [other for other in layers if fitting and _fitting_values(other, fitting[0]) is not None]
        if len(fitting) == 1 and len(rivals) == 1:
            pairs.append((layer, fitting[0]))
    return pairs


def _fitting_values(layer: keras.layers.Layer, stored: StoredLayer) -> tuple[NDArray[Any], ...] | None:
    """The stored arrays in the order of the layer's weights; None if names or shapes differ."""
    weights = list(stored.weights)
    if any(weight.name for weight in weights):
        named = {_plain_name(weight.name): weight for weight in weights}
        if "count" in {weight.name for weight in layer.weights}:
            # How many images a normalisation saw; it computes without, and some versions of Keras do not keep it.
            named.setdefault("count", StoredWeight("count", np.zeros((), np.int32)))
        if len(named) < len(weights) or named.keys() != {weight.name for weight in layer.weights}:
            return None
        weights = [named[weight.name] for weight in layer.weights]
    if [weight.values.shape for weight in weights] != [tuple(weight.shape) for weight in layer.weights]:
        return None
    return tuple(weight.values for weight in weights)


def _plain_name(name: str) -> str:
    plain = re.sub(r"_\d+$", "", name)
    return _OTHER_NAMES.get(plain, plain)


def _report(model: keras.Model, path: Path, matches: Sequence[_Match], stored: StoredNetwork) -> LoadReport:
    taken = {match.stored.path for match in matches if match.stored is not None and match.values is not None}
    remarks = [
        f"{match.layer.name}: variance {', '.join(f'{value:.3f}' for value in np.ravel(match.values[1]))} are the "
        "standard deviations of ImageNet, and the file does not tell whether the network rescales once more after "
        "them; loaded as they are"
        for match in matches
        if match.values is not None
        and isinstance(match.layer, keras.layers.Normalization)
        and stored.rescalings is None
        and _is_published(match.values[1])
    ]
    return LoadReport(
        str(path),
        model.name,
        tuple(_layer_load(match) for match in matches),
        tuple(layer.path for layer in stored.layers if layer.path not in taken),
        tuple(remarks),
    )


def _layer_load(match: _Match) -> LayerLoad:
    layer, stored = match.layer, match.stored
    parameters = sum(int(np.prod(weight.shape)) for weight in layer.weights)
    if stored is None:
        return LayerLoad(layer.name, match.status, parameters)
    if match.values is not None:
        return LayerLoad(layer.name, match.status, parameters, stored.path)
    expected = _described((weight.name, tuple(weight.shape)) for weight in layer.weights)
    found = _described((weight.name, weight.values.shape) for weight in stored.weights)
    return LayerLoad(layer.name, match.status, parameters, stored.path, expected, found)


def _described(weights: Iterable[tuple[str, tuple[int, ...]]]) -> str:
    """Names and shapes: "kernel 3x3x3x4x16, bias 16"."""
    return ", ".join(f"{name} {'x'.join(map(str, shape)) or 'scalar'}".strip() for name, shape in weights)


def _incomplete(report: LoadReport) -> str:
    failed = [layer for layer in report.layers if not layer.is_loaded]
    shown = [
        f"{layer.layer} ({layer.found or layer.status.value}{layer.expected and f', expected {layer.expected}'})"
        for layer in failed[:3]
    ]
    more = f" and {len(failed) - len(shown)} more" if len(failed) > len(shown) else ""
    return (
        f"{report.source}: {len(failed)} of {len(report.layers)} layers of {report.network} cannot be loaded: "
        f"{', '.join(shown)}{more}; expected all of them, {report.share:.1%} of the parameters fit"
    )


def _require_finite(path: Path, stored: StoredLayer, values: Sequence[NDArray[Any]]) -> None:
    wrong = sum(int(np.count_nonzero(~np.isfinite(array))) for array in values)
    if wrong:
        raise TrainingError(f"{path}: {stored.path}: {wrong} values are not finite; expected numbers")


def _is_published(variance: NDArray[Any]) -> bool:
    return bool(np.allclose(variance, IMAGENET_STD, rtol=1e-3))


def _assign(layer: keras.layers.Layer, values: Sequence[NDArray[Any]], rescalings: int | None) -> None:
    arrays = [array.astype(weight.dtype) for array, weight in zip(values, layer.weights, strict=True)]
    if isinstance(layer, keras.layers.Normalization):
        if (rescalings or 0) > 1 and _is_published(arrays[1]):
            # Keras' own repair of the published weights: a second rescaling divides by the root once more. This
            # network has no such layer, so the true variance stands here (see `encoder_weights`).
            arrays[1] = np.square(arrays[1])
        layer.set_weights(arrays)
        # The layer computes with copies of its weights, which set_weights does not renew.
        layer.finalize_state()
        return
    layer.set_weights(arrays)
