"""The golden case passes the model it was made with, fails any other, and is refused when it is damaged."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from eenet_runtime.backends import make_backend
from eenet_runtime.bundle import golden_file
from eenet_runtime.bundle.manifest import Artifact, open_bundle
from eenet_runtime.errors import BackendError, BundleError
from eenet_runtime.selftest.golden import (
    GOLDEN_NAME,
    LIMITS,
    MIN_REGION_VOXELS,
    STEPS_PER_UNIT,
    USUAL,
    GoldenCase,
    golden_from_bytes,
    judge,
    read_golden,
    run_golden,
)
from eenet_runtime.selftest.norm_stress import LIMIT
from eenet_runtime.volumes.labels import Label, Region
from tests.golden import add_golden
from tests.synthetic import CLASSIFIER, TINY, TINY_2MM, write_bundle

FP32 = Artifact("onnx", "model.onnx", "fp32", "fp32")


@dataclass
class Answers:
    """A backend that gives what it is told to."""

    mask: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    name: str = "answers"
    version: str = "1"
    device: str = "none"
    gpu_index: int | None = None
    artifact: Artifact = FP32

    def __call__(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.probabilities

    def labels(self, volume: NDArray[np.float32]) -> NDArray[np.uint8]:
        return self.mask

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_bundle(tmp_path_factory.mktemp("golden") / "bundle")
    add_golden(folder)
    return folder


@pytest.fixture(scope="module")
def case(bundle: Path) -> GoldenCase:
    return read_golden(open_bundle(bundle))


@pytest.fixture(scope="module")
def right(bundle: Path, case: GoldenCase) -> NDArray[np.float32]:
    """What the bundle's model makes of the golden case, float32 (H, W, D, 4)."""
    backend = make_backend(open_bundle(bundle), backend="onnxruntime", threads=1)
    probabilities = np.ascontiguousarray(backend(case.volume))
    backend.close()
    return probabilities


def test_the_model_it_was_made_with_passes(bundle: Path, case: GoldenCase) -> None:
    opened = open_bundle(bundle)
    result = run_golden(case, make_backend(opened, backend="onnxruntime", threads=1), opened.manifest.artifacts[0])
    assert result.passed
    assert result.reason is None
    assert result.not_proven == ()
    assert result.agreement == 1.0
    assert result.max_abs_difference == 0.0
    assert set(result.dice.values()) == {1.0}
    assert min(case.voxels_by_class().values()) > 100, "a class that is not there is not tested"


def test_a_model_with_slightly_other_weights_fails(case: GoldenCase, tmp_path: Path) -> None:
    weights = CLASSIFIER.copy()
    weights[1, 3] *= 0.9
    opened = open_bundle(write_bundle(tmp_path / "other", weights=weights))
    result = run_golden(case, make_backend(opened, backend="onnxruntime", threads=1), opened.manifest.artifacts[0])
    assert not result.passed
    assert str(result.reason).startswith("agreement 0.9")


def test_the_volume_has_the_same_bits_everywhere(case: GoldenCase) -> None:
    volume = case.volume
    assert volume.dtype == np.float32
    assert volume.shape == (*TINY.shape, 4)
    steps = volume * STEPS_PER_UNIT
    assert np.array_equal(steps, np.rint(steps)), "only whole steps"
    assert np.array_equal(steps[:: case.repeats[0], :: case.repeats[1], :: case.repeats[2]], case.coarse)


def test_an_engine_that_gives_labels_only_is_judged_by_them(case: GoldenCase, right: NDArray[np.float32]) -> None:
    engine = Answers(case.labels, right)
    result = run_golden(case, engine, replace(FP32, probabilities_name=""))
    assert result.passed
    assert result.max_abs_difference is None
    turned = Answers(np.ascontiguousarray(case.labels[:, ::-1]), right)
    assert not run_golden(case, turned, replace(FP32, probabilities_name="")).passed


@pytest.mark.parametrize("broken", ["labels", "probabilities"])
def test_both_ways_out_of_an_engine_are_tested(case: GoldenCase, right: NDArray[np.float32], broken: str) -> None:
    turned = np.ascontiguousarray(right[:, ::-1])
    mask, probabilities = (case.labels, turned) if broken == "probabilities" else (turned.argmax(-1), right)
    result = run_golden(case, Answers(mask.astype(np.uint8), probabilities), FP32)
    assert not result.passed
    assert "agreement" in str(result.reason)


def test_probabilities_are_compared_where_no_label_changes(case: GoldenCase, right: NDArray[np.float32]) -> None:
    flat = right * np.float32(0.99) + np.float32(0.0025)
    result = run_golden(case, Answers(case.labels, flat), FP32)
    assert result.agreement == 1.0
    assert "at 95 % of the positions, expected 0.001 or less" in str(result.reason)
    assert run_golden(case, Answers(case.labels, flat), replace(FP32, precision="fp16")).passed


def test_a_few_voxels_may_differ_more_but_not_without_bound(case: GoldenCase, right: NDArray[np.float32]) -> None:
    def with_outliers(size: float) -> GoldenCase:
        probabilities = case.probabilities.copy()
        probabilities[::100] += np.float32(size)
        return replace(case, probabilities=probabilities)

    assert run_golden(with_outliers(0.02), Answers(case.labels, right), FP32).passed
    result = run_golden(with_outliers(0.08), Answers(case.labels, right), FP32)
    assert result.reason == "probabilities differ by 8.00e-02 at the worst position, expected 0.05 or less"


def test_not_a_number_is_beyond_every_limit(case: GoldenCase, right: NDArray[np.float32]) -> None:
    spoiled = right.copy()
    spoiled.reshape(-1, 4)[case.positions[0]] = np.nan
    result = judge(case, [case.labels], spoiled, LIMITS["int8"])
    assert not result.passed
    assert "nan" in str(result.reason)


def test_ties_may_go_either_way_and_clear_voxels_may_not(case: GoldenCase) -> None:
    turned = case.labels.copy()
    turned[:8] = (turned[:8] + 1) % 4
    ties = np.zeros_like(case.ties)
    ties[:8] = True
    assert judge(replace(case, ties=ties), [turned], None, LIMITS["fp32"]).passed
    assert not judge(case, [turned], None, LIMITS["fp32"]).passed


def test_one_voxel_of_a_region_that_hardly_exists_fails_nobody(case: GoldenCase) -> None:
    labels = np.where(case.labels == Label.ET, Label.NCR, case.labels).astype(np.uint8)
    labels[32, 32, 12] = Label.ET
    mask = labels.copy()
    mask[32, 32, 12] = Label.NCR
    result = judge(replace(case, labels=labels), [mask], None, LIMITS["fp32"])
    assert result.dice[Region.ET] == 0.0
    assert result.passed


def test_a_region_that_is_there_must_be_found(case: GoldenCase) -> None:
    mask = case.labels.copy()
    lost = np.argwhere(mask == Label.ET)[::20]
    mask[tuple(lost.T)] = Label.BACKGROUND
    lenient = replace(LIMITS["fp32"], agreement=0.9)
    assert str(judge(case, [mask], None, lenient).reason).startswith("Dice ET 0.9")


def test_an_array_of_another_shape_is_the_engines_fault(case: GoldenCase, right: NDArray[np.float32]) -> None:
    with pytest.raises(BackendError, match="labels of shape"):
        judge(case, [case.labels[1:]], None, LIMITS["fp32"])
    with pytest.raises(BackendError, match="probabilities of shape"):
        judge(case, [case.labels], right[..., :3], LIMITS["fp32"])


def test_a_precision_without_limits_is_refused(case: GoldenCase, right: NDArray[np.float32]) -> None:
    with pytest.raises(BundleError, match="precision 'fp8' found, the self-test knows fp32, fp16, int8"):
        run_golden(case, Answers(case.labels, right), replace(FP32, precision="fp8"))


# The limits: what the self-test promises. A change of one is a change of this page.

BLOCK = (40, 50, 50)
VOXELS = 100_000
POSITIONS = 1000


def block(*, ed: int = 0, et: int = 0) -> GoldenCase:
    """A golden case of 100,000 voxels with so many voxels of two classes, and probabilities of 0 at 1000 positions."""
    labels = np.zeros(VOXELS, np.uint8)
    labels[:ed], labels[ed : ed + et] = Label.ED, Label.ET
    return GoldenCase(
        coarse=np.zeros((*BLOCK, 4), np.int8),
        repeats=(1, 1, 1),
        labels=labels.reshape(BLOCK),
        ties=np.zeros(BLOCK, np.bool_),
        positions=np.arange(POSITIONS, dtype=np.int32),
        probabilities=np.zeros((POSITIONS, 4), np.float32),
    )


def turned(case: GoldenCase, first: int, count: int, label: Label) -> NDArray[np.uint8]:
    """The expected labels with another class in so many voxels from the first on."""
    mask = case.labels.copy()
    mask.reshape(-1)[first : first + count] = label
    return mask


def off_by(difference: np.float32, positions: int) -> NDArray[np.float32]:
    """Probabilities that differ from those of `block` at the first so many positions."""
    found = np.zeros((VOXELS, 4), np.float32)
    found[:positions, 1] = difference
    return found.reshape(*BLOCK, 4)


def test_the_limits_of_the_self_test_are_these() -> None:
    assert {precision: asdict(limits) for precision, limits in LIMITS.items()} == {
        "fp32": {"agreement": 0.9995, "dice": 0.999, "usual_difference": 1e-3, "max_difference": 0.05},
        "fp16": {"agreement": 0.999, "dice": 0.99, "usual_difference": 1e-2, "max_difference": 0.3},
        "int8": {"agreement": 0.995, "dice": 0.97, "usual_difference": 0.1, "max_difference": 1.0},
    }
    assert (MIN_REGION_VOXELS, USUAL, LIMIT) == (500, 95, 0.01)


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", 50), ("fp16", 100), ("int8", 500)])
def test_so_many_voxels_of_100_000_may_have_another_class_and_not_one_more(precision: str, allowed: int) -> None:
    case = block(ed=1)
    judged = [
        judge(case, [turned(case, 5000, count, Label.ED)], None, LIMITS[precision]) for count in (allowed, allowed + 1)
    ]
    assert [result.passed for result in judged] == [True, False]
    assert str(judged[1].reason).startswith("agreement 0.99")


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", 1), ("fp16", 19), ("int8", 58)])
def test_so_many_voxels_of_a_region_of_1000_may_be_lost_and_not_one_more(precision: str, allowed: int) -> None:
    case = block(et=1000)
    judged = [
        judge(case, [turned(case, 0, count, Label.BACKGROUND)], None, LIMITS[precision])
        for count in (allowed, allowed + 1)
    ]
    assert [result.passed for result in judged] == [True, False]
    assert str(judged[1].reason).startswith("Dice ET 0.9")


@pytest.mark.parametrize("precision", LIMITS)
@pytest.mark.parametrize(
    ("limit", "positions", "where"),
    [("usual_difference", POSITIONS, "at 95 % of the positions"), ("max_difference", 1, "at the worst position")],
)
def test_probabilities_may_differ_by_a_limit_and_no_more(
    precision: str, limit: str, positions: int, where: str
) -> None:
    case, edge = block(et=1000), np.float32(getattr(LIMITS[precision], limit))
    inside, outside = np.nextafter(edge, np.float32(0)), np.nextafter(edge, np.float32(2))
    judged = [judge(case, [case.labels], off_by(value, positions), LIMITS[precision]) for value in (inside, outside)]
    assert [result.passed for result in judged] == [True, False]
    assert where in str(judged[1].reason)


@pytest.mark.parametrize(("voxels", "passes"), [(499, True), (500, False)])
def test_dice_counts_from_500_voxels_on(voxels: int, passes: bool) -> None:
    case = block(et=voxels)
    result = judge(case, [turned(case, 0, 40, Label.BACKGROUND)], None, LIMITS["fp32"])
    assert result.dice[Region.ET] < 0.97
    assert result.passed == passes


# A golden case without a tumour


def test_regions_without_a_voxel_are_told(case: GoldenCase) -> None:
    without = block(ed=1000)
    result = judge(without, [without.labels], None, LIMITS["fp32"])
    assert result.passed
    assert result.not_proven == (Region.ET, Region.TC)
    assert result.proves_tumours
    assert without.regions_in_words() == "ET 0, TC 0, WT 1000 voxels"


def test_labels_alone_pass_no_golden_case_without_a_tumour() -> None:
    empty = block()
    with_probabilities = judge(empty, [empty.labels], off_by(np.float32(0), 0), LIMITS["fp32"])
    assert with_probabilities.passed
    assert not with_probabilities.proves_tumours
    labels_only = judge(empty, [empty.labels], None, LIMITS["fp32"])
    assert not labels_only.passed
    assert labels_only.reason == (
        "no tumour voxel in the golden case, so that the masks prove nothing, and there are no probabilities"
    )


def test_limits_never_grow_with_precision() -> None:
    order = [LIMITS[name] for name in ("int8", "fp16", "fp32")]
    assert [limit.agreement for limit in order] == sorted(limit.agreement for limit in order)
    assert [limit.dice for limit in order] == sorted(limit.dice for limit in order)
    assert [-limit.usual_difference for limit in order] == sorted(-limit.usual_difference for limit in order)
    assert [-limit.max_difference for limit in order] == sorted(-limit.max_difference for limit in order)


# Damage


def _archive(**arrays: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def _arrays(content: bytes) -> dict[str, NDArray[Any]]:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _with(name: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[[bytes], bytes]:
    def damage(content: bytes) -> bytes:
        arrays = _arrays(content)
        return _archive(**{**arrays, name: change(arrays[name])})

    return damage


def _without(name: str) -> Callable[[bytes], bytes]:
    return lambda content: _archive(**{key: array for key, array in _arrays(content).items() if key != name})


def _unpacks_to_much(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.npy", bytes(golden_file.MAX_ARRAY_BYTES + 1))
    return stream.getvalue()


def _but_one(array: NDArray[Any], value: int) -> NDArray[Any]:
    changed = array.copy()
    changed[len(array) // 2] = value
    return changed


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut off": (lambda content: content[:-100], "not a golden case"),
    "one byte": (lambda content: content[:5000] + bytes([content[5000] ^ 1]) + content[5001:], "not a golden case"),
    "no archive": (lambda content: b"hello", "not a golden case"),
    "a single array": (lambda content: content[:0] + _npy(np.zeros(3)), "not a golden case"),
    "a pickle": (_with("labels", lambda array: np.array([{"any": "object"}])), "not a golden case"),
    "unpacks to much": (_unpacks_to_much, "bytes unpacked, a golden case has less than"),
    "huge": (lambda content: bytes(golden_file.MAX_FILE_BYTES + 1), "bytes found, a golden case has less than"),
    "no labels": (_without("labels"), "array labels is missing"),
    "another type": (_with("coarse", lambda array: array.astype(np.int16)), "array coarse is int16"),
    "another shape": (_with("labels", lambda array: array[1:]), "array labels is uint8"),
    "other blocks": (_with("repeats", lambda array: array * 2), "array coarse is int8"),
    "odd blocks": (_with("repeats", lambda array: array * 0 + 5), "do not fill"),
    "no blocks": (_with("repeats", lambda array: array * 0), "do not fill"),
    "a newer format": (_with("format", lambda array: array + 1), "format 2 found, this runtime reads 1"),
    "positions outside": (_with("positions", lambda array: array + 10**6), "positions found that are not in"),
    "one position outside": (_with("positions", lambda array: _but_one(array, 10**6)), "positions found that are not"),
    "one position before": (_with("positions", lambda array: _but_one(array, -1)), "positions found that are not in"),
    "a fifth class": (_with("labels", lambda array: array + np.uint8(4)), "that no network gives"),
    "not a number": (_with("probabilities", lambda array: array * np.float32("nan")), "that no network gives"),
}


def _npy(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_refused_in_one_line_that_names_it(bundle: Path, kind: str) -> None:
    damage, message = DAMAGE[kind]
    content = damage((bundle / GOLDEN_NAME).read_bytes())
    with pytest.raises(BundleError, match=r"golden\.npz") as caught:
        golden_from_bytes(content, TINY, GOLDEN_NAME)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_case_of_another_geometry_is_refused(bundle: Path) -> None:
    taller = replace(TINY_2MM, shape=(96, 64, 24))
    with pytest.raises(BundleError, match="array labels is uint8"):
        golden_from_bytes((bundle / GOLDEN_NAME).read_bytes(), taller, GOLDEN_NAME)


def test_a_large_file_is_refused_before_it_is_read(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_bundle(bundle)
    monkeypatch.setattr(golden_file, "MAX_FILE_BYTES", 10)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("it was read"))
    with pytest.raises(BundleError, match="a golden case has less than 10"):
        read_golden(opened)


def test_a_bundle_without_one_says_so(tiny_bundle: Path) -> None:
    with pytest.raises(BundleError, match="no golden case found, so it cannot test itself"):
        read_golden(open_bundle(tiny_bundle))
