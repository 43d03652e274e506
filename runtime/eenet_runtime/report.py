"""The JSON report beside a mask: what was read, what ran, what came out. No voxels, no header text."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from eenet_runtime._version import __version__
from eenet_runtime.case_files import CaseFiles
from eenet_runtime.files import sha256_of_file
from eenet_runtime.labels import CHANNEL_ORDER, Label, LabelScheme
from eenet_runtime.segmenter import Segmentation, Segmenter

REPORT_SCHEMA_VERSION: Final = 1


@dataclass(frozen=True)
class CaseReport:
    """Everything that a reader of one mask may ask. Written as `<case>.json`.

    Attributes:
        case_id: the case's name.
        inputs: for each modality its file, channel and SHA-256.
        bundle: identity and provenance of the model, and which key it was signed with.
        engine: what computed, in which precision, on which device, and whether it was tested there.
        postprocessing: the settings that were applied.
        mask: name, SHA-256 and label values of the mask.
        volumes_ml: volumes of ET, TC and WT.
        components: connected components of the whole tumour.
        cleaning: what the post-processing did.
        head_voxels_outside: head voxels that the network did not see.
        warnings: plain sentences.
        seconds: time by stage.
        dice: Dice against the case's own label, where it has one.
        eenet_version, created: which toolkit, when (UTC).
    """

    case_id: str
    inputs: dict[str, dict[str, Any]]
    bundle: dict[str, Any]
    engine: dict[str, Any]
    postprocessing: dict[str, float]
    mask: dict[str, Any]
    volumes_ml: dict[str, float]
    components: int
    cleaning: dict[str, Any]
    head_voxels_outside: int
    warnings: tuple[str, ...]
    seconds: dict[str, float]
    dice: dict[str, float] | None
    eenet_version: str
    created: str

    def to_json(self) -> str:
        """The text of the report file."""
        return json.dumps({"schema_version": REPORT_SCHEMA_VERSION, "status": "done", **asdict(self)}, indent=2) + "\n"


def make_report(
    segmentation: Segmentation,
    files: CaseFiles,
    segmenter: Segmenter,
    *,
    scheme: LabelScheme,
    mask_name: str,
    mask_sha256: str,
    dice: dict[str, float] | None,
    more_warnings: tuple[str, ...] = (),
) -> CaseReport:
    """Gather the report of a finished case."""
    manifest = segmenter.bundle.manifest
    artifact = segmenter.artifact
    return CaseReport(
        case_id=segmentation.case_id,
        inputs=_inputs(files),
        bundle={
            "id": segmenter.bundle.bundle_id,
            "name": manifest.name,
            "preset": manifest.preset.name,
            "signature": segmenter.bundle.signature,
            "provenance": dict(manifest.provenance),
        },
        engine={
            "backend": segmenter.backend.name,
            "version": segmenter.backend.version,
            "device": segmenter.backend.device,
            "artifact": artifact.path,
            "precision": artifact.precision,
            "why": segmenter.why,
            "weights_precision": artifact.weights_precision,
            "self_test": "passed" if segmenter.self_test is not None else "not asked for",
        },
        postprocessing=asdict(segmenter.postprocessing),
        mask={
            "file": mask_name,
            "sha256": mask_sha256,
            "scheme": scheme.name,
            "values": {label.name: scheme.file_values[label] for label in Label},
        },
        volumes_ml={region.value: round(volume, 3) for region, volume in segmentation.volumes_ml.items()},
        components=segmentation.components,
        cleaning=asdict(segmentation.cleaning),
        head_voxels_outside=segmentation.head_voxels_outside,
        warnings=segmentation.warnings + more_warnings,
        seconds={stage: round(seconds, 4) for stage, seconds in segmentation.seconds.items()},
        dice=dice,
        eenet_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _inputs(files: CaseFiles) -> dict[str, dict[str, Any]]:
    hashes = {path: sha256_of_file(path) for path in {source.path for source in files.images.values()}}
    return {
        modality.value: {
            "file": str(files.images[modality].path),
            "channel": files.images[modality].channel,
            "sha256": hashes[files.images[modality].path],
        }
        for modality in CHANNEL_ORDER
    }
