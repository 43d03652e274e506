"""Thousands of damaged and absurd files, from reading to a mask: refused in one line, or read as they stand.

`EENET_MUTATIONS=10000 pytest tests/runtime/files/test_hostile_mutations.py -s` makes them all; the suite makes fewer.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from eenet_runtime.cases.case_files import CaseFiles, ImageSource
from eenet_runtime.cases.preprocessing import CaseImages, prepare, read_case
from eenet_runtime.errors import CaseError
from eenet_runtime.files.nifti import labels_to_bytes, read_volume
from eenet_runtime.segmenter.postprocessing import restore, restore_labels
from eenet_runtime.volumes.labels import BRATS2020, CHANNEL_ORDER, Modality
from eenet_runtime.volumes.presets import GeometryPreset
from tests.runtime.files.mutations import Mutant, Original, mutate
from tests.synthetic import BIAS, CLASSIFIER, Head, make_head

MUTANTS = int(os.environ.get("EENET_MUTATIONS", "1500"))
SECONDS_EACH = 2.0
MEMORY = 512 * 2**20
SMALL = GeometryPreset("small-32", (32, 32, 12), 1.0, (1, 2, 2))
HEAD_SHAPE = (14, 16, 12)


@pytest.fixture(scope="module")
def small_head() -> Head:
    """A head of a few thousand voxels, so that a file takes a millisecond."""
    return make_head(HEAD_SHAPE)


def originals(head: Head) -> list[Original]:
    """One file of each kind; the last holds all four images, so that its header is that of the whole case."""
    image = head.images[Modality.T1]
    four = np.stack([head.images[name] for name in CHANNEL_ORDER], axis=-1)
    big = nib.Nifti1Header(endianness=">")
    big.set_data_dtype(np.int16)
    scaled = bytearray(nib.Nifti1Image(image, head.affine).to_bytes())
    scaled[112:120] = np.array([0.5, 0.0], "<f4").tobytes()
    return [
        Original("int16", nib.Nifti1Image(image, head.affine).to_bytes(), nib.Nifti1Header, "<"),
        Original("float32", nib.Nifti1Image(image.astype(np.float32), head.affine).to_bytes(), nib.Nifti1Header, "<"),
        Original("big endian", nib.Nifti1Image(image, head.affine, big).to_bytes(), nib.Nifti1Header, ">"),
        Original("scaled", bytes(scaled), nib.Nifti1Header, "<"),
        Original("NIfTI-2", nib.Nifti2Image(image, head.affine).to_bytes(), nib.Nifti2Header, "<"),
        Original("4D", nib.Nifti1Image(four, head.affine).to_bytes(), nib.Nifti1Header, "<"),
    ]


class Workplace:
    """A case on disk of which one file can be exchanged."""

    def __init__(self, folder: Path, head: Head) -> None:
        for modality, image in head.images.items():
            nib.Nifti1Image(image, head.affine).to_filename(folder / f"A_{modality.value}.nii.gz")
        self.changed = folder / "changed.nii.gz"
        whole = {name: ImageSource(folder / f"A_{name.value}.nii.gz") for name in Modality}
        self.single = CaseFiles("A", {**whole, Modality.T1: ImageSource(self.changed)}, BRATS2020)
        self.stacked = CaseFiles(
            "A", {name: ImageSource(self.changed, channel) for channel, name in enumerate(CHANNEL_ORDER)}, BRATS2020
        )

    def segment(self, original: Original, content: bytes) -> tuple[CaseImages, NDArray[np.uint8]]:
        """Images and mask of the case with this file in it."""
        self.changed.write_bytes(content)
        images = read_case(self.stacked if original.name == "4D" else self.single, threads=1)
        network_input = prepare(images, SMALL, threads=1)
        scores = network_input.volume @ CLASSIFIER + BIAS
        if network_input.placement.resamples:
            exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
            labels = restore(
                exponentials / exponentials.sum(axis=-1, keepdims=True), network_input.placement, images.grid
            )
        else:
            labels = restore_labels(scores.argmax(axis=-1).astype(np.uint8), network_input.placement, images.grid)
        return images, labels


@contextlib.contextmanager
def memory_limit(more: int) -> Iterator[None]:
    """Let this process have so many bytes more than now."""
    if not sys.platform.startswith("linux"):
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def expect_what_the_file_says(path: Path, mutant: Mutant) -> None:
    """A file that is read is read as nibabel reads it."""
    volume = read_volume(path)
    image = nib.Nifti2Image if isinstance(volume.header, nib.Nifti2Header) else nib.Nifti1Image
    with np.errstate(all="ignore"):
        expected = image.from_bytes(_unpacked(mutant.content))
        voxels = np.asanyarray(expected.dataobj).reshape(volume.data.shape)
        largest = float(np.abs(voxels.astype(np.float64)).max())
        found = volume.data.astype(np.float64)
        np.testing.assert_allclose(found, voxels, rtol=1e-6, atol=1e-6 * largest, err_msg=mutant.what)
    np.testing.assert_allclose(volume.grid.affine, expected.affine, err_msg=mutant.what)


def _unpacked(content: bytes) -> bytes:
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


@pytest.mark.alone
def test_no_mutant_does_more_than_be_refused_or_read_as_it_stands(small_head: Head, tmp_path: Path) -> None:
    place = Workplace(tmp_path, small_head)
    kinds = originals(small_head)
    whole = {original.name: place.segment(original, original.plain) for original in kinds}
    assert all(np.any(mask) for _, mask in whole.values())
    counts: Counter[str] = Counter()
    slowest = 0.0
    with memory_limit(MEMORY):
        for seed in range(MUTANTS):
            original = kinds[seed % len(kinds)]
            mutant = mutate(original, seed)
            kind = "damaged" if mutant.damaged else "another file"
            started = time.process_time()
            try:
                images, mask = place.segment(original, mutant.content)
            except CaseError as error:
                message = str(error)
                assert message.isprintable(), (seed, mutant.what)
                assert "too little memory" not in message, (seed, mutant.what)
                counts[f"{kind}, refused"] += 1
                continue
            finally:
                slowest = max(slowest, time.process_time() - started)
            counts[f"{kind}, read"] += 1
            if mutant.damaged:
                of_whole, mask_of_whole = whole[original.name]
                assert images.grid.matches(of_whole.grid), (seed, mutant.what)
                for modality, volume in images.volumes.items():
                    np.testing.assert_array_equal(volume.data, of_whole.volumes[modality].data, err_msg=mutant.what)
                np.testing.assert_array_equal(mask, mask_of_whole, err_msg=f"{seed} {mutant.what}")
                continue
            expect_what_the_file_says(place.changed, mutant)
            assert mask.shape == images.grid.shape
            assert len(labels_to_bytes(mask, images.reference)) > 0
    print(f"\n{MUTANTS} mutants, slowest {slowest:.3f} s: {dict(sorted(counts.items()))}")  # noqa: T201
    assert slowest < SECONDS_EACH
    # Both happen, or else the mutants are too tame or too wild to prove anything.
    assert counts["damaged, refused"] > 0.3 * MUTANTS
    assert counts["another file, read"] > 0.1 * MUTANTS
