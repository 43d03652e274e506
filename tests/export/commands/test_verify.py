"""`eenet-export verify --record`: what it says of the manifest that it changed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from eenet_export.cli import app
from eenet_export.gate import verify
from eenet_export.gate.verify import Verification

SIGN_AGAIN = "the manifest's signature no longer fits: sign the bundle again with eenet-export sign"


@pytest.mark.tf
@pytest.mark.parametrize("signed", [True, False])
def test_who_records_figures_in_a_signed_bundle_is_told_to_sign_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signed: bool
) -> None:
    monkeypatch.setattr(verify, "verify_bundle", lambda *_, **__: Verification((), {}, {}, {}))
    monkeypatch.setattr(verify, "record", lambda *_: SimpleNamespace(bundle_id="0123"))
    if signed:
        (tmp_path / "manifest.json.sig").write_text("a signature")
    result = CliRunner().invoke(app, ["verify", str(tmp_path), "--cases", str(tmp_path), "--record"])
    assert result.exit_code == 0, result.output
    assert "recorded: bundle 0123" in result.output
    assert (SIGN_AGAIN in result.output) == signed
