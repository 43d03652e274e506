"""The gate loads artefacts as the runtime does, and holds each against the oracle on every case."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eenet_export.gate.gate import Form, artifact_forms, measure, unproved_bundle
from eenet_export.gate.parity import KERAS, ORACLE, UNROUNDED, Labels, ParityCase, Volume
from eenet_export.gate.workshop import Workshop
from eenet_runtime.bundle.engine_file import FLAVOURS
from eenet_runtime.bundle.manifest import Artifact, Bundle, open_bundle
from eenet_runtime.errors import BackendError, BundleError, ParityError
from eenet_runtime.volumes.labels import Label
from tests.runtime.backends.engine_site import Site, make_site
from tests.synthetic import TINY, Head, case_files


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


# What is held against what


@pytest.fixture(scope="module")
def cases(head: Head, tmp_path_factory: pytest.TempPathFactory) -> tuple[ParityCase, ...]:
    """Two cases: one image under two names."""
    files = case_files(tmp_path_factory.mktemp("cases"), "A", head)
    case = ParityCase.read(files, TINY)
    return case, replace(case, case_id="B")


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    with Workshop(tmp_path / "bundle", "one export") as opened:
        yield opened


def slab(upto: int) -> Callable[[Volume], Volume]:
    """A network that finds an enhancing tumour in the first planes, as many as it is told."""

    def run(volume: Volume) -> Volume:
        probabilities = np.zeros((*volume.shape[:3], 4), np.float32)
        probabilities[..., Label.BACKGROUND] = 1
        probabilities[:upto] = [0, 0, 0, 1]
        return probabilities

    return run


def test_every_form_is_held_against_the_oracle_and_not_against_keras(
    cases: tuple[ParityCase, ...], workshop: Workshop
) -> None:
    forms = [Form(ORACLE, slab(8)), Form(KERAS, slab(16)), Form("onnx-fp32", slab(8)), Form(UNROUNDED, slab(32))]
    rows = measure(cases, forms, workshop, lambda step: None)
    assert {(row.case_id, row.candidate, row.reference, round(row.dice["WT"], 6)) for row in rows} == {
        (case, candidate, reference, round(dice, 6))
        for case in ("A", "B")
        for candidate, reference, dice in (
            (KERAS, ORACLE, 2 / 3),  # 8 planes of 16
            ("onnx-fp32", ORACLE, 1.0),
            (KERAS, UNROUNDED, 2 / 3),  # 16 planes of 32: the trained network is the reference
        )
    }
    assert {row.region_voxels["ET"] for row in rows if row.reference == ORACLE} == {8 * 64 * 24}


def differing(voxels: int, asked: list[int]) -> Callable[[Volume], Labels]:
    """Labels of `slab(8)` with another class in so many voxels; each call is noted."""

    def run(volume: Volume) -> Labels:
        asked.append(voxels)
        labels: Labels = slab(8)(volume).argmax(axis=-1).astype(np.uint8)
        labels.reshape(-1)[:voxels] = Label.NCR
        return labels

    return run


@pytest.mark.parametrize(("voxels", "passes"), [(0, True), (9, True), (10, False), (5000, False)])
def test_labels_are_the_classes_of_the_probabilities_but_for_one_voxel_in_10_000(
    cases: tuple[ParityCase, ...], voxels: int, passes: bool
) -> None:
    # 98,304 voxels: ties that both ways of computing break in their own way.
    form = Form("onnx-fp32", slab(8), differing(voxels, []))
    if passes:
        assert form.run(cases[0].volume, check_labels=True).form == "onnx-fp32"
        return
    with pytest.raises(
        ParityError, match=r"^onnx-fp32: its labels differ from its probabilities' classes in \d+\.\d\d% of the voxels$"
    ):
        form.run(cases[0].volume, check_labels=True)


def test_labels_are_looked_at_on_the_first_case_and_on_no_other(
    cases: tuple[ParityCase, ...], workshop: Workshop
) -> None:
    asked: list[int] = []
    good = Form("onnx-fp32", slab(8), differing(0, asked))
    measure(cases, [Form(ORACLE, slab(8)), good], workshop, lambda step: None)
    assert asked == [0]
    bad = Form("onnx-fp16", slab(8), differing(5000, asked))
    with pytest.raises(ParityError, match="onnx-fp16: its labels differ from its probabilities' classes"):
        measure(cases[:1], [Form(ORACLE, slab(8)), bad], workshop, lambda step: None)
