"""The folder layouts in which a phantom can be written: those in which real data arrives (docs/data.md)."""

from __future__ import annotations

import json
import shutil
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np

from eenet_runtime.files.atomic import write_atomically
from eenet_runtime.volumes.labels import BRATS2020, BRATS2023, CHANNEL_ORDER, MSD, Label, LabelScheme, Modality
from eenet_train.phantom.nifti import write_nifti
from eenet_train.phantom.settings import Phantom


class PhantomLayout(StrEnum):
    """A folder layout."""

    BRATS2020 = "brats2020"
    """`<id>/<id>_t1.nii.gz`, `_t1ce`, `_t2`, `_flair`, `_seg`; enhancing tumour is 4."""
    BRATS2023 = "brats2023"
    """`<id>/<id>-t1n.nii.gz`, `-t1c`, `-t2w`, `-t2f`, `-seg`; enhancing tumour is 3."""
    MSD = "msd"
    """`imagesTr/<id>.nii.gz` with four channels, `labelsTr/<id>.nii.gz`, `dataset.json`; 1 is oedema."""
    NNUNET = "nnunet"
    """`imagesTr/<id>_0000.nii.gz` .. `_0003`, `labelsTr/<id>.nii.gz`, `dataset.json`; enhancing tumour is 3."""

    @property
    def label_scheme(self) -> LabelScheme:
        """The numbers that this layout's label files hold."""
        # nnU-Net wants consecutive numbers, and its dataset.json names them: those of BraTS 2023 are.
        return {"brats2020": BRATS2020, "msd": MSD}.get(self.value, BRATS2023)


MSD_CHANNELS: Final = (
    (Modality.FLAIR, "FLAIR"),
    (Modality.T1, "T1w"),
    (Modality.T1CE, "t1gd"),
    (Modality.T2, "T2w"),
)
"""Channel order and names of the Decathlon's Task01."""
NNUNET_CHANNELS: Final = ("T1", "T1ce", "T2", "FLAIR")
"""Channel names in the network's order."""
_SUFFIXES: Final = {
    PhantomLayout.BRATS2020: ("_t1", "_t1ce", "_t2", "_flair", "_seg"),
    PhantomLayout.BRATS2023: ("-t1n", "-t1c", "-t2w", "-t2f", "-seg"),
}
_DESCRIPTION: Final = "Phantoms: synthetic tumours in one healthy template anatomy (ICBM152). Not patients."


def case_files(case: str, layout: PhantomLayout) -> tuple[Path, ...]:
    """Files of a case, relative to the output folder: the images in the layout's order, then the labels."""
    if layout in _SUFFIXES:
        return tuple(Path(case) / f"{case}{suffix}.nii.gz" for suffix in _SUFFIXES[layout])
    labels = Path("labelsTr") / f"{case}.nii.gz"
    if layout is PhantomLayout.MSD:
        return Path("imagesTr") / f"{case}.nii.gz", labels
    return *(Path("imagesTr") / f"{case}_{channel:04d}.nii.gz" for channel in range(len(CHANNEL_ORDER))), labels


def is_complete(output: Path, case: str, layout: PhantomLayout) -> bool:
    """Whether every file of a case is there (files get their names only when they are whole)."""
    return all((output / file).is_file() for file in case_files(case, layout))


def write_case(phantom: Phantom, output: Path, layout: PhantomLayout) -> None:
    """Write one phantom; nothing half-written is ever seen under a final name.

    Raises:
        OSError: a folder cannot be made.
        OutputError: a file cannot be written.
    """
    if layout in _SUFFIXES:
        _write_case_folder(phantom, output, layout)
        return
    files = [output / file for file in case_files(phantom.case_id, layout)]
    for folder in {file.parent for file in files}:
        folder.mkdir(parents=True, exist_ok=True)
    if layout is PhantomLayout.MSD:
        channels = np.stack([phantom.images[modality] for modality, _ in MSD_CHANNELS], axis=-1)
        write_nifti(files[0], channels, phantom.affine)
    else:
        for file, modality in zip(files, CHANNEL_ORDER, strict=False):
            write_nifti(file, phantom.images[modality], phantom.affine)
    write_nifti(files[-1], layout.label_scheme.to_file(phantom.labels), phantom.affine)


def _write_case_folder(phantom: Phantom, output: Path, layout: PhantomLayout) -> None:
    """One folder for each case, made under another name and renamed when it is whole."""
    output.mkdir(parents=True, exist_ok=True)
    final, partial = output / phantom.case_id, output / f".{phantom.case_id}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        *images, labels = (partial / file.name for file in case_files(phantom.case_id, layout))
        for file, modality in zip(images, CHANNEL_ORDER, strict=True):
            write_nifti(file, phantom.images[modality], phantom.affine)
        write_nifti(labels, layout.label_scheme.to_file(phantom.labels), phantom.affine)
        # What is there under the final name is an incomplete case, or we would not be here.
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_dataset_json(output: Path, layout: PhantomLayout) -> None:
    """Write the `dataset.json` of the layouts that have one, for all cases that lie in the folder.

    Raises:
        OutputError: it cannot be written.
    """
    if layout in _SUFFIXES:
        return
    cases = sorted(file.name.removesuffix(".nii.gz") for file in (output / "labelsTr").glob("[!.]*.nii.gz"))
    cases = [case for case in cases if is_complete(output, case, layout)]
    content = _msd_json(cases) if layout is PhantomLayout.MSD else _nnunet_json(cases)
    write_atomically(output / "dataset.json", (json.dumps(content, indent=2) + "\n").encode())


def _msd_json(cases: list[str]) -> dict[str, object]:
    names = {
        Label.BACKGROUND: "background",
        Label.ED: "edema",
        Label.NCR: "non-enhancing tumor",
        Label.ET: "enhancing tumour",
    }
    values = {MSD.file_values[label]: name for label, name in names.items()}
    return {
        "name": "BRATS",
        "description": _DESCRIPTION,
        "tensorImageSize": "4D",
        "modality": {str(channel): name for channel, (_, name) in enumerate(MSD_CHANNELS)},
        "labels": {str(value): values[value] for value in sorted(values)},
        "numTraining": len(cases),
        "numTest": 0,
        "training": [{"image": f"./imagesTr/{case}.nii.gz", "label": f"./labelsTr/{case}.nii.gz"} for case in cases],
        "test": [],
    }


def _nnunet_json(cases: list[str]) -> dict[str, object]:
    scheme = PhantomLayout.NNUNET.label_scheme
    names = {"background": Label.BACKGROUND, "NCR": Label.NCR, "ED": Label.ED, "ET": Label.ET}
    return {
        "description": _DESCRIPTION,
        "channel_names": {str(channel): name for channel, name in enumerate(NNUNET_CHANNELS)},
        "labels": {name: scheme.file_values[label] for name, label in names.items()},
        "numTraining": len(cases),
        "file_ending": ".nii.gz",
    }
