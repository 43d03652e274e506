"""Writing a case that was registered and stripped, and nothing else: images, brain mask, picture and report."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.files.atomic import make_output_folder, write_atomically
from eenet_runtime.files.nifti import Volume, hash_or_none, image_to_bytes, labels_to_bytes
from eenet_runtime.results.mask_settings import PreprocessSettings
from eenet_runtime.results.preview import render_brain
from eenet_runtime.results.report import CaseReport, make_preprocess_report
from eenet_runtime.results.result_files import (
    ALIGNED,
    MASK,
    PREVIEW,
    OutputSettings,
    ResultPaths,
    whole_or_nothing,
    written,
)
from eenet_runtime.segmenter.preprocessor import PreprocessedCase
from eenet_runtime.segmenter.segmentation import Stopwatch


def write_preprocessed(
    case: PreprocessedCase, files: CaseFiles, paths: ResultPaths, outputs: OutputSettings, settings: PreprocessSettings
) -> CaseReport:
    """Write the images, the brain mask on the T1ce's own grid, a preview where it is asked for, then the report.

    Args:
        case: what was made of it.
        files: what it was made from.
        paths: names of the results; nothing lies there yet.
        outputs: what to write.
        settings: what it was made with.

    Raises:
        OutputError: something could not be written; nothing is left under the names of the results.
        ResultPathError: one of these names is the reason; others can be written into the same folder.
    """
    with whole_or_nothing(paths):
        watch, (brain, reference) = Stopwatch(), _brain_of(case)
        with watch.stage("write"):
            results = {MASK: written(paths.mask, labels_to_bytes(brain.astype(np.uint8), reference))}
            for modality, volume in case.images.volumes.items():
                make_output_folder(paths.aligned[modality].parent)
                content = image_to_bytes(volume.data, volume.grid)
                results[f"{ALIGNED}_{modality.value}"] = written(paths.aligned[modality], content)
        if outputs.preview:
            with watch.stage("preview"):
                results[PREVIEW] = written(paths.preview, render_brain(case))
        case.seconds.update(watch.seconds)
        volume_ml = float(np.count_nonzero(brain)) * reference.grid.voxel_ml
        label = None if files.label is None else hash_or_none(files.label)
        report = make_preprocess_report(case, files, settings, outputs.values_for(files), results, volume_ml, label)
        write_atomically(paths.report, report.to_json().encode())
    return report


def _brain_of(case: PreprocessedCase) -> tuple[NDArray[np.bool_], Volume]:
    """The brain mask and the image on whose grid it lies; of a case that came stripped what is not 0 in any image."""
    if case.head is not None:
        return case.head.native_brain, case.head.reference
    volumes = list(case.images.volumes.values())
    return np.any([volume.data != 0 for volume in volumes], axis=0), volumes[0]
