"""The lean runtime of the EENet toolkit: four MRI volumes in, a tumour mask on the patient's own grid out.

Names are loaded when they are first used, so `import eenet_runtime` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from eenet_runtime._version import __version__

if TYPE_CHECKING:
    from eenet_runtime.bundle.manifest import Bundle, open_bundle
    from eenet_runtime.cases.case_files import CaseFiles, case_from_paths
    from eenet_runtime.cases.content_checks import CheckPolicy
    from eenet_runtime.cases.discovery import find_cases
    from eenet_runtime.cases.inputs import ImageArray
    from eenet_runtime.dicom.studies import Study, find_studies
    from eenet_runtime.errors import (
        BackendError,
        BundleError,
        CaseCancelledError,
        CaseError,
        CaseTimeoutError,
        DatasetError,
        EENetError,
        OutputError,
    )
    from eenet_runtime.folders.folder import segment_folder
    from eenet_runtime.segmenter.limits import Cancellation
    from eenet_runtime.segmenter.raw_settings import RawSettings
    from eenet_runtime.segmenter.segmentation import Provenance, Segmentation
    from eenet_runtime.segmenter.segmenter import Segmenter
    from eenet_runtime.volumes.labels import Label, Modality, Region

_HOMES = {
    "Bundle": "bundle.manifest",
    "open_bundle": "bundle.manifest",
    "CaseFiles": "cases.case_files",
    "case_from_paths": "cases.case_files",
    "find_cases": "cases.discovery",
    "Study": "dicom.studies",
    "find_studies": "dicom.studies",
    "BackendError": "errors",
    "BundleError": "errors",
    "CaseCancelledError": "errors",
    "CaseError": "errors",
    "CaseTimeoutError": "errors",
    "CheckPolicy": "cases.content_checks",
    "DatasetError": "errors",
    "EENetError": "errors",
    "OutputError": "errors",
    "segment_folder": "folders.folder",
    "Label": "volumes.labels",
    "Modality": "volumes.labels",
    "Region": "volumes.labels",
    "Cancellation": "segmenter.limits",
    "RawSettings": "segmenter.raw_settings",
    "ImageArray": "cases.inputs",
    "Provenance": "segmenter.segmentation",
    "Segmentation": "segmenter.segmentation",
    "Segmenter": "segmenter.segmenter",
}

__all__ = [
    "BackendError",
    "Bundle",
    "BundleError",
    "Cancellation",
    "CaseCancelledError",
    "CaseError",
    "CaseFiles",
    "CaseTimeoutError",
    "CheckPolicy",
    "DatasetError",
    "EENetError",
    "ImageArray",
    "Label",
    "Modality",
    "OutputError",
    "Provenance",
    "RawSettings",
    "Region",
    "Segmentation",
    "Segmenter",
    "Study",
    "__version__",
    "case_from_paths",
    "find_cases",
    "find_studies",
    "open_bundle",
    "segment_folder",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
