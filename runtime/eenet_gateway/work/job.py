"""The computation of one study, as it runs in the worker's process: images in a folder in, DICOM objects in a folder
out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from eenet_gateway.config.settings import Model
from eenet_runtime.dicom.studies import find_studies, settle
from eenet_runtime.errors import CaseError
from eenet_runtime.volumes.labels import Modality


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
        CaseError: the study is refused.
        BundleError, BackendError: the model cannot be used.
    """
    found = find_studies(request.images, request.model.site_rules, threads=request.model.threads)
    if len(found.studies) != 1:
        raise CaseError(f"{len(found.studies)} studies among its images, expected one")
    study = found.studies[0]
    answers = settle(study, {Modality(name): series for name, series in request.choices.items()})
    result = import_module("eenet_runtime.dicom.result")
    saved: Any = result.segment_study(_segmenter(request.model), study, answers).save(request.results)
    made = [("seg", saved.seg), ("sr", saved.report), *(("sc", capture) for capture in saved.captures)]
    return tuple(JobFile(kind, str(path.relative_to(request.results))) for kind, path in made if path is not None)


_LOADED: dict[Model, Any] = {}
"""The model of this process, which serves one gateway: loaded with the first study, warm for the others."""


def _segmenter(model: Model) -> Any:
    if model not in _LOADED:
        from eenet_runtime.segmenter.raw_settings import RawSettings
        from eenet_runtime.segmenter.segmenter import Segmenter

        _LOADED[model] = Segmenter(
            model.bundle,
            backend=model.backend,
            device=model.device,
            precision=model.precision,
            threads=model.threads,
            public_key=model.public_key,
            raw=RawSettings(stripped=model.stripped),
        )
    return _LOADED[model]
