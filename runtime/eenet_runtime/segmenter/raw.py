"""Raw heads in a `Segmenter`: which chain its settings mean, and a case's way through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Final

from eenet_runtime.bundle.manifest import Bundle
from eenet_runtime.cases.content_checks import CheckPolicy, judge
from eenet_runtime.cases.inputs import CaseInput, load_series
from eenet_runtime.cases.preprocessing import on_one_grid
from eenet_runtime.codes import Reason
from eenet_runtime.errors import BundleError
from eenet_runtime.files.nifti import sha256_of_image
from eenet_runtime.heads.raw_case import Chain, Hooks, examine, lay_out, way_through
from eenet_runtime.heads.series import NEEDED, Way, require_series
from eenet_runtime.heads.stripping.brain_mask import BrainMasker
from eenet_runtime.heads.stripping.given_masks import MaskCommand, MaskFile, StrippedHeads
from eenet_runtime.heads.stripping.stripper import Stripper
from eenet_runtime.segmenter.case_stages import OnNetworkGrid
from eenet_runtime.segmenter.limits import Limits
from eenet_runtime.segmenter.raw_settings import RawSettings
from eenet_runtime.segmenter.segmentation import Stopwatch
from eenet_runtime.volumes.labels import Modality
from eenet_runtime.volumes.pose import Pose

_AS_GIVEN: Final = Reason("as-given", "the series came stripped and on one grid: nothing was registered or stripped")
_NUMPY: Final = Reason(
    "slow-registration", "registered without the compiled package (eenet-native): slower, with the same result"
)


def chain_of(settings: RawSettings, bundle: Bundle, threads: int | None = None) -> Chain:
    """The chain for a model.

    Args:
        settings: what the caller asked for.
        bundle: the model, whose voxels and pose the heads get.
        threads: by default as many as the process may use.

    Raises:
        BundleError: no strip bundle is there, or it is damaged; or an unknown pose was asked for.
        CaseError: the brain mask cannot be read.
        EENetError: a strip command without its places.
    """
    pose = settings.pose if settings.pose is not None else bundle.manifest.pose
    return chain_for(settings, bundle.manifest.preset.spacing_mm, pose, threads)


def chain_for(settings: RawSettings, spacing_mm: float, pose: str, threads: int | None = None) -> Chain:
    """The chain to voxels of a size and a pose, without a model; see `chain_of`."""
    try:
        turned = Pose(pose)
    except ValueError:
        raise BundleError(f"pose {pose!r} found, expected one of {', '.join(Pose)}") from None
    masker, name = _masker(settings, threads)
    return Chain(masker, name, turned, spacing_mm, settings.stripped, settings.engine, threads)


def brats_chain(settings: RawSettings, spacing_mm: float, pose: str, threads: int | None = None) -> Chain:
    """The same to the grid of BraTS, whatever a network sees; see `chain_of`."""
    return replace(chain_for(settings, spacing_mm, pose, threads), brats=True)


def require_may_lack(allow_missing: frozenset[Modality]) -> None:
    """Refuse a degraded mode without what raw cases need.

    Raises:
        BundleError: the T1ce or the T1 is allowed to be missing.
    """
    for modality in NEEDED:
        if modality in allow_missing:
            raise BundleError(f"{modality.value} allowed to be missing, but raw cases need it; allow t2 or flair")


def read_raw(
    case: CaseInput,
    case_id: str | None,
    allow_missing: frozenset[Modality],
    chain: Chain,
    checks: CheckPolicy,
    limits: Limits,
    watch: Stopwatch,
    alone: Callable[[], AbstractContextManager[None]],
) -> OnNetworkGrid:
    """Read a raw case and bring it to the network's grid. Nothing of its own grids is held afterwards but a header.

    Args:
        case, case_id, allow_missing: see `cases.inputs.load_series`.
        chain: what to do.
        checks: which findings refuse the case.
        limits: asked before every step.
        watch: told of every step.
        alone: entered round the strip network.

    Raises:
        CaseError: the case is refused.
        BackendError: this machine cannot do a step.
    """

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        limits.check(name)
        with watch.stage(name):
            yield

    with watch.stage("read"):
        series = load_series(case, case_id, allow_missing, chain.threads)
    name, volumes = series.case_id, series.volumes
    require_series(name, volumes)
    if way_through(volumes, chain) is Way.AS_GIVEN:
        facts = {"way": Way.AS_GIVEN.value}
        return OnNetworkGrid(on_one_grid(name, volumes), series.scheme, None, facts, warnings=(_AS_GIVEN,))
    hooks = Hooks(stage, alone, lambda findings, figures: judge(findings, checks, name))
    examined = examine(name, volumes, chain, hooks)
    head = lay_out(name, volumes, examined, chain, hooks)
    slow = any(pair.engine == "numpy" for pair in examined.figures.pairs)
    return OnNetworkGrid(head.images, series.scheme, head, head.facts, head.findings, (_NUMPY,) if slow else ())


def _masker(settings: RawSettings, threads: int | None) -> tuple[BrainMasker, str]:
    """What says where the brain is, and what its masks follow from."""
    if settings.stripped:
        return StrippedHeads(), "heads stripped before"
    if settings.brain_mask is not None:
        return MaskFile(settings.brain_mask), f"brain mask {sha256_of_image(settings.brain_mask)}"
    if settings.strip_command is not None:
        return MaskCommand(settings.strip_command), f"command {settings.strip_command}"
    stripper = Stripper(settings.strip_bundle, threads=threads)
    return stripper, f"strip bundle {stripper.bundle.bundle_id}"
