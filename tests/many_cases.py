"""Ten thousand finished cases in seconds: one case is computed, the others share its files by hard links."""

from __future__ import annotations

import json
import os
from pathlib import Path

from eenet_runtime.folders.folder import FolderSettings, segment_folder
from eenet_runtime.folders.hash_index import HashIndex, stamp_of
from eenet_runtime.folders.shards import WHOLE
from eenet_runtime.segmenter.segmenter import Segmenter
from tests.synthetic import Head, write_case

FIRST = "case00000"


def write_finished(segmenter: Segmenter, head: Head, cases: Path, output: Path, count: int) -> list[str]:
    """Cases in one folder each, and what a run that trusts timestamps would have left of them.

    Args:
        segmenter: what they are done with.
        head: what they show.
        cases, output: the two folders.
        count: how many.

    Returns:
        Their names.
    """
    write_case(cases, FIRST, head, label=False)
    segment_folder(segmenter, cases, output, FolderSettings(preview=False, trust_timestamps=True))
    report = json.loads((output / f"{FIRST}.json").read_text())
    inputs = sorted((cases / FIRST).iterdir())
    names = [f"case{index:05}" for index in range(count)]
    for name in names[1:]:
        folder = cases / name
        folder.mkdir()
        for path in inputs:
            os.link(path, folder / path.name.replace(FIRST, name))
        os.link(output / f"{FIRST}.nii.gz", output / f"{name}.nii.gz")
        text = json.dumps(report | {"case_id": name}).replace(f"{FIRST}.nii.gz", f"{name}.nii.gz")
        (output / f"{name}.json").write_text(text)
    hashes = {path.name: entry["sha256"] for entry in report["inputs"].values() for path in [Path(entry["file"])]}
    with HashIndex(output, WHOLE) as index:
        for name in names:
            for path in (cases / name).iterdir():
                index.learn(path, hashes[path.name.replace(name, FIRST)], stamp_of(path))
            mask = output / f"{name}.nii.gz"
            index.learn(mask, report["mask"]["sha256"], stamp_of(mask))
    return names
