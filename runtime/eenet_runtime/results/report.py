"""The JSON report beside a mask: what was read, what ran, what came out. No voxels, no header text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from eenet_runtime._version import __version__
from eenet_runtime.bundle.manifest import Bundle
from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.cases.preprocessing import CaseImages
from eenet_runtime.printable import printable
from eenet_runtime.results.mask_settings import MaskSettings, PreprocessSettings
from eenet_runtime.segmenter.preprocessor import PreprocessedCase
from eenet_runtime.segmenter.segmentation import Segmentation
from eenet_runtime.volumes.labels import CHANNEL_ORDER, LabelScheme

REPORT_SCHEMA_VERSION: Final = 2


@dataclass(frozen=True)
class Remark:
    """A warning of a report.

    Attributes:
        text: a plain sentence.
        is_suspicion: whether somebody should look into it before the mask is used.
    """

    text: str
    is_suspicion: bool

    @property
    def kind(self) -> str:
        """The word for it, as every output spells it."""
        return "suspicion" if self.is_suspicion else "notice"

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


@dataclass(frozen=True)
class CaseReport:
    """Everything that a reader of one mask may ask. Written as `<case>.json`.

    Attributes:
        case_id: the case's name.
        inputs: for each modality that was there its file, channel and SHA-256.
        label: file and SHA-256 of the case's own label, where it has one.
        bundle: identity and provenance of the model, and which key it was signed with.
        engine: what computed, in which precision, on which device, why that one, and whether it was tested there.
        settings: what the results follow from besides the inputs, see `MaskSettings`.
        outputs: file and SHA-256 of every result: `mask`, `preview`, `probabilities`.
        mask: name, SHA-256, scheme and label values of the mask.
        volumes_ml: volumes of ET, TC and WT; of the brain where no network was run.
        components: connected components of the whole tumour.
        cleaning: what the post-processing did.
        head_voxels_outside: head voxels that the network did not see.
        warnings: plain sentences, those of the checks of the images among them.
        suspicions: those of the warnings that somebody should look into before the mask is used; the others are
            routine notices.
        seconds: time by stage. In a folder the stages of neighbouring cases overlap, so that their sum is more than
            the time that the case added.
        dice: Dice against the case's own label, where it has one.
        raw: of a raw case how it was brought to the network: matrices, figures, where its brain mask comes from; None
            where heads come ready.
        eenet_version, created: which toolkit, when (UTC).
    """

    case_id: str
    inputs: dict[str, dict[str, Any]]
    label: dict[str, Any] | None
    bundle: dict[str, Any]
    engine: dict[str, Any]
    settings: dict[str, Any]
    outputs: dict[str, dict[str, str]]
    mask: dict[str, Any]
    volumes_ml: dict[str, float]
    components: int
    cleaning: dict[str, Any]
    head_voxels_outside: int
    warnings: tuple[str, ...]
    suspicions: tuple[str, ...]
    seconds: dict[str, float]
    dice: dict[str, float] | None
    eenet_version: str
    created: str
    raw: dict[str, Any] | None = None

    @property
    def remarks(self) -> list[Remark]:
        """The warnings, suspicions first."""
        found = [Remark(str(warning), warning in self.suspicions) for warning in self.warnings]
        return sorted(found, key=lambda remark: not remark.is_suspicion)

    def to_json(self) -> str:
        """The text of the report file."""
        return json.dumps({"schema_version": REPORT_SCHEMA_VERSION, "status": "done", **asdict(self)}, indent=2) + "\n"

    @staticmethod
    def from_json(text: str | bytes) -> CaseReport:
        """Read a report of this schema version.

        Raises:
            ValueError: it is something else.
        """
        content = json.loads(text)
        if not isinstance(content, dict) or content.get("schema_version") != REPORT_SCHEMA_VERSION:
            raise ValueError(f"not a report of schema version {REPORT_SCHEMA_VERSION}")
        values: dict[str, Any] = {}
        for field in fields(CaseReport):
            value = content.get(field.name, _ADDED_LATER.get(field.name))
            if not isinstance(value, _JSON_TYPES[field.name]):
                raise ValueError(f"{field.name} is missing or has the wrong type")
            values[field.name] = tuple(value) if isinstance(value, list) else value
        return CaseReport(**values)


_JSON_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    **dict.fromkeys(("case_id", "eenet_version", "created"), (str,)),
    **dict.fromkeys(("inputs", "bundle", "engine", "settings", "outputs", "mask"), (dict,)),
    **dict.fromkeys(("volumes_ml", "cleaning", "seconds"), (dict,)),
    **dict.fromkeys(("components", "head_voxels_outside"), (int,)),
    **dict.fromkeys(("label", "dice", "raw"), (dict, type(None))),
    **dict.fromkeys(("warnings", "suspicions"), (list,)),
}
_ADDED_LATER: Final[Mapping[str, Any]] = {"suspicions": []}
"""What a report of this schema that was written before a field came in says by being silent."""


def read_report(path: Path) -> CaseReport | None:
    """The report in a file; None if there is none, or something that is no report of this schema version."""
    try:
        return CaseReport.from_json(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


@dataclass(frozen=True)
class WrittenFile:
    """One result on disk.

    Attributes:
        path: where it is.
        sha256: of its bytes.
    """

    path: Path
    sha256: str


def make_report(
    segmentation: Segmentation,
    files: CaseFiles,
    bundle: Bundle,
    settings: MaskSettings,
    *,
    scheme: LabelScheme,
    written: Mapping[str, WrittenFile],
    label_sha256: str | None,
    dice: dict[str, float] | None,
    more_warnings: tuple[str, ...] = (),
) -> CaseReport:
    """Gather the report of a finished case.

    Args:
        segmentation: the result.
        files: what it was made from.
        bundle: the model.
        settings: what it was made with.
        scheme: label values of the mask.
        written: the results on disk, `mask` among them.
        label_sha256: hash of the case's own label, None where there is none or it cannot be read.
        dice: agreement with that label.
        more_warnings: on top of those of the result.
    """
    made_by = segmentation.provenance
    outputs = {name: {"file": file.path.name, "sha256": file.sha256} for name, file in written.items()}
    return CaseReport(
        case_id=segmentation.case_id,
        inputs=_inputs(segmentation.images, files),
        label=None if files.label is None else {"file": str(files.label), "sha256": label_sha256},
        bundle={
            "id": bundle.bundle_id,
            "name": bundle.manifest.name,
            "preset": bundle.manifest.preset.name,
            "signature": bundle.signature,
            "provenance": dict(bundle.manifest.provenance),
        },
        engine={
            "backend": made_by.backend,
            "version": made_by.backend_version,
            "device": made_by.device,
            "artifact": made_by.artifact,
            "precision": made_by.precision,
            "why": made_by.why,
            "weights_precision": made_by.weights_precision,
            "self_test": made_by.self_test,
            "versions": dict(made_by.versions),
        },
        settings=asdict(settings),
        outputs=outputs,
        mask={**outputs["mask"], "scheme": scheme.name, "values": scheme.values_by_name},
        volumes_ml={region.value: round(volume, 3) for region, volume in segmentation.volumes_ml.items()},
        components=segmentation.components,
        cleaning=asdict(segmentation.cleaning),
        head_voxels_outside=segmentation.head_voxels_outside,
        warnings=segmentation.warnings + more_warnings,
        suspicions=segmentation.suspicions,
        seconds={stage: round(seconds, 4) for stage, seconds in segmentation.seconds.items()},
        dice=dice,
        eenet_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        raw=segmentation.raw,
    )


def make_preprocess_report(
    case: PreprocessedCase,
    files: CaseFiles,
    settings: PreprocessSettings,
    values: dict[str, int],
    written: Mapping[str, WrittenFile],
    brain_ml: float,
    label_sha256: str | None,
) -> CaseReport:
    """Gather the report of a case that was registered and stripped; the mask is the brain's, and there is no model.

    Args:
        case: what was made of it.
        files: what it was made from.
        settings: what it was made with.
        values: what the values of the mask mean.
        written: the results on disk, `mask` among them.
        brain_ml: volume of the mask.
        label_sha256: hash of the case's own label, None where there is none or it cannot be read.
    """
    outputs = {name: {"file": file.path.name, "sha256": file.sha256} for name, file in written.items()}
    return CaseReport(
        case_id=case.case_id,
        inputs=_inputs(case.images, files),
        label=None if files.label is None else {"file": str(files.label), "sha256": label_sha256},
        bundle={},
        engine={},
        settings=asdict(settings),
        outputs=outputs,
        mask={**outputs["mask"], "scheme": "brain", "values": values},
        volumes_ml={"brain": round(brain_ml, 3)},
        components=1,
        cleaning={},
        head_voxels_outside=0,
        warnings=case.warnings,
        suspicions=tuple(printable(finding.message) for finding in case.findings if finding.is_suspicion),
        seconds={stage: round(seconds, 4) for stage, seconds in case.seconds.items()},
        dice=None,
        eenet_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        raw=case.facts,
    )


def _inputs(images: CaseImages, files: CaseFiles) -> dict[str, dict[str, Any]]:
    volumes = images.volumes
    return {
        modality.value: {
            "file": str(files.images[modality].path),
            "channel": files.images[modality].channel,
            "sha256": volumes[modality].sha256,
        }
        for modality in CHANNEL_ORDER
        if modality in files.images
    }
