"""The weights file as the runtime reads it: mapped, in bounds, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from eenet_runtime.bundle.weights_file import WEIGHTS_FILE, map_weights, stored_tensors
from eenet_runtime.errors import BundleError

METADATA = {"kernels": "onnx"}


def write(path: Path, header: Any, content: bytes = b"") -> Path:
    """A file with this header, as JSON, and this content behind it."""
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)
    return path


def tensor(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    """An entry of the header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_tensors_are_read_only_views_of_what_the_safetensors_library_wrote(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    rng = np.random.default_rng(0)
    written: dict[str, NDArray[Any]] = {
        "Conv/kernel": rng.normal(size=(3, 2, 3, 3, 3)).astype(np.float16),
        "Conv/bias": rng.normal(size=3).astype(np.float32),
        "seed/state": np.arange(5, dtype=np.int64),
    }
    path = tmp_path / WEIGHTS_FILE
    path.write_bytes(safetensors.save(written, metadata=METADATA))
    found = map_weights(path)
    assert set(found) == set(written)
    for name, array in written.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        assert not found[name].flags.writeable
        assert not found[name].flags.owndata


@pytest.mark.parametrize("metadata", [None, {}, {"kernels": "keras"}, ["kernels"]])
def test_kernels_in_another_layout_are_refused(tmp_path: Path, metadata: Any) -> None:
    header = {"a/bias": tensor("F32", [1], 0, 4)} | ({} if metadata is None else {"__metadata__": metadata})
    with pytest.raises(BundleError, match=r"weights\.safetensors: kernels in layout .* found, expected onnx"):
        map_weights(write(tmp_path / WEIGHTS_FILE, header, bytes(4)))


@pytest.mark.parametrize(
    "entry",
    [
        tensor("F32", [2], 0, 4),
        tensor("F32", [1], 8, 12),
        tensor("F32", [1], -4, 0),
        tensor("F32", [-1], 4, 0),
        tensor("F32", [1], 0, 8),
        tensor("F32", [True], 0, 4),
        tensor("F32", [1], 0.0, 4),  # type: ignore[arg-type]
    ],
)
def test_a_tensor_outside_the_file_or_of_another_length_is_refused(tmp_path: Path, entry: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match="a is cut off, or is not as long as its shape says"):
        stored_tensors(write(tmp_path / WEIGHTS_FILE, {"a": entry}, bytes(8)))


def test_a_header_longer_than_the_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / WEIGHTS_FILE
    path.write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    with pytest.raises(BundleError, match="not a readable safetensors file"):
        stored_tensors(path)


@given(place=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_a_changed_byte_in_the_header_is_read_or_refused_but_no_crash(
    tmp_path_factory: pytest.TempPathFactory, place: int, byte: int
) -> None:
    path = tmp_path_factory.mktemp("weights") / WEIGHTS_FILE
    write(path, {"__metadata__": METADATA, "a/kernel": tensor("F16", [2, 2], 0, 8)}, bytes(8))
    content = bytearray(path.read_bytes())
    content[place % (len(content) - 8)] = byte
    path.write_bytes(content)
    try:
        found = map_weights(path)
    except BundleError:
        return
    assert all(array.nbytes <= 8 for array in found.values())
