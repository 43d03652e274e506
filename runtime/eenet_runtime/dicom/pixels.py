"""The volume of a series: its pixels decoded, scaled slice by slice, laid on the grid of its slices."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from typing import Any, Final

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from eenet_runtime.dicom.geometry import StackGeometry
from eenet_runtime.dicom.guarded_reader import GuardedReader, HeaderLimits, silence_pydicom
from eenet_runtime.dicom.instance import Instance, PixelFormat
from eenet_runtime.dicom.series import Series, Slice
from eenet_runtime.errors import CaseError
from eenet_runtime.files.nifti import Volume
from eenet_runtime.machine.parallel import map_in_threads

_WHOLE_FILE: Final = HeaderLimits(header_bytes=1 << 30)
_GREY: Final = ("MONOCHROME1", "MONOCHROME2")


def read_series(series: Series, threads: int | None = None) -> Volume:
    """Read the pixels of a series.

    Args:
        series: of a study that was scanned before; its files are opened again.
        threads: files that are read at a time; by default as many as this process may use.

    Returns:
        `Volume` with data (columns, rows, slices) in the order of `geometry.py`, as integers where nothing is scaled,
        else float32; a NIfTI header in millimetres with sform and qform "scanner"; the SHA-256 of the files in the
        order of their slices.

    Raises:
        CaseError: no regular stack; pixels that are missing, truncated, damaged, in colour, or compressed in a way that
            nothing installed here decodes; a file that changed since it was scanned.
    """
    silence_pydicom()
    geometry = series.geometry
    pixels = series.first.pixels
    _check_format(pixels, series.source)
    ordered = [series.slices[index] for index in geometry.order]
    scalings = np.array([(piece.frame.slope, piece.frame.intercept) for piece in ordered])
    if not (np.abs(scalings[:, 0]) > 0).all():
        raise CaseError(
            f"{series.source}: a rescale slope of 0 found, expected one that keeps the image", code="pixel-format"
        )
    data = np.empty(geometry.grid.shape, _dtype(pixels, scalings), order="F")
    places: dict[int, list[tuple[int, Slice]]] = {}
    for place, piece in enumerate(ordered):
        places.setdefault(id(piece.instance), []).append((place, piece))

    def read_file(wanted: list[tuple[int, Slice]]) -> tuple[str, int]:
        return _read_file(wanted, data, series.source)

    read = map_in_threads(read_file, list(places.values()), threads)
    digest = hashlib.sha256("".join(sha for sha, _ in read).encode()).hexdigest()
    return Volume(series.source, data, geometry.grid, _header(data, geometry), digest, sum(size for _, size in read))


def _read_file(wanted: list[tuple[int, Slice]], data: NDArray[Any], source: str) -> tuple[str, int]:
    instance, name = wanted[0][1].instance, wanted[0][1].name
    try:
        with instance.source.open() as raw:
            content = raw.read(_WHOLE_FILE.header_bytes + 1)
        reader = GuardedReader(io.BytesIO(content), _WHOLE_FILE)
        frames = _decode(reader, instance, [piece.frame.index for _, piece in wanted])
    except ImportError as error:
        raise CaseError(f"{source}: {error.msg}", code="unknown-compression") from error
    except OSError as error:
        raise CaseError(
            f"{source}: {name} cannot be read ({error.strerror or 'input error'})", code="unreadable-file"
        ) from error
    # Decoders raise whatever they like on damaged pixels, and quote what they found.
    except Exception as error:
        raise CaseError(
            f"{source}: {name} has pixels that are damaged, truncated or not as announced", code="damaged-pixels"
        ) from error
    for (place, piece), frame in zip(wanted, frames, strict=True):
        plane = frame[::-1].T
        if data.dtype.kind == "f":
            with np.errstate(all="ignore"):
                data[:, :, place] = plane * np.float64(piece.frame.slope) + piece.frame.intercept
        else:
            data[:, :, place] = plane
    return hashlib.sha256(content).hexdigest(), len(content)


def _decode(reader: GuardedReader, instance: Instance, indices: Sequence[int]) -> list[NDArray[Any]]:
    """Frames (rows, columns) as stored, in the order of their indices."""
    dataset = dcmread(reader)
    if str(dataset.SOPInstanceUID) != instance.sop_uid:
        raise ValueError("another file")
    syntax = UID(instance.transfer_syntax)
    decoder = get_decoder(syntax)
    if not decoder.is_available:
        raise ImportError(
            f"compressed as {syntax.name}, which nothing installed here decodes; pip install python-gdcm may help"
        )
    expected = (instance.pixels.rows, instance.pixels.columns)
    frames = []
    for index in indices:
        frame, _ = decoder.as_array(dataset, index=index, raw=True)
        if frame.shape != expected:
            raise ValueError("another shape")
        frames.append(frame)
    return frames


def _check_format(pixels: PixelFormat, source: str) -> None:
    if pixels.samples != 1 or pixels.photometric not in _GREY:
        raise CaseError(
            f"{source}: {pixels.samples} samples a pixel in colours found, expected grey MR images", code="pixel-format"
        )
    if pixels.bits_allocated not in (8, 16, 32) or not 0 < pixels.bits_stored <= pixels.bits_allocated:
        raise CaseError(
            f"{source}: {pixels.bits_stored} bits of {pixels.bits_allocated} a pixel, expected 8 to 32",
            code="pixel-format",
        )
    if pixels.high_bit != pixels.bits_stored - 1:
        raise CaseError(
            f"{source}: high bit {pixels.high_bit} found, expected {pixels.bits_stored - 1}", code="pixel-format"
        )


def _dtype(pixels: PixelFormat, scalings: NDArray[np.float64]) -> np.dtype[Any]:
    if (scalings == (1.0, 0.0)).all():
        kind = "i" if pixels.signed else "u"
        return np.dtype(f"{kind}{pixels.bits_allocated // 8}")
    return np.dtype(np.float32)


def _header(data: NDArray[Any], geometry: StackGeometry) -> nib.Nifti1Header:
    image = nib.Nifti1Image(np.zeros((1, 1, 1), np.uint8), geometry.grid.affine)
    header = image.header
    header.set_data_dtype(data.dtype)
    header.set_data_shape(data.shape)
    header.set_sform(geometry.grid.affine, code=1)
    header.set_qform(geometry.grid.affine, code=1)
    header.set_xyzt_units("mm", "sec")
    return header
