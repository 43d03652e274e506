"""Small synthetic cases and bundles for tests: made in milliseconds, no TensorFlow, nothing random.

A head is an ellipsoid in background 0 with a lesion whose three classes differ by their intensities in such a way
that the model of `write_bundle`, one matrix product over the channels, finds them again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations, product
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from eenet_runtime.bundle.manifest import MANIFEST_NAME, Artifact, Manifest, describe_files
from eenet_runtime.cases.case_files import CaseFiles, case_from_paths
from eenet_runtime.volumes.labels import BRATS2020, BRATS2023, MSD, Label, LabelScheme, Modality
from eenet_runtime.volumes.normalization import measure_intensities
from eenet_runtime.volumes.presets import GeometryPreset

TINY: Final = GeometryPreset("tiny-64", (64, 64, 24), 1.0, (2, 2, 2))
TINY_2MM: Final = GeometryPreset("tiny-64-2mm", (64, 64, 24), 2.0, (2, 2, 2))

HEAD_SHAPE: Final = (46, 54, 22)
"""A synthetic head with its margin; the head itself fits into `TINY`, and into `TINY_2MM` with room to spare."""

LAYOUTS: Final = ("brats2020", "brats2023", "msd", "nnunet", "flat")
"""The layouts of docs/data.md."""

LAYOUT_SCHEMES: Final[Mapping[str, LabelScheme]] = {
    "brats2020": BRATS2020,
    "brats2023": BRATS2023,
    "msd": MSD,
    "nnunet": LabelScheme("dataset.json", ncr=2, ed=1, et=3),
    "flat": BRATS2020,
}
"""How label files, and therefore masks, of each layout write the classes."""

INTENSITIES: Final[Mapping[Label, Mapping[Modality, int]]] = {
    Label.BACKGROUND: {Modality.T1: 110, Modality.T1CE: 110, Modality.T2: 90, Modality.FLAIR: 90},
    Label.NCR: {Modality.T1: 70, Modality.T1CE: 70, Modality.T2: 220, Modality.FLAIR: 90},
    Label.ED: {Modality.T1: 100, Modality.T1CE: 100, Modality.T2: 90, Modality.FLAIR: 220},
    Label.ET: {Modality.T1: 110, Modality.T1CE: 240, Modality.T2: 90, Modality.FLAIR: 90},
}
"""Mean intensity of healthy tissue (BACKGROUND) and of the three classes in each modality."""

MODEL_NAME: Final = "model.onnx"
WEIGHTS_NAME: Final = "model.onnx.data"

_BRATS2020_NAMES: Final = {Modality.T1: "_t1", Modality.T1CE: "_t1ce", Modality.T2: "_t2", Modality.FLAIR: "_flair"}
_BRATS2023_NAMES: Final = {Modality.T1: "-t1n", Modality.T1CE: "-t1c", Modality.T2: "-t2w", Modality.FLAIR: "-t2f"}
_MSD_CHANNELS: Final = (Modality.FLAIR, Modality.T1, Modality.T1CE, Modality.T2)
_NNUNET_CHANNELS: Final = (Modality.T1, Modality.T1CE, Modality.T2, Modality.FLAIR)


@dataclass(frozen=True)
class Head:
    """A case in memory.

    Attributes:
        images: one 3D array for each modality, whole numbers below 256, background 0.
        labels: uint8 network classes (`Label`) on the same grid.
        affine: float64 (4, 4), voxel indices to world millimetres.
    """

    images: Mapping[Modality, NDArray[Any]]
    labels: NDArray[np.uint8]
    affine: NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along the three stored axes."""
        return self.labels.shape

    def astype(self, dtype: Any) -> Head:
        """The same head with voxels of another type."""
        return replace(self, images={name: image.astype(dtype) for name, image in self.images.items()})

    def with_affine(self, affine: Any) -> Head:
        """The same arrays somewhere else in the world."""
        return replace(self, affine=np.asarray(affine, dtype=np.float64))

    def with_image(self, modality: Modality, image: NDArray[Any]) -> Head:
        """The same head with another image for one modality."""
        return replace(self, images={**self.images, modality: image})

    def stored_as(self, permutation: Sequence[int], flips: Sequence[bool]) -> Head:
        """The same head in the world, stored along other axes.

        Args:
            permutation: new axis k is old axis `permutation[k]`.
            flips: whether new axis k runs the other way.
        """

        def store(volume: NDArray[Any]) -> NDArray[Any]:
            turned = volume.transpose(permutation)
            return np.ascontiguousarray(turned[tuple(slice(None, None, -1 if flip else 1) for flip in flips)])

        old_of_new = np.zeros((4, 4))
        old_of_new[3, 3] = 1
        for new_axis, (old_axis, flip) in enumerate(zip(permutation, flips, strict=True)):
            old_of_new[old_axis, new_axis] = -1 if flip else 1
            old_of_new[old_axis, 3] = self.shape[old_axis] - 1 if flip else 0
        images = {name: store(image) for name, image in self.images.items()}
        return Head(images, store(self.labels), self.affine @ old_of_new)


def zscore(volume: NDArray[Any], source: str = "x") -> NDArray[np.float32]:
    """A whole image as the network sees it, normalised in one piece."""
    result = np.zeros(volume.shape, dtype=np.float32)
    measure_intensities(volume, source).zscore(volume, result)
    return result


ORIENTATIONS: Final = tuple(
    (permutation, flips) for permutation in permutations(range(3)) for flips in product((False, True), repeat=3)
)
"""All 48 ways to store one volume."""


def make_head(shape: tuple[int, int, int] = HEAD_SHAPE, spacing_mm: float = 1.0) -> Head:
    """Make a head, stored like BraTS: axes LPS, background 0, int16.

    The lesion lies off the centre on every axis, so that no flip or permutation maps the head onto itself.
    """
    x, y, z = np.indices(shape).astype(np.float64)
    centre = [(size - 1) / 2 for size in shape]
    radii = [size / 2 - 2 for size in shape]
    inside = sum(((axis - c) / r) ** 2 for axis, c, r in zip((x, y, z), centre, radii, strict=True)) <= 1
    lesion = [centre[0] + 0.3 * radii[0], centre[1] - 0.35 * radii[1], centre[2] + 0.1 * radii[2]]
    distance = np.sqrt(
        sum(((axis - c) / r) ** 2 for axis, c, r in zip((x, y, z), lesion, (1.0, 1.2, 0.9), strict=True))
    )
    size = min(radii)
    labels = np.zeros(shape, dtype=np.uint8)
    labels[(distance < 0.8 * size) & inside] = Label.ED
    labels[(distance < 0.55 * size) & inside] = Label.ET
    labels[(distance < 0.3 * size) & inside] = Label.NCR
    # A texture of whole numbers, so that every integer and float type holds the same image.
    texture = (3 * x + 5 * y + 7 * z).astype(int) % 13 - 6
    images = {}
    for modality in Modality:
        means = np.array([INTENSITIES[label][modality] for label in Label])
        images[modality] = np.where(inside, means[labels] + texture, 0).astype(np.int16)
    affine = np.diag([-spacing_mm, -spacing_mm, spacing_mm, 1.0])
    affine[1, 3] = (shape[1] - 1) * spacing_mm
    return Head(images, labels, affine)


def write_volume(
    path: Path, volume: NDArray[Any], affine: NDArray[np.float64], *, qform: int = 1, sform: int = 1
) -> Path:
    """Write one NIfTI-1 file in millimetres with the given form codes; parents are made."""
    image = nib.Nifti1Image(volume, affine)
    image.set_sform(affine, code=sform)
    image.set_qform(affine, code=qform)
    image.header.set_xyzt_units("mm", "sec")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.to_filename(path)
    return path


def write_case(
    folder: Path,
    case_id: str,
    head: Head,
    layout: str = "brats2020",
    *,
    suffix: str = ".nii.gz",
    label: bool = True,
    qform: int = 1,
    sform: int = 1,
) -> None:
    """Write a head as one case of a data set.

    Args:
        folder: the data set; further cases of one layout may go into the same folder.
        case_id: its name.
        head: what to write; the dtype of its images is the dtype of the files.
        layout: one of `LAYOUTS`.
        suffix: `.nii.gz` or `.nii`.
        label: whether to write the label volume, with the values of `LAYOUT_SCHEMES`.
        qform, sform: form codes of every file.
    """

    def write(path: Path, volume: NDArray[Any]) -> None:
        write_volume(path, volume, head.affine, qform=qform, sform=sform)

    values = LAYOUT_SCHEMES[layout].to_file(head.labels)
    if layout in ("brats2020", "brats2023", "flat"):
        names, seg = (_BRATS2023_NAMES, "-seg") if layout == "brats2023" else (_BRATS2020_NAMES, "_seg")
        parent = folder if layout == "flat" else folder / case_id
        for modality, image in head.images.items():
            write(parent / f"{case_id}{names[modality]}{suffix}", image)
        if label:
            write(parent / f"{case_id}{seg}{suffix}", values)
        return
    if layout == "msd":
        write(folder / f"imagesTr/{case_id}{suffix}", np.stack([head.images[name] for name in _MSD_CHANNELS], axis=-1))
    else:
        for channel, modality in enumerate(_NNUNET_CHANNELS):
            write(folder / f"imagesTr/{case_id}_{channel:04d}{suffix}", head.images[modality])
    if label:
        write(folder / f"labelsTr/{case_id}{suffix}", values)
    write_dataset_json(folder, layout)


def write_dataset_json(folder: Path, layout: str) -> Path:
    """Write the dataset.json of the Decathlon (`msd`) or of nnU-Net (`nnunet`)."""
    if layout == "msd":
        content: dict[str, Any] = {
            "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
            "labels": {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"},
        }
    else:
        content = {
            "channel_names": {"0": "T1", "1": "T1ce", "2": "T2", "3": "FLAIR"},
            "labels": {"background": 0, "edema": 1, "necrosis": 2, "enhancing tumor": 3},
            "file_ending": ".nii.gz",
        }
    path = folder / "dataset.json"
    path.write_text(json.dumps(content))
    return path


def case_files(folder: Path, case_id: str, head: Head, **options: Any) -> CaseFiles:
    """Write a head in the BraTS 2020 layout and return its files, without a search."""
    write_case(folder, case_id, head, **options)
    suffix = options.get("suffix", ".nii.gz")
    paths = {modality: folder / case_id / f"{case_id}{end}{suffix}" for modality, end in _BRATS2020_NAMES.items()}
    label = folder / case_id / f"{case_id}_seg{suffix}"
    return replace(case_from_paths(case_id, paths), label=label if label.exists() else None)


def write_bundle(
    folder: Path, preset: GeometryPreset = TINY, *, weights: NDArray[np.float32] | None = None, **changes: Any
) -> Path:
    """Write a bundle whose model is a matrix product over the channels (a 1 x 1 x 1 convolution), a bias and a softmax.

    Args:
        folder: the bundle, made here.
        preset: the geometry of the graph.
        weights: float32 (4, 4) instead of the ones that find the classes of `make_head`; rows are modalities.
        changes: fields of the manifest instead of the right ones.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True)
    _write_model(folder, preset, CLASSIFIER if weights is None else weights)
    manifest = Manifest(
        name="tiny",
        preset=preset,
        artifacts=(Artifact("onnx", MODEL_NAME, "fp32", "fp32"),),
        files=describe_files(folder, (MODEL_NAME, WEIGHTS_NAME)),
        provenance={"made_by": "tests"},
        tools={"onnx": "any"},
        created="2024-01-01T00:00:00+00:00",
    )
    (folder / MANIFEST_NAME).write_text(replace(manifest, **changes).to_json())
    return folder


def edit_manifest(bundle: Path, changes: Mapping[str, Any]) -> None:
    """Change fields of a manifest and give it the checksum that belongs to them."""
    path = bundle / MANIFEST_NAME
    content = {**json.loads(path.read_text()), **changes}
    content.pop("checksum")
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    content["checksum"] = hashlib.sha256(canonical.encode()).hexdigest()
    path.write_text(json.dumps(content))


CLASSIFIER: Final[NDArray[np.float32]] = np.array(
    [  # BACKGROUND, NCR, ED, ET
        [0.0, 0.0, 0.0, 0.0],  # T1
        [0.0, -1.0, -1.0, 2.0],  # T1ce
        [0.0, 2.0, -1.0, -1.0],  # T2
        [0.0, -1.0, 2.0, -1.0],  # FLAIR
    ],
    dtype=np.float32,
)
"""Weights that tell the classes of `make_head` apart in z-scored images."""

BIAS: Final[NDArray[np.float32]] = np.array([2.0, 0.0, 0.0, 0.0], dtype=np.float32)
"""What makes tissue near the mean background."""


def _write_model(folder: Path, preset: GeometryPreset, weights: NDArray[np.float32]) -> None:
    """The ONNX graph with its weights in a file of their own, as a real export has them."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    shape = [1, 4, *preset.shape]
    kernel = np.ascontiguousarray(weights.T)[:, :, None, None, None]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["volume", "weights", "bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
            helper.make_node("ArgMax", ["logits"], ["indices"], axis=1, keepdims=0),
            helper.make_node("Cast", ["indices"], ["labels"], to=TensorProto.UINT8),
        ],
        "tiny",
        [helper.make_tensor_value_info("volume", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info("labels", TensorProto.UINT8, [1, *preset.shape]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, shape),
        ],
        [numpy_helper.from_array(kernel, "weights"), numpy_helper.from_array(BIAS, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save_model(model, folder / MODEL_NAME, save_as_external_data=True, location=WEIGHTS_NAME, size_threshold=0)
