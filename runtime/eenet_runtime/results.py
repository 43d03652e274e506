"""Writing the results of a case: mask, preview and report, all of them or none."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path

from eenet_runtime.case_files import CaseFiles
from eenet_runtime.dice import dice_by_region
from eenet_runtime.errors import CaseError, OutputError
from eenet_runtime.files import write_atomically
from eenet_runtime.labels import LabelScheme
from eenet_runtime.nifti import labels_to_bytes
from eenet_runtime.preprocessing import read_label
from eenet_runtime.preview import render_preview
from eenet_runtime.report import CaseReport, make_report
from eenet_runtime.segmenter import Segmentation, Segmenter, Stopwatch


@dataclass(frozen=True)
class ResultPaths:
    """Where the results of one case go."""

    mask: Path
    preview: Path
    report: Path

    @staticmethod
    def in_folder(folder: Path, case_id: str) -> ResultPaths:
        """`<case>.nii.gz`, `<case>.png` and `<case>.json` in one folder."""
        return ResultPaths(folder / f"{case_id}.nii.gz", folder / f"{case_id}.png", folder / f"{case_id}.json")

    def remove(self) -> None:
        """Take away whatever of the three is there."""
        for path in (self.mask, self.preview, self.report):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def segment_to_files(
    segmenter: Segmenter,
    files: CaseFiles,
    paths: ResultPaths,
    *,
    scheme: LabelScheme | None = None,
    preview: bool = True,
) -> CaseReport:
    """Segment one case and write its results.

    The report is written last: where it is, the mask is whole. Results of an earlier run are removed first, so that
    a refused case never leaves an old mask that looks like its own.

    Args:
        segmenter: the loaded model.
        files: the case.
        paths: names of the results; their folder must exist.
        scheme: label values of the mask; by default the input layout's.
        preview: whether to draw the picture.

    Raises:
        CaseError, BackendError: the case is refused; nothing is left under the three names.
        OutputError: something could not be written; nothing is left under the three names.
    """
    _refuse_to_replace_inputs(files, paths)
    paths.remove()
    try:
        return _segment_to_files(segmenter, files, paths, scheme or files.scheme, preview)
    except BaseException:
        paths.remove()
        raise


def _segment_to_files(
    segmenter: Segmenter, files: CaseFiles, paths: ResultPaths, scheme: LabelScheme, preview: bool
) -> CaseReport:
    segmentation = segmenter.segment(files)
    watch = Stopwatch()
    with watch.stage("write"):
        content = labels_to_bytes(scheme.to_file(segmentation.labels), segmentation.images.reference)
        write_atomically(paths.mask, content)
    if preview:
        with watch.stage("preview"):
            write_atomically(paths.preview, render_preview(segmentation))
    segmentation.seconds.update(watch.seconds)
    dice, warning = _dice_against_own_label(segmentation, files)
    report = make_report(
        segmentation,
        files,
        segmenter,
        scheme=scheme,
        mask_name=paths.mask.name,
        mask_sha256=hashlib.sha256(content).hexdigest(),
        dice=dice,
        more_warnings=warning,
    )
    write_atomically(paths.report, report.to_json().encode())
    return report


def _refuse_to_replace_inputs(files: CaseFiles, paths: ResultPaths) -> None:
    inputs = [source.path for source in files.images.values()]
    if files.label is not None:
        inputs.append(files.label)
    for path in (paths.mask, paths.preview, paths.report):
        # Asked of the file system: two spellings may be one file, by links or where upper and lower case are the same.
        if path.exists() and any(path.samefile(other) for other in inputs if other.exists()):
            raise OutputError(f"{path}: the result would replace an input of case {files.case_id}; choose another name")


def _dice_against_own_label(
    segmentation: Segmentation, files: CaseFiles
) -> tuple[dict[str, float] | None, tuple[str, ...]]:
    """Dice where the case brings a label; a label that cannot be used is a warning, the mask does not depend on it."""
    if files.label is None:
        return None, ()
    try:
        truth = read_label(files, segmentation.images)
    except CaseError as error:
        return None, (f"no Dice: {error}",)
    by_region = dice_by_region(segmentation.labels, truth)
    return {region.value: round(value, 5) for region, value in by_region.items()}, ()
