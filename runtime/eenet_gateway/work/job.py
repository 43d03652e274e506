"""The computation of one study as it runs in the worker's process: images in a folder in, DICOM objects out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eenet_gateway.config.settings import Model
from eenet_runtime.errors import DatasetError

if TYPE_CHECKING:
    from eenet_runtime.segmenter.segmenter import Segmenter


@dataclass(frozen=True)
class JobRequest:
    """One study.

    Attributes:
        images: a folder with its images and no others.
        results: an empty folder for what is made of it.
        choices: contrast -> series, where somebody chose by hand.
        model: what computes.
    """

    images: Path
    results: Path
    choices: Mapping[str, str]
    model: Model


@dataclass(frozen=True)
class JobFile:
    """One DICOM object that was made: `seg`, `sr` or `sc`, and its name in the folder of the results."""

    kind: str
    name: str


def segment(request: JobRequest) -> tuple[JobFile, ...]:
    """Segment a study and write its segmentation, report and secondary captures; files without DICOM lie beside them.

    Raises:
        CaseError, DatasetError: the study is refused.
        BundleError, BackendError: the model cannot be used.
    """
    # The process that receives imports this module, too, and shall stay small.
    from eenet_runtime.dicom.studies import find_studies
    from eenet_runtime.dicom.study_files import segment_study_to_files
    from eenet_runtime.volumes.labels import Modality

    found = find_studies(request.images, request.model.site_rules, threads=request.model.threads)
    if len(found.studies) != 1:
        raise DatasetError(f"{len(found.studies)} studies among its images, expected one")
    study = found.studies[0].settled({Modality(name): series for name, series in request.choices.items()})
    segment_study_to_files(_warm(request.model), study, request.results)
    return tuple(
        JobFile(kind, path.name)
        for kind, pattern in (("seg", "seg.dcm"), ("sr", "report.dcm"), ("sc", "preview.dcm"), ("sc", "overlay_*.dcm"))
        for path in sorted(request.results.glob(pattern), key=lambda path: (len(path.name), path.name))
    )


def load_model(model: Model, selftest: bool = False) -> Segmenter:
    """The model as a gateway uses it: on heads as the scanner made them.

    Raises:
        BundleError, BackendError, SelfTestError: it cannot be used.
    """
    from eenet_runtime.segmenter.raw_settings import RawSettings
    from eenet_runtime.segmenter.segmenter import Segmenter

    return Segmenter(
        model.bundle,
        backend=model.backend,
        device=model.device,
        precision=model.precision,
        threads=model.threads,
        public_key=model.public_key,
        raw=RawSettings(stripped=model.stripped),
        selftest=selftest,
    )


_LOADED: dict[Model, Segmenter] = {}
"""The model of this process, which serves one gateway: loaded with the first study, warm for the others."""


def _warm(model: Model) -> Segmenter:
    if model not in _LOADED:
        _LOADED[model] = load_model(model)
    return _LOADED[model]
