"""A study through the model, and the DICOM objects that say what came out of it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eenet_runtime.dicom.pixels import read_series
from eenet_runtime.dicom.quality import quality_of
from eenet_runtime.dicom.roles import Decision
from eenet_runtime.dicom.studies import Study
from eenet_runtime.dicom.writing.identifiers import ResultIdentifiers, result_identifiers
from eenet_runtime.dicom.writing.model_identity import ModelIdentity, model_identity
from eenet_runtime.dicom.writing.saving import save_dataset
from eenet_runtime.dicom.writing.secondary_capture import overlay_objects, preview_object
from eenet_runtime.dicom.writing.seg import SegKind, fractional_object, segmentation_object
from eenet_runtime.dicom.writing.source_images import SourceImages, source_images
from eenet_runtime.dicom.writing.structured_report import report_object
from eenet_runtime.errors import CaseError
from eenet_runtime.files.atomic import make_output_folder
from eenet_runtime.results.mask_settings import MaskSettings
from eenet_runtime.results.preview import render_preview
from eenet_runtime.segmenter.probability_maps import class_probabilities
from eenet_runtime.segmenter.segmentation import Segmentation
from eenet_runtime.segmenter.segmenter import Segmenter
from eenet_runtime.volumes.grid import to_stored_order
from eenet_runtime.volumes.labels import Modality
from eenet_runtime.volumes.measurements import Measurements, measure

if TYPE_CHECKING:
    from eenet_runtime.segmenter.limits import Cancellation


class DicomObject(StrEnum):
    """What may be written for a study, by its role and the stem of its file's name."""

    SEG = "seg"
    PROBABILITIES = "probabilities"
    REPORT = "report"
    PREVIEW = "preview"
    OVERLAY = "overlay"


@dataclass(frozen=True)
class DicomOutputs:
    """Which objects to make.

    Attributes:
        seg: how the segmentation stores its voxels.
        pictures: whether to make the preview and the series of outlines.
        probabilities: whether to make probability maps; the segmentation must hold its probabilities.
    """

    seg: SegKind = SegKind.BINARY
    pictures: bool = True
    probabilities: bool = False


@dataclass(frozen=True)
class StudySegmentation:
    """The result for a study.

    Attributes:
        study: what was read.
        chosen: for each contrast the series that was used.
        segmentation: the mask on the T1ce's grid, and everything else that a case gives.
        settings: what it was made with.
    """

    study: Study
    chosen: Mapping[Modality, Decision]
    segmentation: Segmentation = field(repr=False)
    settings: MaskSettings

    @cached_property
    def source(self) -> SourceImages:
        """The T1ce, to which every object refers.

        Raises:
            CaseError: a file of it has changed.
        """
        return source_images(self.chosen[Modality.T1CE].series)

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        """The mask, network classes (X, Y, Z) in the order in which the T1ce's series is read."""
        return self._like_source(self.segmentation.labels)

    @cached_property
    def measurements(self) -> Measurements:
        """Volumes and diameters."""
        return measure(self.labels, self.source.grid)

    @property
    def model(self) -> ModelIdentity:
        """What computed it."""
        return model_identity(self.segmentation.provenance)

    def identifiers(self, kind: SegKind = SegKind.BINARY) -> ResultIdentifiers:
        """Unique identifiers that follow from the inputs, the model, the settings and the kind alone."""
        sources = {piece.instance.sop_uid for one in self.chosen.values() for piece in one.series.slices}
        settings = self.settings
        fixed = {
            **self.model.settings,
            "seg": kind.value,
            "artifact": settings.artifact,
            "checks": settings.checks,
            "postprocessing": repr(sorted(settings.postprocessing.items())),
            "raw": repr(sorted((settings.raw or {}).items())),
        }
        return result_identifiers(self.study.uid, sorted(sources), settings.bundle_id, fixed)

    def save_dicom(self, folder: Path | str, outputs: DicomOutputs = DicomOutputs()) -> dict[str, Path]:
        """Write the DICOM objects: `seg.dcm`, `report.dcm`, and what else is asked for, each of them whole or not.

        An empty mask has no segmentation: a report of zero volumes says that nothing was found.

        Args:
            folder: made if it is not there.
            outputs: what to write.

        Returns:
            Path by name: `seg`, `report`, `preview`, `overlay_1`, ...

        Raises:
            CaseError: a source file has changed since it was read.
            OutputError: something cannot be written.
            ValueError: probability maps of a result that holds no probabilities.
        """
        folder = Path(folder)
        make_output_folder(folder)
        written = {}
        for name, dataset in self.objects(outputs).items():
            written[name] = folder / f"{name}.dcm"
            save_dataset(dataset, written[name])
        return written

    def objects(self, outputs: DicomOutputs = DicomOutputs()) -> dict[str, Any]:
        """The DICOM objects as pydicom data sets, by name; see `save_dicom`."""
        source, model, identifiers = self.source, self.model, self.identifiers(outputs.seg)
        made: dict[str, Any] = {}
        seg = segmentation_object(self.labels, source, model, identifiers, outputs.seg)
        if seg is not None:
            made[DicomObject.SEG.value] = seg
        if outputs.probabilities:
            maps = self._like_source(class_probabilities(self.segmentation))
            fractional = fractional_object(maps, source, model, identifiers)
            if fractional is not None:
                made[DicomObject.PROBABILITIES.value] = fractional
        warnings = self.segmentation.warnings
        made[DicomObject.REPORT.value] = report_object(
            self.measurements, source, seg, model, identifiers, self.quality, warnings
        )
        if outputs.pictures:
            made[DicomObject.PREVIEW.value] = preview_object(self._preview(), source, model, identifiers)
            t1ce = read_series(self.chosen[Modality.T1CE].series)
            slides = overlay_objects(t1ce.data, self.labels, source, model, identifiers, self._brain())
            made |= {f"{DicomObject.OVERLAY}_{number}": slide for number, slide in enumerate(slides, 1)}
        return made

    @property
    def quality(self) -> dict[str, float | str]:
        """Figures of the steps before the network, by name, as far as there were such steps."""
        return quality_of(self.segmentation.raw)

    def _brain(self) -> NDArray[np.bool_] | None:
        head = self.segmentation.head
        return None if head is None else self._like_source(head.native_brain)

    @cached_property
    def preview(self) -> bytes:
        """The picture, as the bytes of a PNG. It names no case: a study's number is another one in another tree."""
        return render_preview(self.segmentation)

    def _preview(self) -> NDArray[np.uint8]:
        return np.asarray(Image.open(io.BytesIO(self.preview)).convert("RGB"))

    def _like_source(self, volume: NDArray[Any]) -> NDArray[Any]:
        """A volume on the grid of `reference`, which may be the T1's, in the order of the T1ce's series."""
        turned, grid = to_stored_order(volume, self.segmentation.reference.grid, self.source.grid)
        if not grid.matches(self.source.grid):
            name = self.chosen[Modality.T1CE].series.source
            raise CaseError(
                f"{name}: its grid ({self.source.grid.describe()}) is not the mask's ({grid.describe()}), "
                "expected files that have not changed",
                code="changed-file",
            )
        return turned


def segment_study(
    segmenter: Segmenter,
    study: Study,
    *,
    cancel: Cancellation | None = None,
    time_limit_s: float | None = None,
    keep_probabilities: bool = False,
) -> StudySegmentation:
    """Segment a study.

    Args:
        segmenter: the model; made with `raw=True` unless series come registered and stripped.
        study: of `find_studies`; what is ambiguous in it is settled before with `Study.settled`.
        cancel, time_limit_s, keep_probabilities: see `Segmenter.segment`.

    Raises:
        CaseError: a contrast is ambiguous or missing, there is no T1ce, a series is unreadable, or the case is refused.
        CaseTimeoutError, CaseCancelledError, BackendError: see `Segmenter.segment`.
    """
    chosen = study.chosen(segmenter.allow_missing)
    if Modality.T1CE not in chosen:
        raise CaseError(
            f"study {study.number}: no t1ce found, expected one: results refer to its images", code="missing-modality"
        )
    segmentation = segmenter.segment(
        study, cancel=cancel, time_limit_s=time_limit_s, keep_probabilities=keep_probabilities
    )
    return StudySegmentation(study, chosen, segmentation, MaskSettings.of(segmenter))
