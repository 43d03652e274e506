"""What a caller may hand over as a case: files, nibabel images or arrays, by the modality's name."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import ImageDataError, SpatialImage
from numpy.typing import NDArray

from eenet_runtime.cases.case_files import MODALITY_WORDS, CaseFiles, case_from_paths
from eenet_runtime.cases.missing_modality import require_modalities
from eenet_runtime.cases.preprocessing import CaseImages, on_one_grid, read_series
from eenet_runtime.errors import CaseError
from eenet_runtime.files.nifti import Volume, read_volume
from eenet_runtime.volumes.grid import Grid, check_affine
from eenet_runtime.volumes.labels import BRATS2023, CHANNEL_ORDER, LabelScheme, Modality

_DEFAULT_ID = "case"


@dataclass(frozen=True)
class ImageArray:
    """One image in memory.

    Attributes:
        data: voxels (X, Y, Z), integers or real numbers; read, never changed.
        affine: float64 (4, 4), voxel indices to millimetres in RAS+, as NIfTI has it.
    """

    data: NDArray[Any]
    affine: NDArray[np.float64]


@runtime_checkable
class CaseSource(Protocol):
    """Something else that a case can be read from, such as a DICOM study."""

    @property
    def case_id(self) -> str:
        """The case's name."""

    def read_volumes(
        self, allow_missing: frozenset[Modality] = frozenset(), threads: int | None = None
    ) -> Mapping[Modality, Volume]:
        """Its images, each on its own grid.

        Raises:
            CaseError: one is unreadable, or missing and not allowed to be.
        """


ImageInput: TypeAlias = Path | str | ImageArray | SpatialImage
"""One image: a NIfTI file, an array with its affine, or a nibabel image."""

CaseInput: TypeAlias = CaseFiles | CaseSource | Mapping[str, ImageInput]
"""One case: `CaseFiles`, a DICOM `Study`, or an image for each modality under any name of `MODALITY_WORDS` (`t1`,
`t1ce` or `t1c`, `t2`, `flair`, ...; a `Modality` is such a name)."""


@dataclass(frozen=True)
class LoadedSeries:
    """A case in memory whose images may lie anywhere.

    Attributes:
        case_id: the case's name.
        volumes: its images in channel order, each on its own grid.
        scheme: how its files, if it has any, write the classes.
    """

    case_id: str
    volumes: dict[Modality, Volume]
    scheme: LabelScheme


@dataclass(frozen=True)
class LoadedCase:
    """A case in memory.

    Attributes:
        images: its images, checked to lie on one grid.
        scheme: how its files, if it has any, write the classes.
    """

    images: CaseImages
    scheme: LabelScheme


def name_of(case: CaseInput, case_id: str | None) -> str:
    """The case's name: as given, else that of its files, else `case`."""
    return case_id or (case.case_id if isinstance(case, CaseFiles | CaseSource) else _DEFAULT_ID)


def load_case(
    case: CaseInput,
    case_id: str | None = None,
    allow_missing: frozenset[Modality] = frozenset(),
    threads: int | None = None,
) -> LoadedCase:
    """Read a case, or take it over from memory; both are held to the same rules.

    Args:
        case, case_id, allow_missing, threads: see `load_series`.

    Raises:
        CaseError: as `read_case`, for images in memory too; or a modality is missing, unknown or given twice.
    """
    series = load_series(case, case_id, allow_missing, threads)
    return LoadedCase(on_one_grid(series.case_id, series.volumes), series.scheme)


def load_series(
    case: CaseInput,
    case_id: str | None = None,
    allow_missing: frozenset[Modality] = frozenset(),
    threads: int | None = None,
) -> LoadedSeries:
    """The same, wherever the images lie.

    A file is read to its end, with its checksum. Of a nibabel image that still lies in a file nibabel reads what it
    needs, and no checksum. Arrays are used where they are, not copied.

    Args:
        case: the case.
        case_id: its name, instead of the one that its files give it.
        allow_missing: modalities of which a case may lack one.
        threads: files read at a time; by default as many as this process may use processors.

    Raises:
        CaseError: an image is unreadable or no 3D volume; or a modality is missing, unknown or given twice.
    """
    if isinstance(case, CaseFiles):
        named = case if case_id is None else replace(case, case_id=case_id)
        require_modalities(named.case_id, named.images, allow_missing)
        return LoadedSeries(named.case_id, read_series(named, threads), case.scheme)
    name = name_of(case, case_id)
    if isinstance(case, CaseSource):
        volumes = case.read_volumes(allow_missing, threads)
        require_modalities(name, volumes, allow_missing)
        return LoadedSeries(name, {each: volumes[each] for each in CHANNEL_ORDER if each in volumes}, BRATS2023)
    images = _by_modality(name, case, allow_missing)
    paths = {modality: Path(image) for modality, image in images.items() if isinstance(image, Path | str)}
    if len(paths) == len(images):
        files = case_from_paths(name, paths)
        return LoadedSeries(name, read_series(files, threads), files.scheme)
    return LoadedSeries(name, {modality: _volume(image, modality) for modality, image in images.items()}, BRATS2023)


def _by_modality(
    name: str, case: Mapping[str, ImageInput], allow_missing: frozenset[Modality]
) -> dict[Modality, ImageInput]:
    """The images in channel order."""
    if not isinstance(case, Mapping):
        raise CaseError(
            f"case {name}: a {type(case).__name__} found, expected CaseFiles, a Study or a mapping from modalities to "
            "images",
            code="bad-input",
        )
    found: dict[Modality, ImageInput] = {}
    for word, image in case.items():
        modality = MODALITY_WORDS.get(str(word).lower())
        if modality is None:
            raise CaseError(
                f"case {name}: unknown modality {word!r}; known names: {', '.join(MODALITY_WORDS)}",
                code="unknown-modality",
            )
        if modality in found:
            raise CaseError(
                f"case {name}: {modality.value} is given twice, the second time as {word!r}", code="modality-twice"
            )
        found[modality] = image
    require_modalities(name, found, allow_missing)
    return {modality: found[modality] for modality in CHANNEL_ORDER if modality in found}


def _volume(image: ImageInput, modality: Modality) -> Volume:
    """One image as `read_volume` gives it."""
    if isinstance(image, Path | str):
        return read_volume(Path(image))
    if isinstance(image, ImageArray):
        source = f"{modality.value} (array)"
        return volume_of_array(_array(image.data, f"{source}: its voxels"), image.affine, source)
    if not isinstance(image, SpatialImage):
        raise CaseError(
            f"{modality.value}: a {type(image).__name__} found, expected a path, an ImageArray or a nibabel image",
            code="bad-input",
        )
    source = f"{modality.value} (nibabel image)"
    try:
        data = np.asanyarray(image.dataobj)
    except (OSError, EOFError, ValueError, zlib.error, ImageDataError, ImageFileError) as error:
        raise CaseError(
            f"{source}: its voxels cannot be read ({type(error).__name__})", code="unreadable-file"
        ) from error
    header = image.header if isinstance(image.header, nib.Nifti1Header) else None
    return volume_of_array(data, image.affine, source, header)


def volume_of_array(
    data: NDArray[Any], affine: NDArray[np.float64] | None, source: str, header: nib.Nifti1Header | None = None
) -> Volume:
    """An array as `read_volume` would give it.

    Args:
        data: voxels (X, Y, Z), used where they are; further axes may have one voxel.
        affine: (4, 4), voxel indices to millimetres in RAS+.
        source: what to call it in messages.
        header: of the image that it comes from; by default one is made for this grid.

    Raises:
        CaseError: no real numbers, no 3D image, or an affine that gives no orientation.
    """
    if not (np.issubdtype(data.dtype, np.integer) or np.issubdtype(data.dtype, np.floating)):
        raise CaseError(
            f"{source}: voxels of type {data.dtype} found, expected integers or real numbers", code="voxel-type"
        )
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    if data.ndim != 3 or 0 in data.shape:
        raise CaseError(
            f"{source}: an array of {' x '.join(map(str, data.shape)) or 'no'} voxels found, expected a 3D image",
            code="not-3d",
        )
    if affine is None:
        raise CaseError(f"{source}: no affine found, so the orientation of the head is unknown", code="bad-affine")
    given = _array(affine, f"{source}: its affine")
    if given.dtype.kind not in "iuf":
        raise CaseError(
            f"{source}: an affine of type {given.dtype} found, expected 4 x 4 real numbers", code="bad-affine"
        )
    matrix = given.astype(np.float64)
    if matrix.shape != (4, 4):
        raise CaseError(f"{source}: an affine of shape {matrix.shape} found, expected 4 x 4", code="bad-affine")
    check_affine(matrix, source)
    grid = Grid((data.shape[0], data.shape[1], data.shape[2]), matrix)
    return Volume(
        source,
        data.astype(_stored_dtype(data.dtype), copy=False),
        grid,
        header.copy() if header is not None else _header(grid),
    )


def _array(data: object, what: str) -> NDArray[Any]:
    try:
        return np.asarray(data)
    except (TypeError, ValueError) as error:  # lists of unequal length, for example
        raise CaseError(f"{what} cannot be read as an array ({type(error).__name__})", code="bad-input") from error


def _stored_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The nearest type that `read_volume` gives: this machine's byte order, no half and no long real numbers."""
    if dtype.kind == "f" and dtype.itemsize not in (4, 8):
        return np.dtype(np.float32 if dtype.itemsize < 4 else np.float64)
    return dtype.newbyteorder("=")


def _header(grid: Grid) -> nib.Nifti1Header:
    """The header of a NIfTI file on this grid, in millimetres."""
    # One value stands for all voxels: only the header is wanted.
    image = nib.Nifti1Image(np.broadcast_to(np.uint8(0), grid.shape), grid.affine)
    image.header.set_xyzt_units("mm")
    return image.header
