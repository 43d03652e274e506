"""Writing the results of a case: mask, pictures, maps and report, all of them or none."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eenet_runtime.bundle.manifest import Bundle
from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.cases.preprocessing import read_label
from eenet_runtime.errors import CaseError, OutputError
from eenet_runtime.files.atomic import remove_leftovers, sha256_of_file, write_atomically
from eenet_runtime.files.nifti import labels_to_bytes
from eenet_runtime.results.mask_settings import MaskSettings
from eenet_runtime.results.preview import render_preview
from eenet_runtime.results.report import CaseReport, WrittenFile, make_report
from eenet_runtime.segmenter.probability_maps import MAPS_SUFFIX, probability_maps_to_bytes
from eenet_runtime.segmenter.segmentation import Segmentation, Stopwatch
from eenet_runtime.segmenter.segmenter import Segmenter
from eenet_runtime.volumes.dice import dice_by_region
from eenet_runtime.volumes.labels import LabelScheme

MASK: Final = "mask"
PREVIEW: Final = "preview"
PROBABILITIES: Final = "probabilities"
_SUFFIXES: Final = (".nii.gz", ".png", ".json")


@dataclass(frozen=True)
class OutputSettings:
    """What to write for a case besides its report.

    Attributes:
        scheme: label values of the mask; by default those of the input's layout.
        preview: whether to draw the picture.
        probabilities: whether to write probability maps.
    """

    scheme: LabelScheme | None = None
    preview: bool = True
    probabilities: bool = False


@dataclass(frozen=True)
class ResultPaths:
    """Where the results of one case go."""

    mask: Path
    preview: Path
    report: Path
    probabilities: Path

    @staticmethod
    def in_folder(folder: Path, case_id: str) -> ResultPaths:
        """`<case>.nii.gz`, `<case>.png`, `<case>.json` and `<case>_probabilities.nii.gz` in one folder."""
        names = (f"{case_id}{suffix}" for suffix in (*_SUFFIXES, MAPS_SUFFIX))
        return ResultPaths(*(folder / name for name in names))

    @property
    def all(self) -> tuple[Path, ...]:
        """Every path; the report first, for without it nothing says that the others are whole."""
        return (self.report, self.mask, self.preview, self.probabilities)

    def of(self, outputs: OutputSettings) -> dict[str, Path]:
        """Those results besides the report that are asked for, by their names in the report."""
        asked = {MASK: (True, self.mask), PREVIEW: (outputs.preview, self.preview)}
        asked[PROBABILITIES] = (outputs.probabilities, self.probabilities)
        return {name: path for name, (wanted, path) in asked.items() if wanted}

    def remove(self) -> None:
        """Take away whatever of them is there."""
        for path in self.all:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def case_of_result(name: str) -> str | None:
    """The case that a result's file name belongs to; None for a name that no result has."""
    for suffix in (MAPS_SUFFIX, *_SUFFIXES):
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return None


def segment_to_files(
    segmenter: Segmenter,
    files: CaseFiles,
    paths: ResultPaths,
    *,
    scheme: LabelScheme | None = None,
    preview: bool = True,
    probabilities: bool = False,
) -> CaseReport:
    """Segment one case and write its results.

    The report is written last: where it is, the others are whole. Results of an earlier run are removed first, so that
    a refused case never leaves an old mask that looks like its own.

    Args:
        segmenter: the loaded model.
        files: the case.
        paths: names of the results; their folder must exist.
        scheme: label values of the mask; by default the input layout's.
        preview: whether to draw the picture.
        probabilities: whether to write probability maps.

    Raises:
        CaseError, BackendError: the case is refused; nothing is left under the names of its results.
        OutputError: something could not be written; nothing is left under the names of its results.
    """
    remove_leftovers(paths.mask.parent, {path.name for path in paths.all}.__contains__)
    clear_the_way(files, paths)
    segmentation = segmenter.segment(files, keep_probabilities=probabilities)
    outputs = OutputSettings(scheme, preview, probabilities)
    return write_results(segmentation, files, paths, outputs, segmenter.bundle, MaskSettings.of(segmenter))


def clear_the_way(files: CaseFiles, paths: ResultPaths) -> None:
    """Remove the results of an earlier run.

    Raises:
        OutputError: a result would replace an input; nothing was removed.
    """
    inputs = [source.path for source in files.images.values()]
    if files.label is not None:
        inputs.append(files.label)
    for path in paths.all:
        # Asked of the file system: two spellings may be one file, by links or where upper and lower case are the same.
        if path.exists() and any(path.samefile(other) for other in inputs if other.exists()):
            raise OutputError(f"{path}: the result would replace an input of case {files.case_id}; choose another name")
    paths.remove()


def write_results(
    segmentation: Segmentation,
    files: CaseFiles,
    paths: ResultPaths,
    outputs: OutputSettings,
    bundle: Bundle,
    settings: MaskSettings,
) -> CaseReport:
    """Write what was asked for, then the report.

    Args:
        segmentation: the case, with probabilities where maps are asked for.
        files: what it was made from.
        paths: names of the results; nothing lies there yet.
        outputs: what to write.
        bundle: the model.
        settings: what it was made with.

    Raises:
        OutputError: something could not be written; nothing is left under the names of the results.
    """
    try:
        return _write(segmentation, files, paths, outputs, bundle, settings)
    except BaseException:
        paths.remove()
        raise


def _write(
    segmentation: Segmentation,
    files: CaseFiles,
    paths: ResultPaths,
    outputs: OutputSettings,
    bundle: Bundle,
    settings: MaskSettings,
) -> CaseReport:
    scheme = outputs.scheme or files.scheme
    reference = segmentation.images.reference
    watch = Stopwatch()
    with watch.stage("write"):
        mask = labels_to_bytes(scheme.to_file(segmentation.labels), reference)
        written = {MASK: _written(paths.mask, mask)}
    if outputs.preview:
        with watch.stage("preview"):
            written[PREVIEW] = _written(paths.preview, render_preview(segmentation, case_id=segmentation.case_id))
    if outputs.probabilities:
        if segmentation.probabilities is None:
            raise ValueError("probability maps were asked for, but the probabilities were not kept")
        with watch.stage("probabilities"):
            maps = probability_maps_to_bytes(segmentation.probabilities, reference)
            written[PROBABILITIES] = _written(paths.probabilities, maps)
    segmentation.seconds.update(watch.seconds)
    dice, label_sha256, warnings = _dice_against_own_label(segmentation, files)
    report = make_report(
        segmentation,
        files,
        bundle,
        settings,
        scheme=scheme,
        written=written,
        label_sha256=label_sha256,
        dice=dice,
        more_warnings=warnings,
    )
    write_atomically(paths.report, report.to_json().encode())
    return report


def _written(path: Path, content: bytes) -> WrittenFile:
    write_atomically(path, content)
    return WrittenFile(path, hashlib.sha256(content).hexdigest())


def _dice_against_own_label(
    segmentation: Segmentation, files: CaseFiles
) -> tuple[dict[str, float] | None, str | None, tuple[str, ...]]:
    """Dice where the case brings a label, and the label's hash.

    A label that cannot be used is a warning: the mask does not depend on it.
    """
    if files.label is None:
        return None, None, ()
    try:
        sha256 = sha256_of_file(files.label)
        truth = read_label(files, segmentation.images)
    except OSError as error:
        return None, None, (f"no Dice: {files.label}: cannot be read ({error.strerror or error})",)
    except CaseError as error:
        return None, sha256, (f"no Dice: {error}",)
    by_region = dice_by_region(segmentation.labels, truth)
    return {region.value: round(value, 5) for region, value in by_region.items()}, sha256, ()
