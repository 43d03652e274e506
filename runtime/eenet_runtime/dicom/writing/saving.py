"""DICOM objects as files: whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path

from pydicom import dcmwrite
from pydicom.dataset import Dataset

from eenet_runtime.files.atomic import write_atomically


def dataset_bytes(dataset: Dataset) -> bytes:
    """An object as the bytes of a Part 10 file, in its own transfer syntax."""
    stream = io.BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def save_dataset(dataset: Dataset, path: Path) -> None:
    """Write an object as a Part 10 file; a reader never sees half of it.

    Raises:
        OutputError: the folder is missing or takes nothing. Nothing is left behind.
    """
    write_atomically(path, dataset_bytes(dataset))
