"""A folder of raw phantoms: the cases as they leave a scanner, and apart from them the truth."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from isal import igzip

from eenet_runtime.files.atomic import write_atomically
from eenet_runtime.files.nifti import FASTEST_LEVEL
from eenet_runtime.volumes.labels import BRATS2020, CHANNEL_ORDER
from eenet_train.phantom.nifti import write_nifti
from eenet_train.phantom.raw.generate import RawPhantom, Series, make_raw_phantom, raw_case_id
from eenet_train.phantom.raw.settings import RAW, RawSettings
from eenet_train.phantom.write import PhantomDone, make_missing, output_errors

TRUTH_FILE: Final = "truth.json"
_EXTENSIONS_FLAG: Final = bytes(4)
"""A NIfTI-1 header is followed by four bytes that say whether there are extensions."""


def write_raw_phantoms(
    output: Path,
    *,
    cases: int,
    seed: int,
    workers: int = 1,
    first_index: int = 0,
    settings: RawSettings = RAW,
    progress: Callable[[PhantomDone], None] | None = None,
) -> list[str]:
    """Make raw phantoms `first_index` .. `first_index + cases - 1` of a seed in a folder.

    `cases/<case>/<case>_t1.nii.gz`, `_t1ce`, `_t2`, `_flair` are what an inference gets; `truth/<case>/` holds
    `truth.json`, and brain masks and labels on the grid of each series and of the phantom (docs/training.md). A case
    that lies there whole is not made again.

    Args:
        output: folder, made if missing.
        cases: how many, at least 1.
        seed: of the whole set, 0 or above.
        workers: processes; each needs about 1.3 GB of memory at full size.
        first_index: index of the first case.
        settings: kind of phantom. Two kinds that are both called `Own` need a folder each.
        progress: called in this process after each case.

    Returns:
        The case names, in the order of their indices, those of an earlier run included.

    Raises:
        OutputError: the folder or a file cannot be written.
        EENetError: nilearn is not installed.
        ValueError: `cases` or `workers` below 1, or a negative seed or index.
    """
    if cases < 1 or workers < 1:
        raise ValueError(f"cases {cases} and workers {workers} must be at least 1")
    if seed < 0 or first_index < 0:
        raise ValueError(f"seed {seed} and first index {first_index} must not be negative")
    names = {index: raw_case_id(seed, index, settings) for index in range(first_index, first_index + cases)}
    with output_errors(output):
        finished = {index for index, name in names.items() if is_complete(output, name)}
        make_missing(output, names, finished, partial(_make_one, output, seed, settings=settings), workers, progress)
    return list(names.values())


def case_folder(output: Path, case: str) -> Path:
    """Where the four series of a case lie."""
    return output / "cases" / case


def truth_folder(output: Path, case: str) -> Path:
    """Where the truth about a case lies."""
    return output / "truth" / case


def is_complete(output: Path, case: str) -> bool:
    """Whether all of a case is there: the truth is renamed into its place first, the images last."""
    images = [case_folder(output, case) / f"{case}_{modality.value}.nii.gz" for modality in CHANNEL_ORDER]
    truth = [truth_folder(output, case) / name for name in _truth_names(case)]
    return all(file.is_file() for file in images + truth)


def write_raw_case(phantom: RawPhantom, output: Path, described: dict[str, Any]) -> None:
    """Write one phantom; nothing half-written is ever seen under a final name.

    Args:
        phantom: what to write.
        output: folder of the set.
        described: what else truth.json is to say about how the phantom was made.

    Raises:
        OSError: a folder cannot be made.
        OutputError: a file cannot be written.
    """
    case = phantom.case_id
    final = (truth_folder(output, case), case_folder(output, case))
    partial_truth, partial_case = (folder.with_name(f".{case}.partial") for folder in final)
    try:
        for folder in (partial_truth, partial_case):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        _write_truth(phantom, partial_truth, described)
        for modality, series in phantom.series.items():
            write_atomically(partial_case / f"{case}_{modality.value}.nii.gz", series_bytes(series))
        # What is there under the final names is incomplete, or we would not be here.
        for source, target in zip((partial_truth, partial_case), final, strict=True):
            shutil.rmtree(target, ignore_errors=True)
            source.rename(target)
    finally:
        for folder in (partial_truth, partial_case):
            shutil.rmtree(folder, ignore_errors=True)


def series_bytes(series: Series) -> bytes:
    """The compressed NIfTI-1 file of a series; the same voxels give the same bytes.

    nibabel chooses slopes itself when it writes: the header's own would be lost, so the file is put together here.
    """
    header = series.header()
    header["magic"], header["vox_offset"] = b"n+1", header.single_vox_offset
    content = header.binaryblock + _EXTENSIONS_FLAG + series.stored.tobytes(order="F")
    return igzip.compress(content, FASTEST_LEVEL, mtime=0)


def truth_of(phantom: RawPhantom) -> dict[str, Any]:
    """What truth.json says about a phantom: matrices of world millimetres (RAS+, as NIfTI), what each series is."""
    return {
        "case": phantom.case_id,
        "phantom": {
            "shape": list(phantom.grid.shape),
            "affine": phantom.grid.affine.tolist(),
            "brain_ml": float(phantom.brain.sum()) * phantom.grid.voxel_ml,
            "tumour_ml": float((phantom.labels > 0).sum()) * phantom.grid.voxel_ml,
        },
        "series": {modality.value: _describe(series) for modality, series in phantom.series.items()},
    }


def _describe(series: Series) -> dict[str, Any]:
    taken = series.taken
    return {
        "orientation": taken.orientation.value,
        "is_3d": taken.is_3d,
        "axes": series.grid.axes,
        "shape": list(series.grid.shape),
        "affine": series.grid.affine.tolist(),
        "in_plane_mm": taken.in_plane_mm,
        "spacing_mm": taken.spacing_mm,
        "thickness_mm": taken.thickness_mm,
        "tilt_degrees": taken.tilt_degrees,
        "slice_axis": taken.slice_axis,
        "slab_mm": taken.slab_mm,
        "brain_covered": series.brain_covered,
        "slope": series.slope,
        "intercept": series.intercept,
        "t1ce_to_series": series.t1ce_to_series.tolist(),
        "phantom_to_series": series.phantom_to_series.tolist(),
        "motion": series.motion.tolist(),
    }


def _truth_names(case: str) -> list[str]:
    grids = [*(modality.value for modality in CHANNEL_ORDER), "phantom"]
    return [TRUTH_FILE, *(f"{case}_{grid}_{what}.nii.gz" for grid in grids for what in ("brain", "seg"))]


def _write_truth(phantom: RawPhantom, folder: Path, described: dict[str, Any]) -> None:
    content = {**truth_of(phantom), "made_with": described}
    write_atomically(folder / TRUTH_FILE, (json.dumps(content, indent=1) + "\n").encode())
    on_grids: dict[str, Series | RawPhantom] = {m.value: series for m, series in phantom.series.items()}
    for name, truth in {**on_grids, "phantom": phantom}.items():
        stem = f"{phantom.case_id}_{name}"
        write_nifti(folder / f"{stem}_brain.nii.gz", truth.brain.astype(np.uint8), truth.grid.affine)
        write_nifti(folder / f"{stem}_seg.nii.gz", BRATS2020.to_file(truth.labels), truth.grid.affine)


def _make_one(output: Path, seed: int, index: int, *, settings: RawSettings) -> int:
    phantom = make_raw_phantom(seed, index, settings)
    write_raw_case(phantom, output, {"seed": seed, "index": index, "settings": dataclasses.asdict(settings)})
    return index
