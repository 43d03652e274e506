"""What a bundle is and what was proved about it, as tables for a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping

from eenet_export.gate.parity import parity_table
from eenet_runtime.bundle.manifest import Bundle
from eenet_runtime.bundle.proof import not_proven_in_words
from eenet_runtime.folders.tables import format_table
from eenet_runtime.selftest.golden import read_golden


def bundle_overview(bundle: Bundle) -> str:
    """A verified bundle: artefacts, proofs, files, golden case, signature, provenance and tools."""
    manifest = bundle.manifest
    preset = manifest.preset
    sizes = {entry.path: entry.bytes for entry in manifest.files}
    artifacts = [
        [artifact.path, artifact.kind, artifact.precision, artifact.weights_precision, _size(sizes[artifact.path])]
        for artifact in manifest.artifacts
    ]
    files = [[entry.path, _size(entry.bytes), entry.sha256[:16]] for entry in manifest.files]
    measured = list(dict.fromkeys(row.case_id for row in manifest.parity))
    parts = [
        f"{manifest.name} ({bundle.folder}), id {bundle.bundle_id}, made {manifest.created}",
        f"preset {preset.name}: {' x '.join(map(str, preset.shape))} voxels of {preset.spacing_mm:g} mm, "
        f"channels {', '.join(manifest.modalities)}",
        f"golden case: {_golden(bundle)}",
        f"signature: {bundle.signature}",
        "",
        format_table(["artefact", "kind", "arithmetic", "weights", "size"], artifacts),
        "",
        parity_table(manifest.parity) if manifest.parity else "no proofs: nothing was compared with Keras",
        *not_proven_in_words(manifest.parity),
        f"measured on: {', '.join(measured) or 'no case'}",
        "",
        format_table(["file", "size", "SHA-256"], files),
        "",
        *_pairs("provenance", manifest.provenance),
        *_pairs("made with", manifest.tools),
    ]
    return "\n".join(parts)


def _golden(bundle: Bundle) -> str:
    name = bundle.manifest.golden
    return f"{name}: {read_golden(bundle).regions_in_words()}" if name else "none"


def _pairs(title: str, values: Mapping[str, object]) -> list[str]:
    """A title and one line for each value; nested ones in JSON's notation."""
    lines = [f"  {key}: {value if isinstance(value, str) else json.dumps(value)}" for key, value in values.items()]
    return [f"{title}:", *lines] if lines else []


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
