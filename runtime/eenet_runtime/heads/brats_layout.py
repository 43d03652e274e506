"""A raw head as BraTS lays out its cases: 240 x 240 x 155 voxels of 1 mm, brain alone, each series resampled once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from eenet_runtime.errors import CaseError
from eenet_runtime.files.nifti import Volume
from eenet_runtime.heads.raw_case import AlignedHead, brain_on
from eenet_runtime.heads.resampling import resample
from eenet_runtime.heads.target import brats_target, inverse
from eenet_runtime.volumes.labels import CHANNEL_ORDER, Modality


def brats_images(
    head: AlignedHead, volumes: Mapping[Modality, Volume], threads: int | None = None
) -> Iterator[tuple[Modality, Volume]]:
    """The series of a head on one grid, whatever voxels the network has; one after another, for each is 36 MB.

    Args:
        head: the case as it went through the chain.
        volumes: its series, as the chain read them.
        threads: by default as many as the process may use.

    Yields:
        Modality and image, float32, 0 outside the brain, its axes along the pose's; the brain's box lies in the middle.

    Raises:
        CaseError: a file has changed since the chain read it.
    """
    target = brats_target(head.brain_mask.mask, head.brain_mask.grid, head.reference_to_pose)
    pose_to_t1ce = inverse(head.reference_to_pose)
    brain = brain_on(head.brain_mask, target, pose_to_t1ce, threads)
    for modality in (name for name in CHANNEL_ORDER if name in volumes):
        volume = volumes[modality]
        if volume.sha256 != head.images.volumes[modality].sha256:
            raise CaseError(f"{volume.source}: changed while the case was computed; run it again", code="changed-file")
        data = resample(volume, target, head.t1ce_to[modality] @ pose_to_t1ce, threads=threads)
        data[~brain] = 0
        yield modality, Volume(volume.source, data, target, volume.header, volume.sha256)
