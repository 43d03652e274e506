"""Writing the results of a case: mask, pictures, maps and report, all of them or none."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from stat import S_ISDIR
from typing import Final

from eenet_runtime.bundle.manifest import Bundle
from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.cases.inputs import load_series
from eenet_runtime.cases.preprocessing import read_label_like
from eenet_runtime.codes import Reason
from eenet_runtime.errors import CaseError, OutputError, ResultPathError
from eenet_runtime.files.atomic import (
    make_output_folder,
    prove_writable,
    remove_leftovers,
    temporary_beside,
    write_atomically,
)
from eenet_runtime.files.listing import look_at
from eenet_runtime.files.nifti import Volume, image_to_bytes, labels_to_bytes, sha256_of_image
from eenet_runtime.results.mask_settings import MaskSettings
from eenet_runtime.results.preview import render_preview
from eenet_runtime.results.report import CaseReport, WrittenFile, inputs_of_files, make_report
from eenet_runtime.results.report_entries import LabelEntry
from eenet_runtime.segmenter.probability_maps import MAPS_SUFFIX, probability_maps_to_bytes
from eenet_runtime.segmenter.segmentation import Segmentation, Stopwatch
from eenet_runtime.segmenter.segmenter import Segmenter
from eenet_runtime.volumes.dice import dice_by_region
from eenet_runtime.volumes.labels import CHANNEL_ORDER, LabelScheme, Modality

MASK: Final = "mask"
PREVIEW: Final = "preview"
PROBABILITIES: Final = "probabilities"
ALIGNED: Final = "aligned"
BRAIN_VALUES: Final[Mapping[str, int]] = {"BACKGROUND": 0, "BRAIN": 1}
"""Of a brain mask."""
_SUFFIXES: Final = (".nii.gz", ".png", ".json")
_OF_THE_MACHINE: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
)
"""Errors that the next case would meet, too, although an empty file may still be written."""


@dataclass(frozen=True)
class OutputSettings:
    """What to write for a case besides its report.

    Attributes:
        scheme: label values of the mask; by default those of the input's layout.
        preview: whether to draw the picture.
        probabilities: whether to write probability maps.
        aligned: whether to write the images, too: of a raw case registered, stripped and laid out as BraTS does.
        brain: whether the mask is the brain's, because no network is run.
    """

    scheme: LabelScheme | None = None
    preview: bool = True
    probabilities: bool = False
    aligned: bool = False
    brain: bool = False

    def values_for(self, files: CaseFiles) -> dict[str, int]:
        """What the values of a case's mask mean."""
        return dict(BRAIN_VALUES) if self.brain else (self.scheme or files.scheme).values_by_name


@dataclass(frozen=True)
class ResultPaths:
    """Where the results of one case go."""

    mask: Path
    preview: Path
    report: Path
    probabilities: Path
    aligned: Mapping[Modality, Path]

    @staticmethod
    def in_folder(folder: Path, case_id: str) -> ResultPaths:
        """`<case>.nii.gz`, `<case>.png`, `<case>.json` and `<case>_probabilities.nii.gz` in one folder.

        Aligned images go into `aligned/<case>` below it, as BraTS names them: that folder is one of cases again.
        """
        names = (f"{case_id}{suffix}" for suffix in (*_SUFFIXES, MAPS_SUFFIX))
        mask, preview, report, probabilities = (folder / name for name in names)
        return ResultPaths(mask, preview, report, probabilities, aligned_paths(folder / ALIGNED / case_id, case_id))

    @property
    def all(self) -> tuple[Path, ...]:
        """Every path; the report first, for without it nothing says that the others are whole."""
        return (self.report, self.mask, self.preview, self.probabilities, *self.aligned.values())

    def of(self, outputs: OutputSettings, modalities: Collection[Modality] = tuple(Modality)) -> dict[str, Path]:
        """Those results besides the report that are asked for, by their names in the report.

        Args:
            outputs: what is asked for.
            modalities: those that the case has.
        """
        asked = {MASK: (True, self.mask), PREVIEW: (outputs.preview, self.preview)}
        asked[PROBABILITIES] = (outputs.probabilities, self.probabilities)
        for modality, path in self.aligned.items():
            asked[f"{ALIGNED}_{modality.value}"] = (outputs.aligned and modality in modalities, path)
        return {name: path for name, (wanted, path) in asked.items() if wanted}

    def obstacle(self, outputs: OutputSettings) -> str | None:
        """Why the results that are asked for cannot have these names, as far as a look tells; nothing is changed."""
        for path in (self.report, *self.of(outputs).values()):
            # Where the folder is still to be made, its names will be as long as those of the one that it will lie in.
            folder = next((parent for parent in path.parents if look_at(parent).is_folder), path.parent)
            for name in (path.name, temporary_beside(path).name):
                try:
                    mode = (folder / name).lstat().st_mode
                except OSError as error:
                    if error.errno == errno.ENAMETOOLONG:
                        return f"{path}: this name of a result is too long for its file system; rename the case"
                    continue
                if S_ISDIR(mode) and folder == path.parent:
                    return f"{path}: a folder stands where a result should go; move it, or choose another output folder"
        return None

    def remove(self) -> list[str]:
        """Take away whatever of them is there.

        Returns:
            One line for each file that the system does not let go.
        """
        left = []
        for path in self.all:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                if _is_there_as_a_file(path):
                    left.append(f"{path}: of an earlier run, cannot be removed ({error.strerror or error})")
        for folder in {path.parent for path in self.aligned.values()}:
            with suppress(OSError):  # not there, or somebody has put files of his own into it
                folder.rmdir()
        return left


def aligned_paths(folder: Path, case_id: str) -> dict[Modality, Path]:
    """Where the images of a case go in the layout of BraTS: `<folder>/<case>_t1.nii.gz` and so on."""
    return {modality: folder / f"{case_id}_{modality.value}.nii.gz" for modality in CHANNEL_ORDER}


def write_aligned(
    segmentation: Segmentation, files: CaseFiles, paths: Mapping[Modality, Path]
) -> dict[Modality, WrittenFile]:
    """Write the images of a case on one grid: of a raw case as BraTS lays them out, otherwise as they were given.

    Raises:
        CaseError: a file has changed since it was segmented.
        OutputError: one cannot be written.
    """
    for folder in {path.parent for path in paths.values()}:
        make_output_folder(folder)
    return {
        modality: written(paths[modality], image_to_bytes(volume.data, volume.grid))
        for modality, volume in _aligned_images(segmentation, files)
    }


def _aligned_images(segmentation: Segmentation, files: CaseFiles) -> Iterable[tuple[Modality, Volume]]:
    if segmentation.head is None:
        return segmentation.images.volumes.items()
    from eenet_runtime.heads.brats_layout import brats_images

    # The network's voxels may be larger than 1 mm, and the series on their own grids were let go.
    series = load_series(files, None, frozenset(segmentation.images.missing))
    return brats_images(segmentation.head, series.volumes)


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
    aligned: bool = False,
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
        aligned: whether to write the images as the network saw them.

    Raises:
        CaseError, BackendError: the case is refused; nothing is left under the names of its results.
        OutputError: something could not be written; nothing is left under the names of its results.
    """
    outputs = OutputSettings(scheme, preview, probabilities, aligned)
    remove_leftovers(paths.mask.parent, {path.name for path in paths.all}.__contains__)
    clear_the_way(files, paths, outputs)
    segmentation = segmenter.segment(files, keep_probabilities=probabilities)
    return write_results(segmentation, files, paths, outputs, segmenter.bundle, MaskSettings.of(segmenter))


def clear_the_way(files: CaseFiles, paths: ResultPaths, outputs: OutputSettings) -> None:
    """Remove the results of an earlier run, and see that new ones can take their names.

    Raises:
        ResultPathError: a result would replace an input, and nothing was removed; or a name is too long, a folder has
            it, or an earlier result cannot be removed.
    """
    for path in paths.all:
        if any(_is_one_file(path, other) for other in files.paths):
            raise ResultPathError(
                f"{path}: the result would replace an input of case {files.case_id}; choose another name"
            )
    for folder in {path.parent for path in paths.aligned.values()}:
        remove_leftovers(folder)
    problems = [paths.obstacle(outputs), *paths.remove()]
    if found := next((problem for problem in problems if problem is not None), None):
        raise ResultPathError(found)


def _is_there_as_a_file(path: Path) -> bool:
    try:
        return not S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _is_one_file(path: Path, other: Path) -> bool:
    """Asked of the file system: two spellings may be one file, by links or where upper and lower case are the same."""
    try:
        return path.samefile(other)
    except OSError:
        return False


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
        ResultPathError: one of these names is the reason; others can be written into the same folder.
    """
    with whole_or_nothing(paths):
        return _write(segmentation, files, paths, outputs, bundle, settings)


@contextmanager
def whole_or_nothing(paths: ResultPaths) -> Iterator[None]:
    """Leave none of the results where one of them cannot be written.

    Raises:
        OutputError, ResultPathError: see `write_results`.
    """
    try:
        with _own_errors(paths):
            yield
    except BaseException:
        paths.remove()
        raise


@contextmanager
def _own_errors(paths: ResultPaths) -> Iterator[None]:
    """Tell an error of these names from one that every case would meet."""
    try:
        yield
    except OutputError as error:
        cause = error.__cause__
        if not isinstance(cause, OSError) or cause.errno in _OF_THE_MACHINE:
            raise
        try:
            prove_writable(paths.report.parent)
        except OutputError:
            raise error from cause
        raise ResultPathError(str(error)) from cause


def _write(
    segmentation: Segmentation,
    files: CaseFiles,
    paths: ResultPaths,
    outputs: OutputSettings,
    bundle: Bundle,
    settings: MaskSettings,
) -> CaseReport:
    scheme = outputs.scheme or files.scheme
    reference = segmentation.reference
    watch = Stopwatch()
    with watch.stage("write"):
        mask = labels_to_bytes(scheme.to_file(segmentation.labels), reference)
        results = {MASK: written(paths.mask, mask)}
    if outputs.preview:
        with watch.stage("preview"):
            results[PREVIEW] = written(paths.preview, render_preview(segmentation, case_id=segmentation.case_id))
    if outputs.probabilities:
        if segmentation.probabilities is None:
            raise ValueError("probability maps were asked for, but the probabilities were not kept")
        with watch.stage("probabilities"):
            maps = probability_maps_to_bytes(segmentation.probabilities, reference)
            results[PROBABILITIES] = written(paths.probabilities, maps)
    if outputs.aligned:
        with watch.stage(ALIGNED):
            for modality, file in write_aligned(segmentation, files, paths.aligned).items():
                results[f"{ALIGNED}_{modality.value}"] = file
    segmentation.seconds.update(watch.seconds)
    label = _compare_with_own_label(segmentation, files)
    report = make_report(
        segmentation,
        inputs_of_files(segmentation.images, files),
        bundle,
        settings,
        scheme=scheme,
        written=results,
        label=None if files.label is None else asdict(LabelEntry(str(files.label), label.sha256)),
        dice=label.dice,
        more_warnings=label.warnings,
    )
    write_atomically(paths.report, report.to_json().encode())
    return report


def written(path: Path, content: bytes) -> WrittenFile:
    """Write a result.

    Raises:
        OutputError: it cannot be written.
    """
    write_atomically(path, content)
    return WrittenFile(path, hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class OwnLabel:
    """What the label that a case brings says about its mask.

    Attributes:
        dice: agreement by the names of the regions; None without a label that can be used.
        sha256: of the label's file; None where there is none, or none that can be read.
        warnings: why there is no agreement although there is a label.
    """

    dice: dict[str, float] | None = None
    sha256: str | None = None
    warnings: tuple[Reason, ...] = ()


def _compare_with_own_label(segmentation: Segmentation, files: CaseFiles) -> OwnLabel:
    """Dice where the case brings a label. One that cannot be used is a warning: the mask does not depend on it."""
    if files.label is None:
        return OwnLabel()
    try:
        sha256 = sha256_of_image(files.label)
    except CaseError as error:
        return OwnLabel(warnings=(Reason("no-dice", f"no Dice: {error}"),))
    try:
        reference_of = Modality.T1 if segmentation.head is None else Modality.T1CE
        truth = read_label_like(files, segmentation.reference, reference_of)
    except CaseError as error:
        return OwnLabel(sha256=sha256, warnings=(Reason("no-dice", f"no Dice: {error}"),))
    by_region = dice_by_region(segmentation.labels, truth)
    return OwnLabel({region.value: round(value, 5) for region, value in by_region.items()}, sha256)
