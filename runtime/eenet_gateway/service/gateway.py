"""The gateway: port, decider, worker and senders, started and stopped together; they meet in the store."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eenet_gateway.config.settings import Destination, Settings
from eenet_gateway.decide.decider import MEMORY_MB, Decider
from eenet_gateway.decide.looking import Look, LookRequest, look
from eenet_gateway.process.child import Child
from eenet_gateway.process.logs import LOGGER, describe
from eenet_gateway.receive.receiver import ReceivingPort
from eenet_gateway.send.associating import echo
from eenet_gateway.send.sender import Sender
from eenet_gateway.service.recovery import recover
from eenet_gateway.service.retention import tidy
from eenet_gateway.store.database import Database
from eenet_gateway.store.folders import Folders
from eenet_gateway.store.report import Report, preview_of, report
from eenet_gateway.store.results import ResultFile
from eenet_gateway.store.studies import StudyRow
from eenet_gateway.work.job import segment
from eenet_gateway.work.running import Job, JobCall, run_job
from eenet_gateway.work.worker import WorkerThread
from eenet_runtime.errors import GatewayError

if TYPE_CHECKING:
    from eenet_gateway.page.server import PageServer

_TIDY_S: Final = 60.0
_ECHO_S: Final = 60.0


class Gateway:
    """One gateway over one data folder; one process may run it at a time."""

    def __init__(self, settings: Settings, job: Job = segment) -> None:
        """Open the store and go on where an earlier one stopped; nothing is received yet.

        Args:
            settings: the site's.
            job: what computes a study; a function at the top of a module.

        Raises:
            GatewayError: the data folder cannot be used, or another gateway uses it.
        """
        self.settings = settings
        self.folders = Folders(settings.data)
        self.stop_event = threading.Event()
        try:
            self.folders.make()
            self._lock = _locked(self.folders.data / "lock")
        except OSError as error:
            raise GatewayError(f"{settings.data}: cannot be used ({error.strerror or error})") from error
        try:
            self.db = Database(self.folders.database)
            names = [one.name for one in settings.destinations]
            found = recover(self.db, self.folders, names, time.time())
        except OSError as error:
            raise GatewayError(f"{settings.data}: cannot be used ({error.strerror or error})") from error
        if found.missing:
            LOGGER.error("%d acknowledged images are no longer on the disk", found.missing)
        LOGGER.info("started: %d studies go on, %d leftovers deleted", found.studies, found.leftovers)
        self.port = ReceivingPort(
            settings.receiver, settings.peers, self.db, self.folders, settings.disk.least_free_mb << 20
        )
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True) for name, work in self._work(job).items()
        ]
        page = settings.page.port
        self._page = None if page == 0 else self._page_at(page)

    def start(self) -> None:
        """Begin to receive, decide, compute and deliver.

        Raises:
            GatewayError: the port cannot be listened on.
        """
        self.port.start()
        for thread in self._threads:
            thread.start()
        if self._page is not None:
            self._page.start()
        where = self.settings.receiver
        LOGGER.info("receiving as %s at %s:%d", where.ae_title, where.host, where.port)

    def stop(self) -> None:
        """End in good order: what is being computed is computed again after the next start."""
        self.stop_event.set()
        self.port.stop()
        if self._page is not None:
            self._page.stop()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(self.settings.delivery.timeout_s)
        self.db.close()
        os.close(self._lock)
        LOGGER.info("stopped")

    def _page_at(self, port: int) -> PageServer:
        # Only where there is a page: it takes a third of the seconds of a start.
        from eenet_gateway.page.server import PageServer, application

        return PageServer(application(self.report, self.problems, partial(preview_of, self.db, self.folders)), port)

    def report(self) -> Report:
        """The gateway at this moment."""
        names = [destination.name for destination in self.settings.destinations]
        return report(self.db, self.folders, names, time.time())

    def problems(self) -> list[str]:
        """What is wrong with the gateway itself; nothing where it does its work."""
        found = [f"the thread '{thread.name}' has ended" for thread in self._threads if not thread.is_alive()]
        if not self.port.listening:
            found.append("the DICOM port is closed")
        try:
            if self.folders.free_bytes() < self.settings.disk.least_free_mb << 20:
                found.append("the disk is full: images are refused")
            self.db.value("SELECT count(*) FROM study")
        except (OSError, sqlite3.Error) as error:
            found.append(f"the data cannot be read: {describe(error)}")
        return found

    def _work(self, job: Job) -> dict[str, Callable[[], None]]:
        settings, stop = self.settings, self.stop_event
        looking: Child[LookRequest, Look] = Child(look, MEMORY_MB, replace_after=200, replace_above_mb=1000)
        computing: Child[JobCall, tuple[ResultFile, ...]] = Child(
            run_job, settings.worker.memory_mb, settings.worker.replace_after, settings.worker.replace_above_mb
        )
        decider = Decider(
            self.db,
            looking,
            settings.readiness,
            self.port.studies_being_received,
            self._look_request,
            stop,
        )
        kinds = {one.name: one.kinds for one in settings.destinations}
        worker = WorkerThread(self.db, self.folders, computing, job, settings.worker, settings.model, kinds, stop)
        work: dict[str, Callable[[], None]] = {
            "decider": decider.run,
            "worker": worker.run,
            "housekeeping": self._keep_house,
        }
        for destination in settings.destinations:
            work[f"sender {destination.name}"] = Sender(self.db, self.folders, destination, settings.delivery, stop).run
        return {name: _surviving(name, run, stop) for name, run in work.items()}

    def _look_request(self, row: StudyRow) -> LookRequest:
        return LookRequest(self.folders.studies / row.key, self.settings.model.site_rules, row.choices)

    def _keep_house(self) -> None:
        echoed = tidied = 0.0
        while not self.stop_event.is_set():
            if time.monotonic() - tidied >= _TIDY_S:
                tidy(self.db, self.folders, self.settings.disk, time.time())
                tidied = time.monotonic()
            if time.monotonic() - echoed >= _ECHO_S:
                for destination in self.settings.destinations:
                    record_echo(self.db, destination, min(self.settings.delivery.timeout_s, 10.0))
                echoed = time.monotonic()
            self.stop_event.wait(1.0)


def record_echo(db: Database, destination: Destination, timeout_s: float) -> bool:
    """Ask a destination whether it is there, and note the answer; whether it answered."""
    found = echo(destination, timeout_s)
    with db.transaction():
        db.run(
            "INSERT INTO echo VALUES (?, ?, ?, ?) ON CONFLICT (destination) DO UPDATE SET time = excluded.time, "
            "answered = excluded.answered, words = excluded.words",
            *(destination.name, time.time(), found.seconds, found.words),
        )
    return found.seconds is not None


def _surviving(name: str, run: Callable[[], None], stop: threading.Event) -> Callable[[], None]:
    """The same work, begun again where it ends by an error: a full disk must not end a thread for good."""

    def work() -> None:
        while not stop.is_set():
            try:
                run()
            except (sqlite3.Error, OSError) as error:
                LOGGER.error("%s: %s", name, describe(error))
            except Exception as error:
                LOGGER.critical("%s: a bug: %s", name, describe(error))
            stop.wait(5.0)

    return work


def _locked(path: Path) -> int:
    """Take the lock of a data folder; the kernel gives it back when the process ends, however it ends.

    Raises:
        GatewayError: another process has it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise GatewayError(f"{path.parent}: another gateway uses it") from error
    return descriptor
