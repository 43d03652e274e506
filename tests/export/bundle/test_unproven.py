"""A network that finds no tumour gets no bundle, and one that says what it is to those who insist."""

from __future__ import annotations

from pathlib import Path

import pytest

from eenet_export.bundle.overview import bundle_overview
from eenet_export.bundle.package import ExportSettings, export_model
from eenet_export.gate.gate import keras_function
from eenet_export.gate.parity import ParityLimits
from eenet_runtime.backends import make_backend
from eenet_runtime.bundle.manifest import Bundle
from eenet_runtime.commands.machine_info import describe_bundle
from eenet_runtime.errors import ParityError
from eenet_runtime.selftest.selftest import describe_self_test, self_test
from tests.export.stand_in import small_source
from tests.synthetic import make_head, write_case

pytestmark = [pytest.mark.tf, pytest.mark.slow]

NO_TUMOUR = "no tumour voxel in the golden case, so that the masks prove nothing"


def test_a_network_that_labels_no_tumour_is_refused_and_let_out_only_as_not_proven(tmp_path: Path) -> None:
    cases, output = tmp_path / "cases", tmp_path / "bundle"
    cases.mkdir()
    write_case(cases, "Case_1", make_head())
    told: list[str] = []

    def export(settings: ExportSettings) -> Bundle:
        source = small_source(finds_tumours=False)
        return export_model(source, output, cases, settings, told.append, lambda stored: keras_function(stored.model))

    with pytest.raises(ParityError, match=r"^keras against oracle: no tumour voxel found by oracle in any of 1 cases"):
        export(ExportSettings(native=False))
    assert [path.name for path in tmp_path.iterdir()] == ["cases"]

    made = export(ExportSettings(native=False, limits=ParityLimits(allow_unproven=True)))
    assert f"the self-test of this bundle will say: {NO_TUMOUR}" in told
    manifest = made.manifest
    regions = ["ET", "TC", "WT"]
    assert manifest.not_proven == {"keras": regions, "onnx-fp32": regions, "onnx-fp32-openvino": regions}
    found = manifest.provenance["golden_voxels"]
    assert (found["NCR"], found["ED"], found["ET"]) == (0, 0, 0)
    for text in (describe_bundle(made), bundle_overview(made)):
        assert "not proven: ET, TC, WT: no voxel of it in any case that keras, onnx-fp32, onnx-fp32-openvino" in text
        assert NO_TUMOUR in text
    test = self_test(made, make_backend(made, backend="onnxruntime", threads=1))
    assert describe_self_test(test).endswith(f"PASS, but {NO_TUMOUR}")
