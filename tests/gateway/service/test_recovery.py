"""What a killed gateway left is put in order at the next start, and what is over goes from the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from eenet_gateway.config.settings import Disk, Settings
from eenet_gateway.service.gateway import Gateway
from eenet_gateway.service.recovery import MOST_INTERRUPTIONS, recover
from eenet_gateway.service.retention import tidy
from eenet_gateway.store.database import Database
from eenet_gateway.store.folders import Folders, write_image
from eenet_gateway.store.images import Arrival, ReceivedImage, images_of, record_image
from eenet_gateway.store.results import ResultFile, record_results, settle_delivery
from eenet_gateway.store.states import Happening, State
from eenet_gateway.store.studies import events_of, known_study, step, study
from eenet_runtime.errors import GatewayError

DAY_S = 86_400.0


def received(db: Database, folders: Folders, number: int = 1) -> str:
    """A study with one image."""
    image = ReceivedImage(f"1.{number}", "1.1", f"1.{number}.3", f"{number}a", 5, "PACS")
    key = db.key_of(image.study_uid)
    write_image(folders, folders.image(key, image.sha256), b"image")
    return record_image(db, image, Arrival.NEW, 0.0)


def started(db: Database, key: str) -> None:
    with db.transaction():
        step(db, key, Happening.COMPLETE, 0.0)
        step(db, key, Happening.STARTED, 0.0, attempts=1)


def done(db: Database, folders: Folders, key: str) -> None:
    started(db, key)
    place = folders.result(key, 0)
    place.mkdir(parents=True)
    (place / "seg.dcm").write_bytes(b"result")
    with db.transaction():
        record_results(db, known_study(db, key), [ResultFile("seg", "seg.dcm", f"2.25.{key}", "1", "1", "")], {}, 0.0)
        step(db, key, Happening.FINISHED, 0.0)
        assert settle_delivery(db, key, 0.0)


def test_what_was_being_computed_is_computed_again_and_the_power_cut_is_no_attempt(
    db: Database, folders: Folders
) -> None:
    key = received(db, folders)
    started(db, key)
    assert recover(db, folders, ["pacs"], 1.0).studies == 1
    assert (known_study(db, key).state, known_study(db, key).attempts) == (State.READY, 0)


def test_a_study_that_takes_the_gateway_with_it_again_and_again_is_failed(db: Database, folders: Folders) -> None:
    key = received(db, folders)
    for _ in range(MOST_INTERRUPTIONS):
        with db.transaction():
            if known_study(db, key).state is State.RECEIVING:
                step(db, key, Happening.COMPLETE, 0.0)
            step(db, key, Happening.STARTED, 0.0)
        recover(db, folders, ["pacs"], 1.0)
        assert known_study(db, key).state is State.READY
    with db.transaction():
        step(db, key, Happening.STARTED, 0.0)
    recover(db, folders, ["pacs"], 1.0)
    assert known_study(db, key).reason == "the gateway ended 11 times while it was computed"


def test_files_that_were_never_acknowledged_go_and_the_others_stay(db: Database, folders: Folders) -> None:
    key = received(db, folders)
    (folders.incoming / "x.part").write_bytes(b"half")
    (folders.work / "y").mkdir()
    write_image(folders, folders.image(key, "stray"), b"stray")
    folders.result(key, 7).mkdir(parents=True)
    found = recover(db, folders, ["pacs"], 1.0)
    assert (found.leftovers, found.missing) == (2, 0)
    assert [path.name for path in folders.data.rglob("*") if path.is_file() and "sqlite" not in path.name] == ["1a.dcm"]
    assert recover(db, folders, ["pacs"], 1.0).leftovers == 0


def test_what_waits_for_a_destination_that_is_no_more_is_told(db: Database, folders: Folders) -> None:
    key = received(db, folders)
    started(db, key)
    with db.transaction():
        results = [ResultFile("seg", "seg.dcm", "2.25.1", "1", "1", "")]
        record_results(db, known_study(db, key), results, {"old": ("seg",)}, 0.0)
        step(db, key, Happening.FINISHED, 0.0)
    recover(db, folders, ["pacs"], 1.0)
    assert known_study(db, key).reason == "old: no longer among the destinations"


def test_an_acknowledged_image_that_somebody_deleted_is_noted(db: Database, folders: Folders) -> None:
    key = received(db, folders)
    folders.image(key, "1a").unlink()
    assert recover(db, folders, ["pacs"], 1.0).missing == 1
    assert not images_of(db, key)[0].kept
    assert [event["what"] for event in events_of(db, key)][-1] == "an image is no longer on the disk"


def test_what_was_delivered_goes_after_its_time_and_what_was_not_never(db: Database, folders: Folders) -> None:
    over, waiting = received(db, folders, 1), received(db, folders, 2)
    done(db, folders, over)
    with db.transaction():
        step(db, waiting, Happening.UNCLEAR, 0.0)
    settings = Disk(least_free_mb=0, keep_h=24, remember_days=2)
    assert tidy(db, folders, settings, DAY_S - 1) == 0
    assert tidy(db, folders, settings, DAY_S + 1) == 1
    assert not folders.image(over, "1a").exists()
    assert not folders.result(over, 0).exists()
    assert folders.image(waiting, "2a").exists()
    tidy(db, folders, settings, 2 * DAY_S + 1)
    assert study(db, over) is None
    assert known_study(db, waiting).state is State.HELD


def test_below_the_watermark_what_was_delivered_goes_whatever_its_age(db: Database, folders: Folders) -> None:
    over, waiting = received(db, folders, 1), received(db, folders, 2)
    done(db, folders, over)
    assert tidy(db, folders, Disk(least_free_mb=1 << 40, keep_h=1000), 1.0) == 1
    assert not folders.image(over, "1a").exists()
    assert folders.image(waiting, "2a").exists()


def test_one_data_folder_has_one_gateway(tmp_path: Path) -> None:
    from eenet_gateway.config.settings import Destination, Model, Page, Receiver

    settings = Settings(
        tmp_path, Model(tmp_path), (Destination("p", "P", "127.0.0.1", 9),), Receiver(anyone=True), page=Page(0)
    )
    first = Gateway(settings)
    with pytest.raises(GatewayError, match="another gateway uses it"):
        Gateway(settings)
    first.stop()
    Gateway(settings).stop()
