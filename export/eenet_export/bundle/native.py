"""The native engine's artefact into a bundle that exists: cut, proved on real cases, and only then named.

The artefact is the 2D network as a graph of its own. Everything else the native engine needs is in the bundle already:
the weights of the 3D part in the weights file, under the names of their layers, and the geometry in the manifest.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from eenet_export.gate.gate import (
    artifact_forms,
    case_hashes,
    choose_cases,
    keras_forms,
    measure,
    read_cases,
    unproved_bundle,
)
from eenet_export.gate.parity import ParityLimits, require_parity
from eenet_export.gate.workshop import Workshop
from eenet_export.graph.graphs import WEIGHTS_FILE
from eenet_export.graph.plane import PLANE_FILE, write_plane
from eenet_runtime.backends.native_backend import DISTRIBUTION, native_version, obstacle
from eenet_runtime.bundle.manifest import (
    MANIFEST_NAME,
    Artifact,
    Bundle,
    Manifest,
    ParityRow,
    describe_files,
    open_bundle,
)
from eenet_runtime.errors import ExportError
from eenet_runtime.files.atomic import write_atomically

NATIVE: Final = "native"
_LIMITS = ParityLimits()


@dataclass(frozen=True)
class AddedNative:
    """The native artefact of a bundle.

    Attributes:
        bundle: with it.
        rows: what was measured.
        written: False where the same file was there already; its figures are new all the same.
    """

    bundle: Bundle
    rows: tuple[ParityRow, ...]
    written: bool


def native_artifact(source: Artifact) -> Artifact:
    """What the manifest says about the native artefact of a bundle.

    Args:
        source: the bundle's FP32 graph.
    """
    return replace(source, kind=NATIVE, path=PLANE_FILE)


def add_native(
    folder: Path,
    cases: Path,
    *,
    max_cases: int = 2,
    limits: ParityLimits = _LIMITS,
    on_step: Callable[[str], None] = lambda step: None,
) -> AddedNative:
    """Add the native engine's artefact to a bundle, if it agrees with the oracle.

    It is proved outside the bundle. Killed at any moment the bundle is valid, with the artefact or without; its
    signature, if it had one, must be made again.

    Args:
        folder: the bundle.
        cases: a folder of cases on which the agreement with the oracle is measured.
        max_cases: how many of them.
        limits: what counts as agreement.
        on_step: told in words what happens.

    Raises:
        BundleError: the bundle is damaged.
        ExportError: the native engine is not here to prove it, no usable case, or a bundle without an FP32 graph.
        ParityError: it disagrees; the bundle is as it was.
        OutputError: a file cannot be written.
    """
    bundle = open_bundle(folder)
    if reason := obstacle():
        raise ExportError(f"{folder}: no native artefact can be proved here: {reason}")
    source = next((entry for entry in bundle.manifest.artifacts if entry.form == "onnx-fp32"), None)
    if source is None:
        raise ExportError(f"{folder}: no onnx-fp32 artefact found, the native one is cut out of it")
    artifact, chosen = native_artifact(source), choose_cases(cases, max_cases)
    with (
        tempfile.TemporaryDirectory(prefix="eenet-native-") as scratch,
        Workshop(Path(scratch) / "native", bundle.bundle_id) as workshop,
    ):
        shutil.copyfile(folder / WEIGHTS_FILE, workshop.bundle / WEIGHTS_FILE)
        graph = write_plane(folder / source.path, workshop.bundle).read_bytes()
        oracle, _ = keras_forms(bundle)
        read = read_cases(chosen, bundle.manifest.preset)
        rows: list[ParityRow] = []
        for form in artifact_forms(unproved_bundle(workshop.bundle, artifact, bundle.manifest.preset), artifact):
            rows += measure(read, [oracle, form], workshop, on_step)
        require_parity(rows, limits)
    written = not (folder / PLANE_FILE).is_file() or (folder / PLANE_FILE).read_bytes() != graph
    # Read again: measuring takes minutes, and an engine may have come into the bundle meanwhile.
    without = _without(open_bundle(folder).manifest)
    if written:
        # The old manifest names a file that is about to be overwritten; a kill in between must leave a bundle.
        write_atomically(folder / MANIFEST_NAME, without.to_json().encode())
        write_atomically(folder / PLANE_FILE, graph)
    after = replace(
        without,
        artifacts=(*without.artifacts, artifact),
        files=(*without.files, *describe_files(folder, (PLANE_FILE,))),
        parity=(*without.parity, *rows),
        cases={**without.cases, **case_hashes(chosen)},
        tools={**without.tools, DISTRIBUTION: native_version()},
    )
    write_atomically(folder / MANIFEST_NAME, after.to_json().encode())
    return AddedNative(open_bundle(folder), tuple(rows), written)


def _without(manifest: Manifest) -> Manifest:
    """A manifest without the native artefact, its file and what was measured with it."""
    return replace(
        manifest,
        artifacts=tuple(entry for entry in manifest.artifacts if entry.kind != NATIVE),
        files=tuple(entry for entry in manifest.files if entry.path != PLANE_FILE),
        parity=tuple(row for row in manifest.parity if not row.candidate.startswith(f"{NATIVE}-")),
    )
