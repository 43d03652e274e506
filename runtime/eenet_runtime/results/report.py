"""The JSON report beside a mask: what was read, what ran, what came out. No voxels, no header text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, Final

from eenet_runtime._version import __version__
from eenet_runtime.bundle.manifest import Bundle
from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.cases.preprocessing import CaseImages
from eenet_runtime.codes import Reason, in_brackets
from eenet_runtime.printable import printable
from eenet_runtime.results.mask_settings import MaskSettings, PreprocessSettings
from eenet_runtime.results.report_entries import (
    BundleEntry,
    EngineEntry,
    InputEntry,
    LabelEntry,
    MaskEntry,
    OutputEntry,
    SeriesEntry,
)
from eenet_runtime.segmenter.postprocessing import Cleaning
from eenet_runtime.segmenter.preprocessor import PreprocessedCase
from eenet_runtime.segmenter.segmentation import Segmentation
from eenet_runtime.volumes.labels import CHANNEL_ORDER, LabelScheme

REPORT_SCHEMA_VERSION: Final = 2


@dataclass(frozen=True)
class Remark:
    """A warning of a report.

    Attributes:
        text: a plain sentence.
        code: the same in one word, a key of `eenet_runtime.codes.CODES`; empty in a report of an earlier release.
        is_suspicion: whether somebody should look into it before the mask is used.
    """

    text: str
    code: str
    is_suspicion: bool

    @property
    def kind(self) -> str:
        """The word for it, as every output spells it."""
        return "suspicion" if self.is_suspicion else "notice"

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}{in_brackets(self.code)}"


@dataclass(frozen=True)
class CaseReport:
    """Everything that a reader of one mask may ask. Written as `<case>.json`.

    Attributes:
        case_id: the case's name.
        inputs: for each modality that was there its file, channel and SHA-256; of a DICOM study its series by number,
            why it was taken, and the SHA-256 of its files' own.
        label: file and SHA-256 of the case's own label, where it has one.
        bundle: identity and provenance of the model, and which key it was signed with; None where no model ran, as
            engine and cleaning.
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
        warning_codes: the code of each of the warnings, in their order; empty in a report of an earlier release.
        raw: of a raw case how it was brought to the network: matrices, figures, where its brain mask comes from; None
            where heads come ready.
        eenet_version, created: which toolkit, when (UTC).
        dicom: of a DICOM study which objects were written, and what measures were put into them; None for files.
    """

    case_id: str
    inputs: dict[str, Annotated[dict[str, Any], InputEntry | SeriesEntry]]
    label: Annotated[dict[str, Any], LabelEntry] | None
    bundle: Annotated[dict[str, Any], BundleEntry] | None
    engine: Annotated[dict[str, Any], EngineEntry] | None
    settings: Annotated[dict[str, Any], MaskSettings | PreprocessSettings]
    outputs: dict[str, Annotated[dict[str, str], OutputEntry]]
    mask: Annotated[dict[str, Any], MaskEntry]
    volumes_ml: dict[str, float]
    components: int
    cleaning: Annotated[dict[str, Any], Cleaning] | None
    head_voxels_outside: int
    warnings: tuple[str, ...]
    suspicions: tuple[str, ...]
    seconds: dict[str, float]
    dice: dict[str, float] | None
    eenet_version: str
    created: str
    raw: dict[str, Any] | None = None
    dicom: dict[str, Any] | None = None
    warning_codes: tuple[str, ...] = ()

    @property
    def remarks(self) -> list[Remark]:
        """The warnings, suspicions first."""
        coded = zip_longest(self.warnings, self.warning_codes[: len(self.warnings)], fillvalue="")
        found = [Remark(str(warning), str(code), warning in self.suspicions) for warning, code in coded]
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
    **dict.fromkeys(("inputs", "settings", "outputs", "mask"), (dict,)),
    **dict.fromkeys(("volumes_ml", "seconds"), (dict,)),
    **dict.fromkeys(("components", "head_voxels_outside"), (int,)),
    **dict.fromkeys(("label", "dice", "raw", "dicom", "bundle", "engine", "cleaning"), (dict, type(None))),
    **dict.fromkeys(("warnings", "suspicions", "warning_codes"), (list,)),
}
_ADDED_LATER: Final[Mapping[str, Any]] = {"suspicions": [], "warning_codes": []}
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
    inputs: dict[str, dict[str, Any]],
    bundle: Bundle,
    settings: MaskSettings,
    *,
    scheme: LabelScheme,
    written: Mapping[str, WrittenFile],
    label: dict[str, Any] | None = None,
    dice: dict[str, float] | None = None,
    dicom: dict[str, Any] | None = None,
    more_warnings: tuple[Reason, ...] = (),
) -> CaseReport:
    """Gather the report of a finished case.

    Args:
        segmentation: the result.
        inputs: what it was made from, see `CaseReport`.
        bundle: the model.
        settings: what it was made with.
        scheme: label values of the mask.
        written: the results on disk, `mask` among them.
        label: the case's own label, where it has one.
        dice: agreement with that label.
        dicom: of a DICOM study what `CaseReport` says.
        more_warnings: on top of those of the result.
    """
    made_by = segmentation.provenance
    notes = segmentation.notes + more_warnings
    outputs = {name: asdict(OutputEntry(file.path.name, file.sha256)) for name, file in written.items()}
    return CaseReport(
        case_id=segmentation.case_id,
        inputs=inputs,
        label=label,
        bundle=asdict(
            BundleEntry(
                id=bundle.bundle_id,
                name=bundle.manifest.name,
                preset=bundle.manifest.preset.name,
                signature=bundle.signature,
                provenance=dict(bundle.manifest.provenance),
            )
        ),
        engine=asdict(
            EngineEntry(
                backend=made_by.backend,
                version=made_by.backend_version,
                device=made_by.device,
                artifact=made_by.artifact,
                precision=made_by.precision,
                why=made_by.why,
                weights_precision=made_by.weights_precision,
                self_test=made_by.self_test,
                versions=dict(made_by.versions),
            )
        ),
        settings=asdict(settings),
        outputs=outputs,
        mask=asdict(MaskEntry(**outputs["mask"], scheme=scheme.name, values=scheme.values_by_name)),
        volumes_ml={region.value: round(volume, 3) for region, volume in segmentation.volumes_ml.items()},
        components=segmentation.components,
        cleaning=asdict(segmentation.cleaning),
        head_voxels_outside=segmentation.head_voxels_outside,
        warnings=tuple(note.text for note in notes),
        warning_codes=tuple(note.code for note in notes),
        suspicions=segmentation.suspicions,
        seconds={stage: round(seconds, 4) for stage, seconds in segmentation.seconds.items()},
        dice=dice,
        eenet_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        raw=segmentation.raw,
        dicom=dicom,
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
    outputs = {name: asdict(OutputEntry(file.path.name, file.sha256)) for name, file in written.items()}
    return CaseReport(
        case_id=case.case_id,
        inputs=inputs_of_files(case.images, files),
        label=None if files.label is None else asdict(LabelEntry(str(files.label), label_sha256)),
        bundle=None,
        engine=None,
        settings=asdict(settings),
        outputs=outputs,
        mask=asdict(MaskEntry(**outputs["mask"], scheme="brain", values=values)),
        volumes_ml={"brain": round(brain_ml, 3)},
        components=1,
        cleaning=None,
        head_voxels_outside=0,
        warnings=tuple(note.text for note in case.notes),
        warning_codes=tuple(note.code for note in case.notes),
        suspicions=tuple(printable(finding.message) for finding in case.findings if finding.is_suspicion),
        seconds={stage: round(seconds, 4) for stage, seconds in case.seconds.items()},
        dice=None,
        eenet_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        raw=case.facts,
    )


def inputs_of_files(images: CaseImages, files: CaseFiles) -> dict[str, dict[str, Any]]:
    """What a report says of the files that a case was made from."""
    volumes = images.volumes
    return {
        modality.value: asdict(
            InputEntry(str(files.images[modality].path), files.images[modality].channel, volumes[modality].sha256)
        )
        for modality in CHANNEL_ORDER
        if modality in files.images
    }
