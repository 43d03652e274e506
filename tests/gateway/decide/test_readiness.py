"""When a study is complete, and what becomes of one that is not."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from eenet_gateway.config.settings import Readiness
from eenet_gateway.decide.looking import Look, LookRequest, look
from eenet_gateway.decide.readiness import CONTRADICTION, GONE, Turn, decide, turn_of
from eenet_gateway.store.database import Database
from eenet_gateway.store.folders import Folders
from eenet_gateway.store.images import ReceivedImage, arrival_of, delete_files, record_image
from eenet_gateway.store.operator import release
from eenet_gateway.store.results import ResultFile, record_results, settle_delivery
from eenet_gateway.store.states import Happening, State
from eenet_gateway.store.studies import StudyRow, known_study, step
from tests.dicom_studies import AGENT, FakeSeries, write_series, write_study
from tests.gateway.gateway_process import small_study

TIMES = Readiness(series_quiet_s=15, study_quiet_s=120, give_up_s=1800)
ROLES = {"t1": "1.2.1", "t1ce": "1.2.2", "t2": "1.2.3", "flair": "1.2.4"}
COMPLETE = Look(ROLES, "")
INCOMPLETE = Look({}, "flair: missing (no series looks like it)")
_TIMES = itertools.count(1000)


def arrive(db: Database, sop: str, series: str, content: str = "aa") -> str:
    image = ReceivedImage("1.2", series, sop, content, 1, "PACS")
    return record_image(db, image, arrival_of(db, sop, content), float(next(_TIMES)))


@pytest.fixture
def key(db: Database) -> str:
    for place, series in enumerate(ROLES.values()):
        arrive(db, f"1.3.{place}", series)
    return db.key_of("1.2")


def judged(db: Database, key: str, seen: Look, turn: Turn = Turn.DECIDE) -> State:
    return decide(db, key, seen, turn, known_study(db, key).revision, 5000.0)


def deliver(db: Database, key: str) -> None:
    """What worker and sender do."""
    with db.transaction():
        step(db, key, Happening.STARTED, 0.0)
        row = known_study(db, key)
        record_results(db, row, [ResultFile("seg", "a", f"2.25.{row.generation}", "1", "1", "")], {}, 0.0)
        step(db, key, Happening.FINISHED, 0.0)
    assert settle_delivery(db, key, 5000.0)


@pytest.mark.parametrize(
    ("quiet_s", "age_s", "being_received", "turn"),
    [
        (10, 10, False, Turn.WAIT),
        (16, 16, True, Turn.WAIT),
        (16, 16, False, Turn.TRY),
        (119, 119, True, Turn.WAIT),
        (121, 121, True, Turn.DECIDE),
        (1, 1801, True, Turn.DECIDE),
    ],
)
def test_it_is_time_after_a_pause_and_at_last_in_any_case(
    db: Database, key: str, quiet_s: float, age_s: float, being_received: bool, turn: Turn
) -> None:
    row: StudyRow = replace(known_study(db, key), last=5000.0 - quiet_s, entered=5000.0 - age_s, decided=0)
    assert turn_of(row, being_received, 5000.0, TIMES) is turn


def test_a_complete_study_is_ready_at_the_first_look(db: Database, key: str) -> None:
    assert judged(db, key, COMPLETE, Turn.TRY) is State.READY
    assert known_study(db, key).generation == 1


def test_an_incomplete_study_waits_at_the_first_look_and_is_held_at_the_last(db: Database, key: str) -> None:
    assert judged(db, key, INCOMPLETE, Turn.TRY) is State.RECEIVING
    assert judged(db, key, INCOMPLETE) is State.HELD
    assert known_study(db, key).reason == "flair: missing (no series looks like it)"


def test_images_that_came_while_it_was_looked_at_call_for_another_look(db: Database, key: str) -> None:
    before = known_study(db, key).revision
    arrive(db, "1.3.9", "1.2.1")
    assert decide(db, key, COMPLETE, Turn.TRY, before, 5000.0) is State.RECEIVING


def test_two_images_of_one_uid_hold_the_study_until_somebody_decides(db: Database, key: str) -> None:
    arrive(db, "1.3.0", "1.2.1", "bb")
    assert judged(db, key, COMPLETE) is State.HELD
    assert known_study(db, key).reason == CONTRADICTION
    release(db, key, {}, 5001.0)
    assert judged(db, key, COMPLETE) is State.READY


def test_a_study_that_somebody_released_is_looked_at_at_once(db: Database, key: str) -> None:
    judged(db, key, INCOMPLETE)
    release(db, key, {"flair": "4"}, 6000.0)
    assert turn_of(known_study(db, key), False, 6000.1, TIMES) is Turn.DECIDE


def test_the_same_images_are_not_computed_twice_and_others_are(db: Database, key: str) -> None:
    judged(db, key, COMPLETE)
    deliver(db, key)
    arrive(db, "1.3.9", "1.2.99")
    assert judged(db, key, COMPLETE) is State.DONE
    arrive(db, "1.3.10", "1.2.1")
    assert judged(db, key, COMPLETE) is State.READY
    assert known_study(db, key).generation == 2


def test_a_study_whose_images_were_deleted_asks_for_them_when_a_new_one_comes(
    db: Database, folders: Folders, key: str
) -> None:
    judged(db, key, COMPLETE)
    deliver(db, key)
    with db.transaction():
        delete_files(db, folders, key)
    arrive(db, "1.3.9", "1.2.1")
    assert judged(db, key, INCOMPLETE) is State.HELD
    assert known_study(db, key).reason == GONE
    for place, series in enumerate(ROLES.values()):
        arrive(db, f"1.3.{place}", series)
    assert judged(db, key, COMPLETE) is State.READY


def test_what_is_no_study_of_a_brain_is_ignored(db: Database, key: str) -> None:
    assert judged(db, key, Look({}, "t1: missing", ours=False)) is State.IGNORED


def test_a_look_at_a_whole_study_names_the_series_of_each_contrast(tmp_path: Path) -> None:
    seen = look(LookRequest(write_study(tmp_path, small_study(1)), None, {}))
    assert seen.complete
    assert {role: uid.rpartition(".")[2] for role, uid in seen.roles.items()} == {
        "t1": "2", "t1ce": "6", "t2": "4", "flair": "3",
    }  # fmt: skip


def test_two_t1_that_nothing_tells_apart_are_told_and_a_choice_by_hand_settles_them(tmp_path: Path) -> None:
    t1, flair, t2, t1ce = small_study(1)
    unmarked = t1ce.changed(description="t1_mprage_sag", tags={k: v for k, v in t1ce.tags.items() if k not in AGENT})
    write_study(tmp_path, [t1, flair, t2, unmarked])
    seen = look(LookRequest(tmp_path, None, {}))
    assert not seen.complete
    assert "t1: ambiguous" in seen.reason
    assert look(LookRequest(tmp_path, None, {"t1": "2", "t1ce": "6"})).complete
    assert "called 77 for t1" in look(LookRequest(tmp_path, None, {"t1": "77"})).reason


def test_a_missing_slice_is_told(tmp_path: Path) -> None:
    t1, *others = small_study(1)
    write_study(tmp_path, others)
    write_series(tmp_path / "t1", t1.changed(shape=(22, 4, 4)), only=[*range(9), *range(10, 22)])
    assert "t1: missing" in look(LookRequest(tmp_path, None, {})).reason


def test_a_study_of_two_patients_is_told(tmp_path: Path) -> None:
    t1, *others = small_study(1)
    write_study(tmp_path, [FakeSeries.changed(t1, patient_id="OTHER"), *others])
    assert look(LookRequest(tmp_path, None, {})).reason == "files of two patients or more, expected one"
