"""The thread that has studies computed, one at a time, by a child process."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from eenet_gateway.config.settings import Model, Worker
from eenet_gateway.process.child import Child, RefusedError, StoppedError, StumbledError
from eenet_gateway.process.faults import fault_point
from eenet_gateway.process.logs import LOGGER, describe
from eenet_gateway.store.database import Database
from eenet_gateway.store.folders import Folders, flush_folder
from eenet_gateway.store.images import Standing, images_of
from eenet_gateway.store.results import ResultFile, record_results, settle_delivery
from eenet_gateway.store.states import Happening, State
from eenet_gateway.store.studies import StudyRow, known_study, note, step, studies_in
from eenet_gateway.work.job import JobRequest
from eenet_gateway.work.running import Job, JobCall


class WorkerThread:
    """Computes every study in the state `ready`."""

    def __init__(
        self,
        db: Database,
        folders: Folders,
        child: Child[JobCall, tuple[ResultFile, ...]],
        job: Job,
        settings: Worker,
        model: Model,
        destinations: Mapping[str, Sequence[str]],
        stop: threading.Event,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take what it needs; `run` does the work, in one thread.

        Args:
            db, folders: the store.
            child: runs `run_job`.
            job: what computes a study.
            settings: limits.
            model: what it computes with.
            destinations: name -> kinds of results that it gets.
            stop: ends it, a computation that runs, too.
            clock: seconds since 1970.
        """
        self._db, self._folders, self._child, self._job = db, folders, child, job
        self._settings, self._model, self._destinations = settings, model, destinations
        self._stop, self._clock = stop, clock

    def run(self) -> None:
        """Until the stop."""
        try:
            while not self._stop.is_set():
                if not self.compute_next():
                    self._stop.wait(0.2)
        finally:
            self._child.close()

    def compute_next(self) -> bool:
        """Compute the study whose turn it is; False where there is none.

        Those that were never tried come first, so that one that goes wrong holds nobody up.
        """
        now = self._clock()
        due = [row for row in studies_in(self._db, State.READY) if row.next_try <= now]
        if not due:
            return False
        row = min(due, key=lambda one: (one.attempts, one.entered))
        with self._db.transaction():
            # Somebody may have dropped it this moment.
            row = known_study(self._db, row.key)
            if row.state is not State.READY:
                return True
            step(self._db, row.key, Happening.STARTED, now, attempts=row.attempts + 1)
        self._compute(row.key)
        return True

    def _compute(self, key: str) -> None:
        row = known_study(self._db, key)
        start = self._clock()
        try:
            request = self._prepared(row)
            fault_point("after-snapshot")
            results = self._child.call(JobCall(self._job, request), self._settings.time_limit_s, self._stopped)
            self._finish(row, request, results)
            LOGGER.info("study %s: computed in %.1f s, %d results", key, self._clock() - start, len(results))
        except StoppedError:
            return
        except RefusedError as error:
            self._failed(row, Happening.REFUSED, str(error))
        except StumbledError as error:
            self._failed(row, Happening.STUMBLED, str(error))
        except (OSError, sqlite3.Error) as error:
            self._failed(row, Happening.STUMBLED, describe(error))
        shutil.rmtree(self._folders.work / key, ignore_errors=True)

    def _stopped(self) -> bool:
        fault_point("mid-job")
        return self._stop.is_set()

    def _prepared(self, row: StudyRow) -> JobRequest:
        """A folder with links to the study's images as they are now: what comes later does not disturb the job."""
        place = self._folders.work / row.key
        shutil.rmtree(place, ignore_errors=True)
        images, results = place / "images", place / "results"
        for folder in (images, results):
            folder.mkdir(parents=True)
        for image in images_of(self._db, row.key):
            if image.standing is Standing.USED and image.kept:
                path = self._folders.image(row.key, image.sha256)
                os.link(path, images / path.name)
        return JobRequest(images, results, row.choices, self._model)

    def _finish(self, row: StudyRow, request: JobRequest, results: Sequence[ResultFile]) -> None:
        """Give the results their place and commit them, with all that is to be delivered."""
        place = self._folders.result(row.key, row.generation)
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(exist_ok=True, mode=0o700)
        request.results.rename(place)
        flush_folder(place.parent)
        flush_folder(place.parent.parent)
        fault_point("after-result-folder")
        with self._db.transaction():
            now = self._clock()
            present = known_study(self._db, row.key)
            if present.state is not State.RUNNING:
                # Dropped meanwhile.
                shutil.rmtree(place, ignore_errors=True)
                return
            record_results(self._db, row, results, self._destinations, now)
            happening = Happening.FINISHED if present.revision == present.decided else Happening.OVERTAKEN
            step(self._db, row.key, happening, now, attempts=0, interrupted=0)
            self._db.count("studies computed")
            settle_delivery(self._db, row.key, now)
            fault_point("before-result-commit")
        fault_point("after-result-commit")

    def _failed(self, row: StudyRow, happening: Happening, reason: str) -> None:
        with self._db.transaction():
            now = self._clock()
            present = known_study(self._db, row.key)
            if present.state is not State.RUNNING:
                return
            if happening is Happening.STUMBLED:
                note(self._db, row.key, now, "a computation went wrong", reason)
                self._db.count("computations that went wrong")
            if happening is Happening.STUMBLED and present.attempts >= self._settings.attempts:
                happening, reason = Happening.SPENT, f"{present.attempts} attempts; the last one: {reason}"
            pause = self._settings.retry_s * 2 ** (present.attempts - 1)
            state = step(self._db, row.key, happening, now, reason, reason=reason, next_try=now + pause)
        LOGGER.warning("study %s: %s: %s", row.key, state, reason)
