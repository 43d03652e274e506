"""What a bundle is and what was proved about it, as tables for a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from eenet_export.parity import by_pair
from eenet_runtime.bundle import Bundle, ParityRow
from eenet_runtime.tables import format_table


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
        f"golden case: {manifest.golden or 'none'}",
        f"signature: {bundle.signature}",
        "",
        format_table(["artefact", "kind", "arithmetic", "weights", "size"], artifacts),
        "",
        proofs_table(manifest.parity) if manifest.parity else "no proofs: nothing was compared with Keras",
        f"measured on: {', '.join(measured) or 'no case'}",
        "",
        format_table(["file", "size", "SHA-256"], files),
        "",
        *_pairs("provenance", manifest.provenance),
        *_pairs("made with", manifest.tools),
    ]
    return "\n".join(parts)


def proofs_table(rows: Sequence[ParityRow]) -> str:
    """The worst figure of each pair of forms over all cases."""
    return format_table(
        [
            "form",
            "against",
            "cases",
            "max difference",
            "Dice",
            "agreement",
            "inner agreement",
            "HD95 mm",
            "Dice change",
        ],
        [[candidate, reference, *_worst(members)] for (candidate, reference), members in by_pair(rows).items()],
    )


def _worst(rows: Sequence[ParityRow]) -> list[str]:
    differences = [row.max_abs_difference for row in rows if row.max_abs_difference is not None]
    distances = [value for row in rows for value in row.hd95_mm.values()]
    changes = [value for row in rows for value in row.dice_change.values()]
    return [
        str(len({row.case_id for row in rows})),
        f"{max(differences):.1e}" if differences else "labels only",
        f"{min(min(row.dice.values(), default=1.0) for row in rows):.5f}",
        f"{min(row.agreement for row in rows):.6f}",
        f"{min(row.inner_agreement for row in rows):.6f}",
        f"{max(distances):.2f}" if distances else "-",
        f"{max(changes, key=abs):+.5f}" if changes else "-",
    ]


def _pairs(title: str, values: Mapping[str, object]) -> list[str]:
    """A title and one line for each value; nested ones in JSON's notation."""
    lines = [f"  {key}: {value if isinstance(value, str) else json.dumps(value)}" for key, value in values.items()]
    return [f"{title}:", *lines] if lines else []


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
