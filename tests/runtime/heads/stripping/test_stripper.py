"""The networks on heads: those that are shipped on synthetic heads, and a stand-in where the networks do not matter."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import onnx
import pytest

from eenet_export.strip.synthetic_head import SyntheticHead, draw_head
from eenet_runtime.bundle.bundle_files import MANIFEST_NAME
from eenet_runtime.bundle.manifest import open_bundle
from eenet_runtime.bundle.strip_manifest import open_strip_bundle
from eenet_runtime.errors import BackendError, BundleError, CaseError, SelfTestError
from eenet_runtime.files.nifti import Volume, read_volume
from eenet_runtime.heads.stripping import Stripper, shipped_strip_bundle
from eenet_runtime.heads.stripping import stripper as stripper_module
from eenet_runtime.heads.stripping.golden_head import at_golden_size
from eenet_runtime.volumes.dice import dice
from eenet_runtime.volumes.grid import Grid
from tests.places import DEMO_BUNDLE, ROOT
from tests.real_heads import real_heads
from tests.strip_stand_in import CUT, FIND, ball, seal, write_stand_in


def volume(data: np.ndarray, affine: np.ndarray, source: str = "t1ce.nii.gz") -> Volume:
    return Volume(source, data, Grid(data.shape, affine), nib.Nifti1Image(data, affine).header)


def head_volume(head: SyntheticHead) -> Volume:
    return volume(head.image, np.diag([*(head.spacing_mm,) * 3, 1.0]))


@pytest.fixture(scope="session")
def shipped() -> Iterator[Stripper]:
    stripper = Stripper()
    yield stripper
    stripper.close()


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    return write_stand_in(tmp_path / "stand-in")


@pytest.mark.parametrize("pitch", [0.0, 20.0])
def test_the_brain_of_a_synthetic_head_is_found_however_it_nods(shipped: Stripper, pitch: float) -> None:
    head = draw_head((96, 112, 112), 2.0, pitch_degrees=pitch, cavity_mm=18.0)
    found = shipped.strip(head_volume(head), None, None)
    at_two = found.mask[16:-16, 16:-16, 16:-16].reshape(96, 2, 112, 2, 112, 2).mean(axis=(1, 3, 5)) >= 0.5
    assert dice(at_two, head.brain) > 0.92
    assert 1200 < found.figures.volume_ml < 1500
    assert 1.0 < found.figures.compactness < 1.5
    assert found.figures.border_share == 0
    assert found.figures.agreement is None
    assert found.source.startswith("strip-deepbet ")


def test_t1_and_t1ce_are_averaged_and_their_agreement_told(stand_in: Path) -> None:
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    t1ce = volume((ball((60, 60, 60), 20) * 100).astype(np.float32), affine)
    moved = np.eye(4)
    moved[0, 3] = 10.0
    shifted = affine.copy()
    shifted[0, 3] = 10.0
    alone = Stripper(stand_in).strip(t1ce, None, None)
    right = Stripper(stand_in).strip(t1ce, volume(t1ce.data, shifted, "t1"), moved)
    wrong = Stripper(stand_in).strip(t1ce, volume(t1ce.data, shifted, "t1"), np.eye(4))
    assert right.figures.agreement == pytest.approx(1.0)
    assert np.array_equal(right.mask, alone.mask)
    assert wrong.figures.agreement is not None
    assert 0.8 < wrong.figures.agreement < 0.95


def test_where_the_t1_shows_nothing_the_t1ce_speaks_alone(stand_in: Path) -> None:
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    t1ce = volume((ball((60, 60, 60), 20) * 100).astype(np.float32), affine)
    upper = affine.copy()
    upper[2, 3] = 50.0
    slab = volume(t1ce.data[:, :, 25:], upper, "t1")
    assert (
        dice(Stripper(stand_in).strip(t1ce, slab, np.eye(4)).mask, Stripper(stand_in).strip(t1ce, None, None).mask)
        > 0.97
    )


def test_a_brain_at_the_edge_of_the_field_of_view_is_told(stand_in: Path) -> None:
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    whole = volume((ball((60, 60, 60), 20) * 100).astype(np.float32), affine)
    half = volume(whole.data[:, :, 30:], affine)
    assert Stripper(stand_in).strip(whole, None, None).figures.border_share == 0
    assert Stripper(stand_in).strip(half, None, None).figures.border_share > 0.01


def test_the_mask_lies_where_the_head_lies_whatever_its_axes(stand_in: Path) -> None:
    oblique = np.eye(4)
    angle = np.radians(20)
    oblique[:3, :3] = [[0, 0, -3.0], [-np.cos(angle), np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0]]
    oblique[:3, 3] = (5, -40, 60)
    data = (ball((100, 100, 33), 30, (50, 45, 16)) & ball((100, 100, 97), 30, (50, 45, 48))[:, :, ::3]) * 100
    found = Stripper(stand_in).strip(volume(data.astype(np.int16), oblique), None, None)
    centre = found.grid.affine @ [*np.argwhere(found.mask).mean(axis=0), 1]
    assert centre[:3] == pytest.approx((oblique @ [50, 45, 16, 1])[:3], abs=0.5)
    assert found.grid.spacing_mm == pytest.approx((1, 1, 1))
    assert found.grid.axes == "RAS"


def test_a_head_without_a_brain_is_refused_by_its_name(stand_in: Path) -> None:
    with pytest.raises(CaseError, match=r"^t1ce\.nii\.gz: nothing but one value found"):
        Stripper(stand_in).strip(volume(np.zeros((40, 40, 40), np.float32), np.eye(4)), None, None)


def test_a_head_of_half_a_metre_is_refused(stand_in: Path) -> None:
    with pytest.raises(CaseError, match="500 mm along an axis found"):
        Stripper(stand_in).strip(volume(np.zeros((50, 20, 20), np.float32), np.diag([10.0, 5, 5, 1])), None, None)


@pytest.mark.parametrize("name", [FIND.path, CUT.path, "golden.npz", "LICENSE"])
def test_a_changed_byte_anywhere_is_refused_by_the_files_name(stand_in: Path, name: str) -> None:
    content = bytearray((stand_in / name).read_bytes())
    content[-1] ^= 1
    (stand_in / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name}: .* copy the bundle again"):
        Stripper(stand_in)


def test_a_manifest_that_was_changed_is_refused(stand_in: Path) -> None:
    path = stand_in / MANIFEST_NAME
    path.write_text(path.read_text().replace('"margin": 0.1', '"margin": 0.2'))
    with pytest.raises(BundleError, match="its checksum does not fit"):
        Stripper(stand_in)


def test_a_bundle_of_the_other_kind_is_refused(stand_in: Path) -> None:
    with pytest.raises(BundleError, match="a bundle of kind segmentation found, expected one of kind strip"):
        Stripper(DEMO_BUNDLE)
    with pytest.raises(BundleError, match="a bundle of kind strip found, expected one of kind segmentation"):
        open_bundle(stand_in)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_shipped_networks_pass_their_golden_case_in_either_engine(engine: str) -> None:
    stripper = Stripper(backend=engine)
    stripper.prepare()
    assert engine in stripper.source
    stripper.close()


def test_networks_with_a_changed_weight_fail_the_golden_case(tmp_path: Path) -> None:
    folder = shutil.copytree(shipped_strip_bundle(), tmp_path / "changed")
    path = folder / "cut.onnx"
    model = onnx.load(path)
    kernel = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 5)
    values = onnx.numpy_helper.to_array(kernel).copy()
    values.flat[0] += 1
    kernel.CopyFrom(onnx.numpy_helper.from_array(values, kernel.name))
    onnx.save(model, path)
    manifest = open_strip_bundle(shipped_strip_bundle()).manifest
    seal(folder, manifest)
    with pytest.raises(SelfTestError, match=r"self-test failed with .*(Dice|mean difference).*must not be used"):
        Stripper(folder).prepare()


def test_nothing_is_computed_without_an_engine(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eenet_runtime.backends.graph.installed", lambda spec: False)
    with pytest.raises(BackendError, match="neither openvino nor onnxruntime is installed"):
        Stripper(stand_in).prepare()


def test_the_shipped_bundle_names_its_source_licence_and_a_gate_that_was_passed() -> None:
    bundle = open_strip_bundle(shipped_strip_bundle())
    manifest = bundle.manifest
    assert shipped_strip_bundle() == ROOT / "models" / "strip-deepbet"
    assert manifest.source["package"] == "deepbet 1.0.2"
    assert "MIT License" in (bundle.folder / manifest.notice).read_text()
    assert {row.engine.split()[0] for row in manifest.parity} == {"openvino", "onnxruntime"}
    assert all(row.dice >= 0.9995 and row.brain_voxels > 100_000 for row in manifest.parity)
    assert sum(entry.bytes for entry in manifest.files) < 12e6


@pytest.mark.real
def test_a_real_glioma_keeps_its_volume(shipped: Stripper) -> None:
    path = real_heads() / "with-skull" / "TCGA-FG-6692" / "TCGA-FG-6692_t1ce.nii.gz"
    figures = shipped.strip(read_volume(path), None, None).figures
    assert 1500 < figures.volume_ml < 1700
    assert figures.compactness > 1.0


@pytest.mark.parametrize(("engine", "bits"), [("openvino", False), ("onnxruntime", True)])
def test_masks_of_any_number_of_threads_agree_and_onnx_runtimes_to_the_bit(engine: str, bits: bool) -> None:
    # OpenVINO sums each norm over a whole volume in as many parts as it has threads (docs/decisions/0041).
    head = draw_head((88, 104, 104), 2.2, seed=3).image
    found = []
    for threads in (1, 2, 2):
        stripper = Stripper(backend=engine, threads=threads)
        found.append(at_golden_size(stripper._loaded()).brain_probability(head, "head"))
        stripper.close()
    assert found[1].tobytes() == found[2].tobytes()
    assert dice(found[0] > 0.5, found[1] > 0.5) >= 0.9995
    if bits:
        assert found[0].tobytes() == found[1].tobytes()


def test_networks_that_have_passed_are_loaded_again_without_a_second_proof(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proved: list[str] = []
    monkeypatch.setattr(stripper_module, "require_golden", lambda bundle, stages, engine: proved.append(engine))
    stripper = Stripper(stand_in)
    for _ in range(2):
        stripper.prepare()
        stripper.close()
    assert len(proved) == 1
