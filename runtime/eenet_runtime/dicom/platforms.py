"""What other people's gateways ask of a program that they start: folders and settings in the environment.

mercure (mercure-imaging.org, modules): `MERCURE_IN_DIR` holds the files of one study and `task.json`, whose
`process.settings` are the site's; results go flat into `MERCURE_OUT_DIR`, and `result.json` there is kept.
MONAI Application Package (and Holoscan's): `HOLOSCAN_INPUT_PATH` and `HOLOSCAN_OUTPUT_PATH`.
Both take exit code 0 as success, so nothing else may end with 0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from eenet_runtime.cases.case_files import MODALITY_WORDS
from eenet_runtime.errors import DatasetError
from eenet_runtime.files.atomic import write_atomically
from eenet_runtime.results.report import CaseReport
from eenet_runtime.volumes.labels import Modality

VARIABLES: Final[Mapping[str, tuple[str, str]]] = {
    "mercure": ("MERCURE_IN_DIR", "MERCURE_OUT_DIR"),
    "map": ("HOLOSCAN_INPUT_PATH", "HOLOSCAN_OUTPUT_PATH"),
}
"""Of each platform the variables that name the folders of the study and of the results."""

RESULT: Final = "result.json"
_TASK: Final = "task.json"
_MOST_TASK_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class PlatformCall:
    """What a platform asks for.

    Attributes:
        platform: its name.
        study: where the study is.
        output: where results go.
        series: series by contrast, settled by the site.
        allow_missing: contrasts that may be missing.
        seg: how the segmentation object stores its voxels; None for the command's default.
    """

    platform: str
    study: Path
    output: Path
    series: dict[Modality, str] = field(default_factory=dict)
    allow_missing: tuple[str, ...] = ()
    seg: str | None = None

    def write_result(self, report: CaseReport) -> None:
        """Leave what the platform keeps with its task: the model and the volumes, nothing of the patient.

        Raises:
            OutputError: it cannot be written.
        """
        if self.platform != "mercure":
            return
        content = {
            "status": "done",
            "model": {key: value for key, value in (report.bundle or {}).items() if key in ("id", "name")},
            "eenet_version": report.eenet_version,
            "volumes_ml": report.volumes_ml,
            "warnings": list(report.warnings),
            "files": sorted(output["file"] for output in report.outputs.values()),
        }
        write_atomically(self.output / RESULT, (json.dumps(content, indent=2) + "\n").encode())


def call_from(platform: str, environment: Mapping[str, str]) -> PlatformCall:
    """Read a platform's request.

    Args:
        platform: `mercure` or `map`.
        environment: `os.environ`.

    Raises:
        DatasetError: a variable is missing, or the settings of mercure's task are unusable.
    """
    names = VARIABLES[platform]
    missing = [name for name in names if not environment.get(name)]
    if missing:
        raise DatasetError(f"{platform}: {' and '.join(missing)} not set, expected the folder that it names")
    study, output = (Path(environment[name]) for name in names)
    settings = _mercure_settings(study / _TASK) if platform == "mercure" else {}
    return _call(platform, study, output, settings)


def _mercure_settings(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            content = stream.read(_MOST_TASK_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DatasetError(f"{path.name}: cannot be read ({error.strerror or 'input error'})") from error
    try:
        task = json.loads(content) if len(content) <= _MOST_TASK_BYTES else None
    except (ValueError, RecursionError):
        task = None
    if not isinstance(task, dict):
        raise DatasetError(f"{path.name}: no JSON object of at most 1 MiB found, expected mercure's task")
    process = task.get("process") or {}
    # A chain of modules has a list here; the module of this step is its only one, or cannot be told.
    if isinstance(process, list):
        if len(process) != 1:
            raise DatasetError(f"{path.name}: {len(process)} processing steps found, expected this module's alone")
        process = process[0]
    settings = process.get("settings") if isinstance(process, dict) else None
    if not isinstance(settings, dict | None):
        raise DatasetError(f"{path.name}: settings that are no object found, expected names and values")
    return settings or {}


def _call(platform: str, study: Path, output: Path, settings: Mapping[str, Any]) -> PlatformCall:
    if unknown := sorted(set(settings) - {"series", "allow_missing", "seg"}):
        raise DatasetError(f"{_TASK}: setting {unknown[0]!r} found, expected series, allow_missing or seg")
    series, allowed, seg = settings.get("series", {}), settings.get("allow_missing", []), settings.get("seg")
    if not isinstance(series, dict) or not all(isinstance(value, str | int) for value in series.values()):
        raise DatasetError(f'{_TASK}: series that is no object of names found, expected {{"t1ce": "5"}}')
    if unknown := sorted(name for name in series if str(name).lower() not in MODALITY_WORDS):
        raise DatasetError(f"{_TASK}: series of {unknown[0]!r} found, expected one of {', '.join(MODALITY_WORDS)}")
    if not isinstance(allowed, list) or not all(isinstance(name, str) for name in allowed):
        raise DatasetError(f'{_TASK}: allow_missing that is no list of names found, expected ["flair"]')
    if seg not in (None, "binary", "labelmap"):
        raise DatasetError(f"{_TASK}: seg {seg!r} found, expected binary or labelmap")
    chosen = {MODALITY_WORDS[str(name).lower()]: str(value) for name, value in series.items()}
    return PlatformCall(platform, study, output, chosen, tuple(allowed), seg)
