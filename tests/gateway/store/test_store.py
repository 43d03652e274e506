"""The store: what an arriving image is, what a decision leads to, and what an operator may do."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from eenet_gateway.store.database import Database
from eenet_gateway.store.folders import Folders, write_image
from eenet_gateway.store.images import Arrival, ReceivedImage, arrival_of, images_of, inputs_of, record_image
from eenet_gateway.store.operator import drop, release, retry
from eenet_gateway.store.results import (
    ResultFile,
    has_results,
    next_delivery,
    record_dead,
    record_later,
    record_results,
    record_sent,
    settle_delivery,
)
from eenet_gateway.store.states import Happening, State
from eenet_gateway.store.studies import events_of, known_study, named_study, step, studies_in
from eenet_runtime.errors import GatewayError

_TIMES = itertools.count(1000)


def _arrive(db: Database, sop: str = "1.2.3", content: str = "aa", study: str = "1.2", series: str = "1.2.9") -> str:
    arrival = arrival_of(db, sop, content)
    return record_image(db, ReceivedImage(study, series, sop, content, 10, "PACS"), arrival, float(next(_TIMES)))


def _computed(db: Database, key: str, *kinds: str, names: tuple[str, ...] = ("pacs",)) -> None:
    """Take a study from receiving to delivering."""
    with db.transaction():
        step(db, key, Happening.COMPLETE, 0.0)
        step(db, key, Happening.STARTED, 0.0)
        files = [ResultFile(kind, f"{kind}.dcm", f"2.25.{i}{key}", "1", "1", "") for i, kind in enumerate(kinds)]
        record_results(db, known_study(db, key), files, dict.fromkeys(names, ("seg", "sr", "sc")), 0.0)
        step(db, key, Happening.FINISHED, 0.0)


def test_an_image_is_new_once_and_the_same_from_then_on(db: Database) -> None:
    assert arrival_of(db, "1.2.3", "aa") is Arrival.NEW
    _arrive(db)
    assert arrival_of(db, "1.2.3", "aa") is Arrival.SAME
    assert arrival_of(db, "1.2.3", "bb") is Arrival.CONFLICT


def test_a_new_image_makes_a_done_study_be_decided_again(db: Database) -> None:
    key = _arrive(db)
    _computed(db, key)
    assert settle_delivery(db, key, 0.0)
    assert known_study(db, key).state is State.DONE
    _arrive(db, "1.2.4")
    row = known_study(db, key)
    assert (row.state, row.revision) == (State.RECEIVING, 2)


def test_images_of_a_study_that_runs_do_not_stop_it(db: Database) -> None:
    key = _arrive(db)
    with db.transaction():
        step(db, key, Happening.COMPLETE, 0.0)
        step(db, key, Happening.STARTED, 0.0)
    _arrive(db, "1.2.4")
    assert known_study(db, key).state is State.RUNNING


def test_the_inputs_of_a_result_do_not_depend_on_images_of_other_series(db: Database) -> None:
    key = _arrive(db)
    roles = {"t1": "1.2.9"}
    before = inputs_of(images_of(db, key), roles)
    _arrive(db, "1.2.4", series="1.2.10")
    assert inputs_of(images_of(db, key), roles) == before
    _arrive(db, "1.2.5", series="1.2.9")
    assert inputs_of(images_of(db, key), roles) != before


def test_an_image_that_contradicts_another_one_does_not_count_as_input(db: Database) -> None:
    key = _arrive(db)
    before = inputs_of(images_of(db, key), {"t1": "1.2.9"})
    _arrive(db, content="bb")
    assert inputs_of(images_of(db, key), {"t1": "1.2.9"}) == before


def test_results_go_in_the_order_seg_sr_sc_and_fresh_studies_before_retries(db: Database) -> None:
    old = _arrive(db)
    _computed(db, old, "sc", "seg", "sr")
    first = next_delivery(db, "pacs", 1.0)
    assert [one.kind for one in first] == ["seg", "sr", "sc"]
    record_later(db, first[0], "no answer", 1.0, 5.0)
    assert next_delivery(db, "pacs", 4.0) == []
    fresh = _arrive(db, "1.3.3", study="1.3")
    _computed(db, fresh, "sr")
    assert next_delivery(db, "pacs", 9.0)[0].study == fresh
    record_sent(db, next_delivery(db, "pacs", 9.0)[0], "0000", 9.0)
    assert next_delivery(db, "pacs", 9.0)[0].study == old


def test_a_study_is_done_when_the_last_destination_has_the_last_result(db: Database) -> None:
    key = _arrive(db)
    _computed(db, key, "seg", "sr", names=("pacs", "archive"))
    for name in ("pacs", "archive"):
        for one in next_delivery(db, name, 1.0):
            assert not settle_delivery(db, key, 1.0)
            record_sent(db, one, "0000", 1.0)
    assert settle_delivery(db, key, 1.0)
    assert known_study(db, key).state is State.DONE


def test_a_refused_result_fails_the_study_after_the_others_were_sent_and_a_retry_sends_it_again(db: Database) -> None:
    key = _arrive(db)
    _computed(db, key, "seg", "sr")
    seg, report = next_delivery(db, "pacs", 1.0)
    record_dead(db, seg, "C000", 1.0)
    assert not settle_delivery(db, key, 1.0)
    record_sent(db, report, "0000", 1.0)
    assert settle_delivery(db, key, 1.0)
    assert (known_study(db, key).state, known_study(db, key).reason) == (State.FAILED, "pacs: C000")
    retry(db, key, 2.0)
    with db.transaction():
        step(db, key, Happening.UNCHANGED, 2.0)
    assert [one.kind for one in next_delivery(db, "pacs", 2.0)] == ["seg"]


def test_an_operator_is_told_in_one_line_what_a_study_does_not_allow(db: Database) -> None:
    key = _arrive(db)
    with pytest.raises(GatewayError, match=f"study {key} is receiving: it cannot be asked to release"):
        release(db, key, {}, 0.0)
    with pytest.raises(GatewayError, match=r"0 studies called '9\.9\.9', expected one"):
        named_study(db, "9.9.9")


def test_a_study_is_called_by_its_uid_or_the_begin_of_its_key(db: Database) -> None:
    key = _arrive(db)
    assert named_study(db, "1.2").key == named_study(db, key[:6]).key == key


def test_a_release_sets_the_later_of_two_contradicting_images_aside(db: Database) -> None:
    key = _arrive(db)
    _arrive(db, content="bb")
    with db.transaction():
        step(db, key, Happening.UNCLEAR, 0.0)
    release(db, key, {"t1": "3"}, 0.0)
    assert {image.sha256: str(image.standing) for image in images_of(db, key)} == {"aa": "used", "bb": "set aside"}
    assert known_study(db, key).choices == {"t1": "3"}


def test_a_dropped_study_leaves_no_image_on_the_disk_and_is_new_when_it_comes_again(
    db: Database, folders: Folders
) -> None:
    key = db.key_of("1.2")
    write_image(folders, folders.image(key, "aa"), b"image")
    _arrive(db)
    drop(db, folders, key, 0.0)
    assert not list(folders.data.rglob("*.dcm"))
    assert known_study(db, key).state is State.IGNORED
    assert arrival_of(db, "1.2.3", "aa") is Arrival.NEW


def test_a_transaction_that_fails_leaves_nothing(db: Database) -> None:
    key = _arrive(db)

    def fail() -> None:
        with db.transaction():
            step(db, key, Happening.COMPLETE, 0.0)
            raise ValueError("a mistake")

    with pytest.raises(ValueError, match="a mistake"):
        fail()
    assert known_study(db, key).state is State.RECEIVING
    assert len(events_of(db, key)) == 1


def test_two_processes_may_use_the_database(db: Database, folders: Folders) -> None:
    key = _arrive(db)
    with Database(folders.database, create=False) as other:
        assert [row.key for row in studies_in(other, State.RECEIVING)] == [key]
        assert other.key_of("1.2") == key
        assert not has_results(other, known_study(other, key))


def test_a_database_that_is_none_or_of_another_version_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match="no such database"):
        Database(tmp_path / "missing", create=False)
    (tmp_path / "text").write_text("something else, long enough to be looked at" * 50)
    with pytest.raises(GatewayError, match="the database cannot be used"):
        Database(tmp_path / "text")
    with Database(tmp_path / "new") as fresh:
        fresh.run("PRAGMA user_version = 7")
    with pytest.raises(GatewayError, match="a database of version 7, expected 1"):
        Database(tmp_path / "new")


def test_an_image_that_cannot_be_written_leaves_nothing(folders: Folders) -> None:
    folders.studies.rmdir()
    with pytest.raises(OSError, match="No such file"):
        write_image(folders, folders.image("k", "aa"), b"image")
    assert not list(folders.data.rglob("*.part"))
