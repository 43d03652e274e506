"""Deliveries to a PACS that is down, refuses, is full, hangs up or says no: they arrive later, or it is told."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.events import Event

from eenet_gateway.config.settings import Delivery, Destination, Model
from eenet_gateway.process.dicom_sockets import prepare_pynetdicom
from eenet_gateway.send.associating import echo
from eenet_gateway.send.sender import Sender
from eenet_gateway.send.statuses import Verdict, judge, pause_s
from eenet_gateway.store.database import Database
from eenet_gateway.store.folders import Folders
from eenet_gateway.store.images import Arrival, ReceivedImage, record_image
from eenet_gateway.store.operator import retry
from eenet_gateway.store.results import record_results
from eenet_gateway.store.states import Happening, State
from eenet_gateway.store.studies import known_study, step
from eenet_gateway.work.job import JobRequest
from eenet_gateway.work.running import JobCall, run_job
from tests.gateway.gateway_process import small_files
from tests.gateway.places import free_port
from tests.gateway.stand_in_job import CLASSES, quick

SETTINGS = Delivery(first_retry_s=1.0, longest_retry_s=100.0, give_up_h=1.0, timeout_s=5.0)


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakePacs:
    """A PACS whose answers a test chooses: `answers` maps SOP class to a status or to `abort`."""

    def __init__(self, port: int, classes: dict[str, str] = CLASSES) -> None:
        prepare_pynetdicom()
        self.port, self.answers, self.rejects = port, {}, False
        self.arrived: list[str] = []
        self.entity = ApplicationEntity("TESTPACS")
        self._classes = classes
        self._server: object = None

    answers: dict[str, int | str]

    def __enter__(self) -> FakePacs:
        for sop_class in self._classes.values():
            self.entity.add_supported_context(sop_class)
        self.entity.add_supported_context("1.2.840.10008.1.1")
        handlers: list[Any] = [(evt.EVT_C_STORE, self._store), (evt.EVT_REQUESTED, self._requested)]
        self._server = self.entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        return self

    def __exit__(self, *_: object) -> None:
        self.entity.shutdown()

    def _requested(self, event: Event) -> None:
        if self.rejects:
            event.assoc.acse.send_reject(0x02, 0x03, 0x01)
            event.assoc.kill()

    def _store(self, event: Event) -> int:
        answer = self.answers.get(str(event.request.AffectedSOPClassUID), 0x0000)
        if answer == "abort":
            event.assoc.abort()
            return 0x0000
        if isinstance(answer, int) and answer in (0x0000, 0xB000):
            self.arrived.append(str(event.request.AffectedSOPClassUID))
        assert isinstance(answer, int)
        return answer


class Site:
    """A store with one study to deliver, and its sender."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folders = Folders(folder / "data")
        self.folders.make()
        self.db = Database(self.folders.database)
        self.clock = Clock()
        destination = Destination("pacs", "TESTPACS", "127.0.0.1", port)
        self.sender = Sender(self.db, self.folders, destination, SETTINGS, threading.Event(), self.clock)

    def computed(self, number: int) -> str:
        """A study with its results, as the worker leaves it."""
        images = self.folders.data / f"images{number}"
        images.mkdir()
        files = small_files(number)
        for place, one in enumerate(files):
            one.save_as(images / str(place), enforce_file_format=True)
        uid = str(files[0].StudyInstanceUID)
        received = ReceivedImage(uid, "1.2", f"1.2.{number}", "aa", 1, "PACS")
        key = record_image(self.db, received, Arrival.NEW, self.clock())
        place_of_results = self.folders.result(key, 0)
        place_of_results.mkdir(parents=True)
        request = JobRequest(images, place_of_results, {}, Model(Path("none")))
        with self.db.transaction():
            step(self.db, key, Happening.COMPLETE, 0.0)
            step(self.db, key, Happening.STARTED, 0.0)
            results = run_job(JobCall(quick, request))
            record_results(self.db, known_study(self.db, key), results, {"pacs": ("seg", "sr", "sc")}, self.clock())
            step(self.db, key, Happening.FINISHED, 0.0)
        return key

    def state(self, key: str) -> State:
        return known_study(self.db, key).state


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def site(tmp_path: Path, port: int) -> Iterator[Site]:
    found = Site(tmp_path, port)
    yield found
    found.db.close()


def test_results_arrive_in_the_order_seg_sr_sc(site: Site, port: int) -> None:
    key = site.computed(1)
    with FakePacs(port) as pacs:
        assert site.sender.send_next()
    assert pacs.arrived == list(CLASSES.values())
    assert site.state(key) is State.DONE


def _down(pacs: FakePacs) -> None:
    pacs.rejects = True


def _full(pacs: FakePacs) -> None:
    pacs.answers = {CLASSES["sr"]: 0xA700}


def _hanging_up(pacs: FakePacs) -> None:
    pacs.answers = {CLASSES["sr"]: "abort"}


@pytest.mark.parametrize("trouble", [_down, _full, _hanging_up])
def test_what_a_pacs_does_not_take_now_arrives_in_order_once_it_does(
    site: Site, port: int, trouble: Callable[[FakePacs], None]
) -> None:
    key = site.computed(1)
    with FakePacs(port) as pacs:
        trouble(pacs)
        assert site.sender.send_next()
        assert site.state(key) is State.DELIVERING
        assert not site.sender.send_next()
        pacs.rejects, pacs.answers = False, {}
        site.clock.now += 2
        assert site.sender.send_next()
    assert pacs.arrived == list(CLASSES.values())
    assert site.state(key) is State.DONE


def test_a_pacs_that_is_not_there_is_tried_again_with_growing_pauses(site: Site) -> None:
    key = site.computed(1)
    pauses = []
    for _ in range(5):
        before = site.clock.now
        assert site.sender.send_next()
        while not site.sender.send_next():
            site.clock.now += 0.25
        pauses.append(site.clock.now - before)
        site.clock.now += 200
    assert site.state(key) is State.DELIVERING
    assert 0.5 < pauses[0] < 2


def test_a_refusal_for_good_is_dead_and_told_and_the_others_are_sent(site: Site, port: int) -> None:
    key = site.computed(1)
    with FakePacs(port) as pacs:
        pacs.answers = {CLASSES["seg"]: 0xC000}
        assert site.sender.send_next()
        assert pacs.arrived == [CLASSES["sr"], CLASSES["sc"]]
        assert known_study(site.db, key).reason == "pacs: status C000"
        assert site.state(key) is State.FAILED
        pacs.answers = {}
        retry(site.db, key, site.clock())
        with site.db.transaction():
            step(site.db, key, Happening.UNCHANGED, 0.0)
        assert site.sender.send_next()
    assert pacs.arrived == [CLASSES["sr"], CLASSES["sc"], CLASSES["seg"]]
    assert site.state(key) is State.DONE


def test_a_class_that_a_pacs_does_not_accept_is_dead_and_no_loop(site: Site, port: int) -> None:
    key = site.computed(1)
    without = {kind: uid for kind, uid in CLASSES.items() if kind != "seg"}
    prepare_pynetdicom()
    with FakePacs(port, without) as pacs, pytest.MonkeyPatch.context() as patch:
        # This process is the PACS, too, and shall be a strict one.
        patch.setattr("eenet_gateway.send.associating.prepare_pynetdicom", lambda: None)
        patch.setattr("pynetdicom._config.UNRESTRICTED_STORAGE_SERVICE", False)
        assert site.sender.send_next()
        assert not site.sender.send_next()
    assert pacs.arrived == [CLASSES["sr"], CLASSES["sc"]]
    assert known_study(site.db, key).reason == "pacs: no presentation context accepted"


def test_fresh_studies_go_before_repeats(site: Site, port: int) -> None:
    old = site.computed(1)
    assert site.sender.send_next()
    site.clock.now += 10
    fresh = site.computed(2)
    with FakePacs(port):
        assert site.sender.send_next()
        assert (site.state(old), site.state(fresh)) == (State.DELIVERING, State.DONE)
        assert site.sender.send_next()
    assert site.state(old) is State.DONE


def test_what_was_tried_for_too_long_is_given_up_and_told(site: Site) -> None:
    key = site.computed(1)
    site.sender.send_next()
    site.clock.now += 3601
    site.sender.send_next()
    assert site.state(key) is State.FAILED
    assert known_study(site.db, key).reason == "pacs: given up after 1 h: no association"


def test_a_result_that_was_changed_on_the_disk_is_never_sent(site: Site, port: int) -> None:
    key = site.computed(1)
    path = site.folders.result(key, 0) / "seg.dcm"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with FakePacs(port) as pacs:
        site.sender.send_next()
    assert CLASSES["seg"] not in pacs.arrived
    assert known_study(site.db, key).reason == "pacs: its file was changed on the disk"


def test_an_echo_says_whether_a_destination_is_there(port: int) -> None:
    destination = Destination("pacs", "TESTPACS", "127.0.0.1", port)
    assert echo(destination, 5.0).seconds is None
    with FakePacs(port):
        answer = echo(destination, 5.0)
    assert answer.seconds is not None
    assert answer.seconds < 1


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (0x0000, Verdict.SENT), (0xB000, Verdict.SENT), (0xB007, Verdict.SENT), (0x0111, Verdict.SENT),
        (None, Verdict.LATER), (0xA700, Verdict.LATER), (0xA7FF, Verdict.LATER), (0x0110, Verdict.LATER),
        (0xA900, Verdict.DEAD), (0xA9FF, Verdict.DEAD), (0xC000, Verdict.DEAD), (0xCFFF, Verdict.DEAD),
        (0x0122, Verdict.DEAD), (0x0124, Verdict.DEAD),
    ],
)  # fmt: skip
def test_each_status_means_sent_or_again_or_never(status: int | None, verdict: Verdict) -> None:
    assert judge(status) is verdict


@given(st.integers(0, 0xFFFF))
def test_every_status_has_a_verdict(status: int) -> None:
    assert judge(status) in Verdict


@given(st.integers(0, 10_000), st.integers(0, 100))
def test_pauses_grow_to_the_longest_and_not_beyond(attempts: int, seed: int) -> None:
    pause = pause_s(attempts, SETTINGS, random.Random(seed))
    expected = min(2.0 ** min(attempts, 30), 100.0)
    assert 0.75 * expected <= pause <= 1.25 * expected
