"""One raw case: registered, stripped, turned and laid out once for the network; with figures for every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.cases.content_checks import Finding
from eenet_runtime.cases.content_checks.orientation import find_two_orientations
from eenet_runtime.cases.inputs import volume_of_array
from eenet_runtime.cases.preprocessing import CaseImages
from eenet_runtime.files.nifti import Volume
from eenet_runtime.heads.doubt import find_doubts
from eenet_runtime.heads.figures import HeadFigures, PoseFigures
from eenet_runtime.heads.pairs import Aligned, Engine, align_series, loop_mm
from eenet_runtime.heads.pose import find_pose
from eenet_runtime.heads.resampling import resample, resample_array
from eenet_runtime.heads.series import Way, require_series, stripped_series, way_of
from eenet_runtime.heads.stripping.brain_mask import BrainMask, BrainMasker
from eenet_runtime.heads.stripping.given_masks import StrippedHeads
from eenet_runtime.heads.stripping.stripper import Stripper
from eenet_runtime.heads.target import MARGIN_MM, WayBack, brats_target, inverse, native_pose, target_grid
from eenet_runtime.volumes.grid import Grid
from eenet_runtime.volumes.labels import CHANNEL_ORDER, Modality
from eenet_runtime.volumes.placement import Placement
from eenet_runtime.volumes.pose import Pose

_LOOP_POINTS_MM: Final = 8
"""Distance of the points of the brain at which two ways are compared."""
_BRIGHTEST: Final = 99.5
"""Percentile of the brain that is white in pictures."""


@dataclass(frozen=True)
class Chain:
    """How raw cases are dealt with.

    Attributes:
        masker: says where the brain is.
        masker_name: what its masks follow from, for reports and for resuming.
        pose: which way the training's heads lie, as a bundle spells it.
        spacing_mm: edge of the network's voxels.
        stripped: whether the caller says that heads are stripped; otherwise they are looked at.
        engine: of the registration: `auto`, `native` or `numpy`.
        threads: by default as many as the process may use.
        margin_mm: room round the brain on the network's grid.
        brats: whether heads are laid on the grid of BraTS instead of one round the brain; its voxels are of 1 mm.
    """

    masker: BrainMasker
    masker_name: str
    pose: Pose
    spacing_mm: float
    stripped: bool = False
    engine: Engine = "auto"
    threads: int | None = None
    margin_mm: float = MARGIN_MM
    brats: bool = False

    @property
    def identity(self) -> dict[str, str]:
        """What results follow from besides the inputs and the network; both engines of registration give one."""
        return {"strip": self.masker_name, "pose": self.pose.value}

    def grid_for(self, brain: BrainMask, t1ce_to_pose: NDArray[np.float64]) -> Grid:
        """Where the images of a head go, in the pose's world.

        Raises:
            CaseError: the mask is no brain's.
        """
        if self.brats:
            return brats_target(brain.mask, brain.grid, t1ce_to_pose)
        return target_grid(brain.mask, brain.grid, t1ce_to_pose, self.spacing_mm, self.margin_mm)

    def prepare(self) -> None:
        """Load what the masker needs, where that takes a while; it does so by itself, but later."""
        if isinstance(self.masker, Stripper):
            self.masker.prepare()

    def release(self) -> None:
        """Free what the masker holds in memory; it loads it again when it is needed."""
        if isinstance(self.masker, Stripper):
            self.masker.close()


@dataclass(frozen=True)
class Hooks:
    """What a caller does between the steps.

    Attributes:
        stage: entered round every step with its name; may raise to stop the case.
        alone: entered round the strip network, which needs memory and processors for itself.
        judge: told what speaks against the case so far, and all figures; raises to refuse it.
    """

    stage: Callable[[str], AbstractContextManager[None]] = field(default=lambda name: nullcontext())
    alone: Callable[[], AbstractContextManager[None]] = field(default=lambda: nullcontext())
    judge: Callable[[tuple[Finding, ...], HeadFigures], object] = field(default=lambda findings, figures: None)


@dataclass(frozen=True)
class Examined:
    """A raw case of which everything is known but its voxels on the network's grid.

    Attributes:
        way: what was done.
        aligned: where the series lie against each other.
        brain: the brain mask.
        t1ce_to_pose: float64 (4, 4), from the T1ce's world to the pose's.
        figures: of every step.
        findings: what speaks against the case.
    """

    way: Way
    aligned: Aligned
    brain: BrainMask
    t1ce_to_pose: NDArray[np.float64]
    figures: HeadFigures
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class AlignedHead:
    """A raw case as the network and a reader get it.

    Attributes:
        images: the series on the grid of the network's voxels, 0 outside the brain.
        reference: the T1ce's header and grid, on which the mask is written; its voxels are let go.
        brain: bool, the brain on the grid of `images`.
        native_brain: bool, the brain on the T1ce's own grid.
        brain_mask: the same on its own grid of 1 mm, in the T1ce's world.
        t1ce_to: float64 (4, 4) for each series, from the T1ce's world to its own.
        greys: the series on the grid of `images` before anything was taken away, uint8, for pictures.
        reference_to_pose: float64 (4, 4), from the T1ce's world to the world of `images`.
        findings: what speaks against the case.
        facts: matrices and figures for the report.
    """

    images: CaseImages
    reference: Volume
    brain: NDArray[np.bool_] = field(repr=False)
    native_brain: NDArray[np.bool_] = field(repr=False)
    brain_mask: BrainMask = field(repr=False)
    t1ce_to: Mapping[Modality, NDArray[np.float64]] = field(repr=False)
    greys: Mapping[Modality, NDArray[np.uint8]] = field(repr=False)
    reference_to_pose: NDArray[np.float64]
    findings: tuple[Finding, ...]
    facts: dict[str, Any]

    def way_back(self, placement: Placement) -> WayBack:
        """From where the network's box was placed on the grid of `images` to the T1ce's own grid."""
        return WayBack.of(placement, self.images.grid, self.reference.grid, self.reference_to_pose)


def way_through(volumes: Mapping[Modality, Volume], chain: Chain) -> Way:
    """What has to be done with these series; those that are partly stripped are found out by the doubts."""
    stripped = chain.stripped or len(stripped_series(volumes)) == len(volumes)
    return way_of(volumes, stripped)


def examine(case_id: str, volumes: Mapping[Modality, Volume], chain: Chain, hooks: Hooks = Hooks()) -> Examined:
    """Register, strip and turn a case that is not ready as it is given.

    Args:
        case_id: the case's name, for messages.
        volumes: its series, each on its own grid.
        chain: how.
        hooks: what to do between the steps.

    Raises:
        CaseError: the T1ce or the T1 is missing, a step cannot be done, or a finding refuses the case.
        BackendError: this machine cannot do a step.
    """
    require_series(case_id, volumes)
    t1ce = volumes[Modality.T1CE]
    sources = {modality: volume.source for modality, volume in volumes.items()}
    way = way_through(volumes, chain)
    stripped = tuple(volumes) if chain.stripped else stripped_series(volumes)
    figures = HeadFigures(sources, stripped, t1ce_spacing_mm=t1ce.grid.spacing_mm)
    hooks.judge(find_doubts(figures), figures)
    with _prepared_beside(chain, way) as prepared:
        with hooks.stage("register"):
            aligned = align_series(volumes, chain.engine, chain.threads)
            figures = replace(figures, pairs=aligned.pairs)
        hooks.judge(find_doubts(figures), figures)
        masker = StrippedHeads() if way is Way.REGISTERED else chain.masker
        with hooks.alone(), hooks.stage("strip"):
            prepared()
            brain = masker.strip(t1ce, volumes[Modality.T1], aligned.t1ce_to[Modality.T1])
    figures = replace(figures, brain=brain.figures, loop_mm=loop_mm(aligned, _points_of(brain)))
    hooks.judge(find_doubts(figures), figures)
    with hooks.stage("pose"):
        fit = find_pose(t1ce, brain.mask, brain.grid, chain.pose, threads=chain.threads, engine=chain.engine)
        # The scanner's own axes may lie obliquely; a network sees heads along the axes of their T1ce.
        t1ce_to_pose = native_pose(t1ce.grid) if chain.pose is Pose.NATIVE else fit.t1ce_to_pose
    figures = replace(figures, pose=PoseFigures(fit.nmi, fit.sharpness, fit.consensus))
    findings = (*find_doubts(figures), *find_two_orientations(CaseImages(case_id, dict(volumes))))
    hooks.judge(findings, figures)
    return Examined(way, aligned, brain, t1ce_to_pose, figures, findings)


def lay_out(
    case_id: str, volumes: Mapping[Modality, Volume], examined: Examined, chain: Chain, hooks: Hooks = Hooks()
) -> AlignedHead:
    """Bring every series once to the grid of the network's voxels, and take away what is no brain.

    Args:
        case_id: the case's name.
        volumes: its series.
        examined: of `examine`.
        chain: how.
        hooks: what to do between the steps.

    Raises:
        CaseError: the brain mask is no brain's.
    """
    t1ce = volumes[Modality.T1CE]
    pose_to_t1ce = inverse(examined.t1ce_to_pose)
    with hooks.stage("resample"):
        brain_mask, threads = examined.brain, chain.threads
        target = chain.grid_for(brain_mask, examined.t1ce_to_pose)
        brain = brain_on(brain_mask, target, pose_to_t1ce, threads)
        greys, images = {}, {}
        for modality in (name for name in CHANNEL_ORDER if name in volumes):
            volume = volumes[modality]
            data = resample(volume, target, examined.aligned.t1ce_to[modality] @ pose_to_t1ce, threads=threads)
            greys[modality] = _grey(data, brain)
            data[~brain] = 0
            header = volume_of_array(np.broadcast_to(np.float32(0), target.shape), target.affine, volume.source).header
            images[modality] = replace(volume, data=data, grid=target, header=header)
        native_brain = brain_on(brain_mask, t1ce.grid, np.eye(4), threads)
    return AlignedHead(
        images=CaseImages(case_id, images),
        reference=replace(t1ce, data=np.broadcast_to(np.float32(0), t1ce.grid.shape)),
        brain=brain,
        native_brain=native_brain,
        brain_mask=brain_mask,
        t1ce_to=examined.aligned.t1ce_to,
        greys=greys,
        reference_to_pose=examined.t1ce_to_pose,
        findings=examined.findings,
        facts=_facts(examined, chain, target),
    )


@contextmanager
def _prepared_beside(chain: Chain, way: Way) -> Iterator[Callable[[], None]]:
    """Load the masker in a thread of its own meanwhile; what is given waits for it. At the end its memory is free."""
    if way is not Way.STRIPPED:
        yield lambda: None
        return
    with ThreadPoolExecutor(1) as loader:
        loading = loader.submit(chain.prepare)
        try:
            yield loading.result
        finally:
            loading.cancel()
            wait([loading])
            chain.release()


def brain_on(
    brain: BrainMask, target: Grid, target_to_t1ce: NDArray[np.float64], threads: int | None
) -> NDArray[np.bool_]:
    """The mask on another grid: where at least half of a voxel is brain."""
    return np.asarray(resample_array(brain.mask, brain.grid, target, target_to_t1ce, threads=threads) >= 0.5)


def _points_of(brain: BrainMask) -> NDArray[np.float64]:
    """Points of the brain, (N, 3), in the T1ce's world."""
    steps = [max(1, round(_LOOP_POINTS_MM / spacing)) for spacing in brain.grid.spacing_mm]
    indices = np.argwhere(brain.mask[tuple(slice(step // 2, None, step) for step in steps)])
    stored = indices * steps + np.array(steps) // 2
    return np.asarray(stored @ brain.grid.affine[:3, :3].T + brain.grid.affine[:3, 3])


def _grey(data: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """An image for the eye: 0 where there is none, else 1 to 255, white from the brain's brightest on."""
    inside = data[brain]
    white = float(np.percentile(inside, _BRIGHTEST)) if inside.size else 0.0
    if not white > 0:
        return np.zeros(data.shape, np.uint8)
    levels: NDArray[np.uint8] = np.clip(data * (254 / white), 0, 254).astype(np.uint8)
    levels += np.uint8(1)
    levels[data == 0] = 0
    return levels


def _facts(examined: Examined, chain: Chain, target: Grid) -> dict[str, Any]:
    """What a report says of the way, in plain values."""
    return {
        "way": examined.way.value,
        "pose": chain.pose.value,
        "brain_mask": examined.brain.source,
        "t1ce_to_series": {modality.value: _rows(matrix) for modality, matrix in examined.aligned.t1ce_to.items()},
        "t1ce_to_pose": _rows(examined.t1ce_to_pose),
        "network_grid": {"shape": list(target.shape), "affine": _rows(target.affine)},
        "figures": examined.figures.as_json(),
    }


def _rows(matrix: NDArray[np.float64]) -> list[list[float]]:
    return [[round(float(value), 7) for value in row] for row in matrix]
