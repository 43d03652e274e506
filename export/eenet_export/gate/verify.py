"""The gate for a bundle that exists: its artefacts, as they lie there, against the oracle rebuilt from its weights."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from eenet_export.gate.gate import Form, artifact_forms, case_hashes, choose_cases, keras_forms, measure, read_cases
from eenet_export.gate.parity import ParityLimits, require_parity
from eenet_export.gate.workshop import Workshop
from eenet_runtime.bundle.manifest import MANIFEST_NAME, Bundle, ParityRow, open_bundle
from eenet_runtime.errors import BackendError, ParityError
from eenet_runtime.files.atomic import write_atomically

_LIMITS = ParityLimits()


@dataclass(frozen=True)
class Verification:
    """What was measured.

    Attributes:
        rows: every form that ran, on every case.
        not_run: artefacts that no engine here can run, and why.
        failed: forms beyond the limits, and the first figure that was.
        cases: SHA-256 of each case's files.
    """

    rows: tuple[ParityRow, ...]
    not_run: dict[str, str]
    failed: dict[str, str]
    cases: dict[str, dict[str, str]]


def verify_bundle(
    folder: Path,
    cases: Path,
    *,
    max_cases: int = 2,
    limits: ParityLimits = _LIMITS,
    on_step: Callable[[str], None] = lambda step: None,
) -> Verification:
    """Hold every artefact of a bundle against the oracle on real cases, in every engine that runs it here.

    Args:
        folder: the bundle.
        cases: a folder of cases.
        max_cases: how many of them.
        limits: what counts as agreement.
        on_step: told in words what happens.

    Raises:
        BundleError: the bundle is damaged, or was changed meanwhile.
        ExportError: no usable case, or weights that are not this network's.
    """
    bundle = open_bundle(folder)
    chosen = choose_cases(cases, max_cases)
    read = read_cases(chosen, bundle.manifest.preset)
    oracle, network = keras_forms(bundle)
    rows: list[ParityRow] = []
    not_run: dict[str, str] = {}
    failed: dict[str, str] = {}
    with (
        tempfile.TemporaryDirectory(prefix="eenet-verify-") as scratch,
        Workshop(Path(scratch) / "verify", bundle.bundle_id) as workshop,
    ):

        def gate(form: Form) -> None:
            found = measure(read, [oracle, form], workshop, on_step)
            rows.extend(found)
            try:
                require_parity(found, limits)
            except ParityError as error:
                failed[form.name] = str(error)

        gate(network)
        for artifact in bundle.manifest.artifacts:
            try:
                for form in artifact_forms(bundle, artifact):
                    gate(form)
            except BackendError as error:
                not_run[artifact.path] = str(error)
    return Verification(tuple(rows), not_run, failed, case_hashes(chosen))


def record(folder: Path, verification: Verification) -> Bundle:
    """Write what was measured into the manifest of a bundle; its signature, if it had one, no longer fits.

    Rows of forms and cases that were measured again replace the old ones.

    Raises:
        ParityError: a form failed; a bundle does not carry figures of an artefact that it must not hold.
        OutputError: the manifest cannot be written.
    """
    if verification.failed:
        raise ParityError(next(iter(verification.failed.values())))
    manifest = open_bundle(folder).manifest
    new = {_pair(row) for row in verification.rows}
    kept = tuple(row for row in manifest.parity if _pair(row) not in new)
    changed = replace(manifest, parity=kept + verification.rows, cases={**manifest.cases, **verification.cases})
    write_atomically(folder / MANIFEST_NAME, changed.to_json().encode())
    return open_bundle(folder)


def _pair(row: ParityRow) -> tuple[str, str, str]:
    """What a row is about."""
    return row.case_id, row.candidate, row.reference
