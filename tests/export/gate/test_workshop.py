"""An export that is killed goes on; one that is refused leaves nothing; one that is finished has its name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from eenet_export.gate.workshop import Workshop
from eenet_runtime.errors import ExportError, OutputError, ParityError


class Work:
    """A step that counts how often it is done."""

    def __init__(self, result: Any = True) -> None:
        self.result, self.times = result, 0

    def __call__(self) -> Any:
        self.times += 1
        return self.result


def killed() -> Any:
    raise KeyboardInterrupt


def never() -> Any:
    raise AssertionError("this step was done already")


def two_steps(output: Path, first: Callable[[], Any], second: Callable[[], Any]) -> None:
    """The beginning of an export: a step, a file in the bundle, another step."""
    with Workshop(output, "a") as workshop:
        workshop.step("first", first)
        (workshop.bundle / "model.onnx").write_bytes(b"graph")
        workshop.step("second", second)


def contents(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_result_of_a_step_is_the_same_when_it_is_made_and_when_it_was_kept(tmp_path: Path) -> None:
    work = Work({"shift": {"First": 2}, "pair": (1, 2.5), "none": None})
    workshop = Workshop(tmp_path / "model", "a")
    made, kept = workshop.step("derive", work), workshop.step("derive", work)
    assert work.times == 1
    assert made == kept == {"shift": {"First": 2}, "pair": [1, 2.5], "none": None}


def test_an_array_is_made_once_and_comes_back_bit_for_bit(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    work = Work(array)
    workshop = Workshop(tmp_path / "model", "a")
    for _ in range(2):
        found = workshop.array("case-oracle", work)
        np.testing.assert_array_equal(found, array)
        assert found.dtype == np.float32
    assert work.times == 1
    again = Workshop(tmp_path / "model", "a").array("case-oracle", never)
    np.testing.assert_array_equal(again, array)


def test_after_a_kill_the_same_export_goes_on_with_the_first_step_that_is_not_there(tmp_path: Path) -> None:
    first, third = Work(1), Work(3)
    with pytest.raises(KeyboardInterrupt):
        two_steps(tmp_path / "model", first, killed)
    assert not (tmp_path / "model").exists()
    with Workshop(tmp_path / "model", "a") as workshop:
        assert workshop.step("first", never) == 1
        assert (workshop.bundle / "model.onnx").read_bytes() == b"graph"
        assert workshop.step("second", Work(2)) == 2
        assert workshop.step("third", third) == 3
        workshop.finish()
    assert (tmp_path / "model" / "model.onnx").read_bytes() == b"graph"


def test_a_process_that_vanishes_without_an_exit_leaves_its_steps(tmp_path: Path) -> None:
    Workshop(tmp_path / "model", "a").step("first", Work(1))
    assert Workshop(tmp_path / "model", "a").step("first", never) == 1


def test_a_kill_while_an_array_is_made_leaves_no_part_of_it(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Workshop(tmp_path / "model", "a") as workshop:
        workshop.array("case", killed)
    workshop = Workshop(tmp_path / "model", "a")
    assert contents(workshop.root / "steps") == []
    np.testing.assert_array_equal(workshop.array("case", Work(np.ones(3, np.float32))), np.ones(3))


def test_another_export_starts_anew(tmp_path: Path) -> None:
    old = Workshop(tmp_path / "model", "a")
    old.step("first", Work(1))
    old.array("case", Work(np.ones(3, np.float32)))
    (old.bundle / "model.onnx").write_bytes(b"graph of another model")
    new = Workshop(tmp_path / "model", "b")
    assert contents(new.bundle) == []
    assert new.step("first", Work(2)) == 2
    # And the one before is no longer there to go on with.
    assert Workshop(tmp_path / "model", "a").step("first", Work(3)) == 3


def test_exports_to_two_folders_side_by_side_do_not_meet(tmp_path: Path) -> None:
    one, two = Workshop(tmp_path / "one", "a"), Workshop(tmp_path / "two", "a")
    one.step("first", Work(1))
    assert two.step("first", Work(2)) == 2
    assert one.step("first", never) == 1


@pytest.mark.parametrize("error", [ExportError("refused"), ParityError("disagrees"), OutputError("disk full")])
def test_a_refusal_leaves_nothing(tmp_path: Path, error: Exception) -> None:
    def refuse() -> Any:
        raise error

    with pytest.raises(type(error), match=str(error)):
        two_steps(tmp_path / "model", Work(), refuse)
    assert contents(tmp_path) == []


def test_a_bug_leaves_the_steps_as_a_kill_does(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="done already"):
        two_steps(tmp_path / "model", Work(1), never)
    assert Workshop(tmp_path / "model", "a").step("first", never) == 1


def test_a_finished_export_has_its_name_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    with Workshop(tmp_path / "new" / "model", "a") as workshop:
        (workshop.bundle / "manifest.json").write_text("{}")
        workshop.step("first", Work())
        workshop.array("case", Work(np.ones(3, np.float32)))
        assert not workshop.output.exists()
        workshop.finish()
    assert contents(tmp_path / "new") == ["model"]
    assert contents(tmp_path / "new" / "model") == ["manifest.json"]


def test_an_output_that_exists_is_refused_and_not_touched(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    for name in ("folder", "file"):
        with pytest.raises(ExportError, match=f"{name}: exists already; choose a new folder or remove it"):
            Workshop(tmp_path / name, "a")
    assert contents(tmp_path) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "mine"


def test_an_output_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path / "model", "a")
    (workshop.bundle / "manifest.json").write_text("{}")
    workshop.output.mkdir()
    (workshop.output / "mine").write_text("mine")
    with pytest.raises(OutputError, match="model: the bundle cannot be written"):
        workshop.finish()
    assert contents(workshop.output) == ["mine"]


def test_a_kill_right_after_the_bundle_got_its_name_does_not_fool_the_next_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its steps are there and the files that they made are not."""
    workshop = Workshop(tmp_path / "model", "a")
    workshop.step("fp32", Work(1))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *args, **options: killed())
        with pytest.raises(KeyboardInterrupt):
            workshop.finish()
    assert (tmp_path / "model").is_dir()
    shutil.rmtree(tmp_path / "model")
    work = Work(2)
    assert Workshop(tmp_path / "model", "a").step("fp32", work) == 2
    assert work.times == 1


def test_a_folder_that_cannot_be_made_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"file"):
        Workshop(tmp_path / "file" / "model", "a")


def test_an_error_while_an_array_is_computed_is_not_taken_for_one_of_writing_it(tmp_path: Path) -> None:
    def read_a_case() -> NDArray[np.float32]:
        raise FileNotFoundError("case.nii.gz")

    with pytest.raises(FileNotFoundError, match=r"case\.nii\.gz"):
        Workshop(tmp_path / "model", "a").array("case", read_a_case)
