"""The end of a case's way: from what the network gave to a mask on the patient's grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.bundle.manifest import PostprocessingSettings
from eenet_runtime.codes import Reason
from eenet_runtime.segmenter.case_stages import ComputedCase
from eenet_runtime.segmenter.postprocessing import Cleaning, clean, restore, restore_labels
from eenet_runtime.segmenter.segmentation import NetworkProbabilities, Provenance, Segmentation, Stopwatch
from eenet_runtime.volumes.labels import Region


def bring_back(
    computed: ComputedCase, postprocessing: PostprocessingSettings, provenance: Provenance, threads: int | None
) -> Segmentation:
    """Classes on the patient's grid, cleaned and measured.

    Args:
        computed: the case, out of the network.
        postprocessing: the steps after it.
        provenance: what computed it.
        threads: for resampling; by default as many as the process may use.

    Raises:
        CaseTimeoutError, CaseCancelledError: the case must stop.
    """
    case = computed.case
    watch = Stopwatch(case.seconds)
    grid, placement, head = case.images.grid, computed.placement, case.head
    way_back = None if head is None else head.way_back(placement)
    case.limits.check("restore")
    with watch.stage("restore"):
        if computed.probabilities is None:
            assert computed.labels is not None
            labels = restore_labels(computed.labels, placement, grid)
        elif way_back is None:
            labels = restore(computed.probabilities, placement, grid)
        else:
            labels = way_back.labels(computed.probabilities, threads)
    case.limits.check("clean")
    with watch.stage("clean"):
        if head is None:
            inside: list[NDArray[np.generic]] = [volume.data for volume in case.images.volumes.values()]
        else:
            grid, inside = head.reference.grid, [head.native_brain]
        tumour = clean(labels, grid.voxel_ml, postprocessing, inside)
    kept = None
    if computed.keep_probabilities and computed.probabilities is not None:
        kept = NetworkProbabilities(computed.probabilities, placement, way_back)
    return Segmentation(
        case_id=case.case_id,
        labels=labels,
        images=case.images,
        volumes_ml=tumour.volumes_ml,
        components=tumour.components,
        cleaning=tumour.cleaning,
        head_voxels_outside=computed.head_voxels_outside,
        notes=case.warnings + result_warnings(tumour.volumes_ml, tumour.cleaning),
        seconds=watch.seconds,
        provenance=provenance,
        scheme=case.scheme,
        probabilities=kept,
        findings=case.findings,
        head=head,
        raw=case.raw,
    )


def result_warnings(volumes: dict[Region, float], cleaning: Cleaning) -> tuple[Reason, ...]:
    """What a reader of the mask should know of what came out, and of what was taken away."""
    warnings = []
    if volumes[Region.WT] == 0:
        warnings.append(Reason("empty-mask", "no tumour found: the mask is empty"))
    if cleaning.dropped_components:
        dropped = f"{cleaning.dropped_components} small components of {cleaning.dropped_ml:.2f} ml were dropped"
        warnings.append(Reason("small-components", dropped))
    if cleaning.enhancing_relabelled_ml:
        relabelled = f"an enhancing tumour of {cleaning.enhancing_relabelled_ml:.2f} ml was relabelled as NCR"
        warnings.append(Reason("enhancing-relabelled", relabelled))
    return tuple(warnings)
