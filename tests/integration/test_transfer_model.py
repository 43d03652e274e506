"""The model of wide phantoms: whole, proved on this machine, and plain about what it is."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from eenet_runtime.bundle.manifest import open_bundle
from eenet_runtime.cli import app
from tests.places import ROOT

BUNDLE = ROOT / "models" / "eenet-fast-transfer"

pytestmark = pytest.mark.slow


def test_the_bundle_is_whole_and_says_what_it_is_not_for() -> None:
    manifest = open_bundle(BUNDLE).manifest
    assert manifest.name == "eenet-fast-transfer"
    assert "never for patients" in str(manifest.provenance)
    assert "never for patients" in (BUNDLE / "MODEL_CARD.md").read_text()


def test_it_proves_itself_here() -> None:
    proved = CliRunner().invoke(app, ["selftest", str(BUNDLE)])
    assert proved.exit_code == 0, proved.output
