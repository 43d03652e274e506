"""The suite's own guard: counts of work, not seconds, so that a busy machine cannot hide or fake a regression.

Bytes read and memory taken outside the network, operations of the canonical graph, and copies of whole volumes between
layouts in OpenVINO's compiled model. A figure that grows fails here; who makes one smaller lowers its limit.
"""

from __future__ import annotations

import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import nibabel as nib
import numpy as np
import pytest

from eenet_bench.limits.graph_cost import graph_cost
from eenet_runtime.backends.openvino_backend import OpenVinoBackend
from eenet_runtime.bundle.manifest import open_bundle
from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.cases.discovery import find_cases
from eenet_runtime.cases.preprocessing import CaseImages, prepare, read_case
from eenet_runtime.segmenter.postprocessing import restore, restore_labels
from eenet_runtime.volumes.presets import preset_by_name
from tests.places import DEMO_BUNDLE

DEMO: Final = DEMO_BUNDLE
IO_COUNTS: Final = Path("/proc/self/io")
SHAPE: Final = (240, 240, 155)
VOXELS: Final = 240 * 240 * 155
MIB: Final = 2**20
SLACK: Final = 1.1
"""What Python's own objects may add to the arrays that are counted."""

MOST_OPERATIONS: Final = 0.1817e12
MOST_NODES: Final = 345
"""Of `eenet-fast`, as the passes of the export leave it."""

ResultT = TypeVar("ResultT")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CaseFiles:
    """Four int16 images of BraTS' size, all the same."""
    folder = tmp_path_factory.mktemp("brats-size") / "A"
    folder.mkdir()
    x, y, z = (np.linspace(-1.2, 1.2, size, dtype=np.float32) for size in SHAPE)
    distance = x[:, None, None] ** 2 + y[:, None] ** 2 + z**2
    image = np.where(distance < 1, 100 + 300 * distance, 0).astype(np.int16)
    nib.save(nib.Nifti1Image(image, np.diag([-1.0, -1.0, 1.0, 1.0])), folder / "A_t1.nii.gz")
    for name in ("t1ce", "t2", "flair"):
        shutil.copy(folder / "A_t1.nii.gz", folder / f"A_{name}.nii.gz")
    (found,) = find_cases(folder.parent).cases
    return found


@pytest.fixture(scope="module")
def images(files: CaseFiles) -> CaseImages:
    return read_case(files, 1)


def peak_of(work: Callable[[], ResultT]) -> tuple[ResultT, int]:
    """What some work gives, and the most memory that Python's allocators, NumPy's among them, held for it at a time."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        result = work()
        return result, tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(not IO_COUNTS.exists(), reason="the system does not count what a process reads")
def test_the_files_of_a_case_are_read_once(files: CaseFiles, images: CaseImages) -> None:
    def read_so_far() -> int:
        return int(IO_COUNTS.read_text().split()[1])

    size = sum(source.path.stat().st_size for source in files.images.values())
    before = read_so_far()
    read_case(files, 1)
    assert size <= read_so_far() - before <= size + 4096


def test_reading_a_case_takes_its_voxels_and_little_else(files: CaseFiles) -> None:
    _, peak = peak_of(lambda: read_case(files, 1))
    assert peak <= SLACK * 4 * VOXELS * np.dtype(np.int16).itemsize


@pytest.mark.parametrize(("preset", "beside_mib"), [("eenet-144", 1), ("eenet-fast", 3)])
def test_preparing_a_case_takes_the_networks_input_and_little_else(
    images: CaseImages, preset: str, beside_mib: int
) -> None:
    geometry = preset_by_name(preset)
    prepared, peak = peak_of(lambda: prepare(images, geometry, 1))
    assert peak <= SLACK * (prepared.volume.nbytes + beside_mib * MIB)


def test_bringing_classes_back_takes_the_mask_and_little_else(images: CaseImages) -> None:
    preset = preset_by_name("eenet-144")
    placement = prepare(images, preset, 1).placement
    labels = np.zeros(preset.shape, np.uint8)
    labels[40:60, 40:60, 30:50] = 2
    _, peak = peak_of(lambda: restore_labels(labels, placement, images.grid))
    assert peak <= SLACK * VOXELS


def test_bringing_probabilities_back_takes_the_mask_and_slabs_of_the_tumour(images: CaseImages) -> None:
    preset = preset_by_name("eenet-fast")
    placement = prepare(images, preset, 1).placement
    probabilities = np.moveaxis(np.zeros((4, *preset.shape), np.float32), 0, -1)
    probabilities[40:60, 40:60, 30:50, 2] = 1
    _, peak = peak_of(lambda: restore(probabilities, placement, images.grid))
    assert peak <= SLACK * (VOXELS + 2 * MIB)


def test_the_canonical_graph_does_no_more_than_it_must() -> None:
    layers = graph_cost(DEMO / "model.onnx")
    assert sum(layer.flops for layer in layers) <= MOST_OPERATIONS
    assert len(layers) <= MOST_NODES


def test_openvino_copies_no_volume_between_layouts_but_at_the_ends() -> None:
    """Group norms that reshape volumes had a copy of each to channels first and back: a third of the time."""
    bundle = open_bundle(DEMO)
    artifact = next(entry for entry in bundle.manifest.artifacts if entry.form == "onnx-fp32")
    backend = OpenVinoBackend(bundle.path_of(artifact), artifact, bundle.manifest.preset, threads=1)
    backend(np.zeros((*bundle.manifest.preset.shape, 4), np.float32))
    model = backend._compiled[artifact.probabilities_name].get_runtime_model()
    reorders = [op for op in model.get_ops() if str(op.get_rt_info()["layerType"].value) == "Reorder"]
    volumes = [op for op in reorders if int(np.prod(op.output(0).get_shape())) >= 100_000]
    backend.close()
    # Where the network's input comes in and its probabilities go out, channels first as ONNX has them.
    assert len(volumes) <= 2
