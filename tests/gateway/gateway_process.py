"""A gateway in a process of its own, that a test may kill."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydicom.dataset import FileDataset

from eenet_gateway.process.faults import VARIABLE
from eenet_gateway.store.database import Database
from eenet_gateway.store.folders import Folders
from eenet_gateway.store.states import State
from eenet_gateway.store.studies import StudyRow, counts_by_state, studies_in
from tests.dicom_studies import SIX_SERIES, FakeSeries, enhanced
from tests.gateway.places import free_port, wait_for
from tests.orthanc_server import die_with_parent
from tests.places import ROOT

FOUR_SERIES = tuple(
    series.changed(shape=(20, 4, 4), spacing=(5.0, 30.0, 30.0)) for series in (*SIX_SERIES[1:4], SIX_SERIES[5])
)
"""T1, FLAIR, T2 and T1ce, as small as a head can be."""

_CONFIG = """
data = "data"
model.bundle = "{model}"
log = "text"
destinations = [{destinations}]
peers = [{{ae_title = "PACS", addresses = ["127.0.0.1"]}}, {{ae_title = "TESTPACS", addresses = ["127.0.0.1"]}}]
page.port = 0
disk.least_free_mb = 0
[receiver]
port = {port}
per_address = 60
associations = 30
[readiness]
series_quiet_s = {quiet}
study_quiet_s = {study_quiet}
[worker]
retry_s = 0.2
time_limit_s = 300
[delivery]
first_retry_s = 0.2
longest_retry_s = 0.5
timeout_s = 5
{more}
"""


def small_study(number: int) -> list[FakeSeries]:
    """The four series as a study of its own UID."""
    return [one.changed(study=number) for one in FOUR_SERIES]


def small_files(number: int) -> list[FileDataset]:
    """The same as Enhanced MR, one file for each series: the quickest study there is."""
    return [enhanced(one) for one in small_study(number)]


class GatewayProcess:
    """A gateway over a folder; it can be killed and started again, and keeps its port."""

    def __init__(
        self,
        folder: Path,
        destinations: Mapping[str, int],
        job: str = "quick",
        quiet: float = 0.4,
        study_quiet: float = 1.5,
        more: str = "",
        model: Path = Path("model"),
    ) -> None:
        """Write its configuration.

        Args:
            folder: for configuration, data and log.
            destinations: name -> port, all called TESTPACS.
            job: of `stand_in_job`.
            quiet, study_quiet: seconds (`Readiness`).
            more: further TOML.
            model: the bundle that the job `segment` uses.
        """
        self.folder, self.job, self.port = folder, job, free_port()
        folder.mkdir(parents=True, exist_ok=True)
        told = ", ".join(
            f'{{name = "{name}", ae_title = "TESTPACS", host = "127.0.0.1", port = {port}}}'
            for name, port in destinations.items()
        )
        self.config = folder / "gateway.toml"
        self.config.write_text(
            _CONFIG.format(
                destinations=told, port=self.port, quiet=quiet, study_quiet=study_quiet, more=more, model=model
            )
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, fault: str = "") -> None:
        """Start it, to be killed at a fault point if one is named; it need not have come up yet."""
        with (self.folder / "gateway.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.gateway", str(self.config), self.job],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env={**os.environ, VARIABLE: fault},
                preexec_fn=die_with_parent,
            )

    def wait_until_up(self) -> None:
        """Until its port answers, or it is dead."""
        import socket

        def answers() -> bool:
            if self.dead():
                return True
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        wait_for(answers, 40)

    def dead(self) -> bool:
        """Whether it has ended."""
        return self.process is None or self.process.poll() is not None

    def wait_for_death(self) -> int:
        """Its exit code, once it is dead."""
        assert self.process is not None
        return self.process.wait(60)

    def kill(self) -> None:
        """As a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @property
    def log(self) -> str:
        """What it has logged."""
        return (self.folder / "gateway.log").read_text()

    @contextmanager
    def store(self) -> Iterator[Database]:
        """Its database."""
        with Database(self.folders.database, create=False) as db:
            yield db

    @property
    def folders(self) -> Folders:
        """Its folders."""
        return Folders(self.folder / "data")

    def counts(self) -> dict[State, int]:
        """Studies by state."""
        with self.store() as db:
            return counts_by_state(db)

    def studies(self) -> list[StudyRow]:
        """All studies."""
        with self.store() as db:
            return studies_in(db, *State)

    def counter(self, name: str) -> int:
        """One counter."""
        with self.store() as db:
            return int(db.value("SELECT value FROM counter WHERE name = ?", name) or 0)

    def wait_for_state(self, state: State, count: int = 1, seconds: float = 60) -> None:
        """Until so many studies are in a state."""
        try:
            wait_for(lambda: self.counts()[state] == count, seconds)
        except AssertionError:
            raise AssertionError(f"{self.counts()}\n{self.log[-3000:]}") from None


@contextmanager
def running(gateway: GatewayProcess, fault: str = "") -> Iterator[GatewayProcess]:
    """A gateway that is up, and killed at the end."""
    gateway.start(fault)
    try:
        gateway.wait_until_up()
        assert not gateway.dead(), gateway.log
        yield gateway
    finally:
        gateway.kill()


def pause(seconds: float) -> None:
    """Let time pass, where nothing is expected to happen."""
    time.sleep(seconds)
