"""Golden cases for the small bundles of `tests.synthetic`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from eenet_export.gate.golden import make_golden, write_golden
from eenet_runtime.backends import make_backend
from eenet_runtime.bundle.manifest import MANIFEST_NAME, describe_files, open_bundle
from eenet_runtime.selftest.golden import GOLDEN_NAME, GoldenCase


def add_golden(folder: Path, case: GoldenCase | None = None) -> GoldenCase:
    """Write a golden case into a bundle and name it in the manifest.

    Args:
        folder: the bundle.
        case: by default what the bundle's own model makes of the drawn head.
    """
    bundle = open_bundle(folder)
    if case is None:
        backend = make_backend(bundle, backend="onnxruntime", threads=1)
        case = make_golden(bundle.manifest.preset, backend)
        backend.close()
    write_golden(case, folder / GOLDEN_NAME)
    hashed = (*(entry for entry in bundle.manifest.files if entry.path != GOLDEN_NAME),)
    manifest = replace(bundle.manifest, golden=GOLDEN_NAME, files=(*hashed, *describe_files(folder, (GOLDEN_NAME,))))
    (folder / MANIFEST_NAME).write_text(manifest.to_json())
    return case
