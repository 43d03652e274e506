"""The gate loads artefacts as the runtime does: with the same engines, and no plan that the manifest does not list."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from eenet_export.gate.gate import artifact_forms, unproved_bundle
from eenet_runtime.bundle.engine_file import FLAVOURS
from eenet_runtime.bundle.manifest import Artifact, Bundle, open_bundle
from eenet_runtime.errors import BackendError, BundleError
from tests.runtime.backends.engine_site import Site, make_site
from tests.synthetic import TINY


@pytest.fixture(params=FLAVOURS)
def site(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A machine with an imagined GPU, and a plan."""
    made = make_site(request.param, tmp_path, monkeypatch)
    made.write()
    return made


def test_a_plan_is_held_against_the_oracle_under_its_own_name_and_given_back(site: Site) -> None:
    bundle = unproved_bundle(site.folder, site.artifact, TINY)
    assert [form.name for form in artifact_forms(bundle, site.artifact)] == [f"{site.flavour}-fp16"]
    assert site.cuda.live == []


def test_a_plan_that_is_not_the_one_in_the_manifest_is_not_run_by_the_gate_either(site: Site) -> None:
    bundle = unproved_bundle(site.folder, site.artifact, TINY)
    site.write(nan=True)
    with pytest.raises(BundleError, match="SHA-256 is not the manifest's"):
        next(artifact_forms(bundle, site.artifact))
    assert site.trt.deserialised == 0


def test_a_plan_that_no_manifest_lists_is_not_run(site: Site) -> None:
    made = unproved_bundle(site.folder, site.artifact, TINY)
    bundle = Bundle(made.folder, replace(made.manifest, files=()), "")
    with pytest.raises(BundleError, match="not among the files that the manifest lists"):
        next(artifact_forms(bundle, site.artifact))
    assert site.trt.deserialised == 0


def test_a_graph_is_held_against_the_oracle_in_both_engines(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    forms = artifact_forms(bundle, bundle.manifest.artifacts[0])
    assert [form.name for form in forms] == ["onnx-fp32", "onnx-fp32-openvino"]


def test_an_artefact_of_an_unknown_kind_is_refused_and_not_passed_over(tiny_bundle: Path) -> None:
    artifact = Artifact("core-ml", "model.mlpackage", "fp32", "fp32")
    with pytest.raises(BackendError, match="no engine is known for artefacts of kind core-ml"):
        next(artifact_forms(open_bundle(tiny_bundle), artifact))
