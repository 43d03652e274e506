"""A Slurm of one node, started by the user who runs the tests, in a folder of its own: munged, slurmctld, slurmd."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path

import pytest

from tests.debian_parts import REQUIRE_DEBIAN, require

_START_S = 60
_CONF = """ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# A task that is requeued waits for twice the life of its credential, which is four minutes by default.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmctldPort={controller}
SlurmdPort={daemon}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
MailProg=/bin/true
MpiDefault=none
ReturnToService=2
SlurmctldTimeout=300
SlurmdTimeout=300
KillWait=20
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=2000
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Cluster:
    """A running Slurm.

    Attributes:
        folder: everything of it.
        environment: in which its commands find it.
    """

    folder: Path
    environment: Mapping[str, str]

    def run(self, *command: str, check: bool = True) -> str:
        """What one of Slurm's commands prints."""
        done = subprocess.run(
            command, env=dict(self.environment), capture_output=True, text=True, check=False, timeout=60
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: {done.stderr}")
        return done.stdout.strip()

    def submit(self, *arguments: str) -> str:
        """Hand in a job; returns its number."""
        return self.run("sbatch", "--parsable", *arguments)

    def signal_script(self, task: str, name: str) -> None:
        """Send a signal to the batch script of a task, once.

        Slurm 22.05 delivers it and says of a task of an array that it cannot be altered now: then scancel waits for
        five seconds and sends it again, to the next start of a task that was requeued meanwhile.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            command = ["scancel", "--batch", f"--signal={name}", task]
            subprocess.run(command, env=dict(self.environment), capture_output=True, check=False, timeout=3)

    def tasks(self, job: str) -> dict[str, dict[str, str]]:
        """What `scontrol` knows of each task of an array, by the task's number."""
        lines = self.run("scontrol", "show", "job", "-o", job).splitlines()
        found = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]
        return {task.get("ArrayTaskId", "0"): task for task in found}

    def wait_for(self, job: str, seconds: float = 180) -> dict[str, str]:
        """Wait until no task waits or runs; the state of each."""
        going = {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD"}
        until = time.monotonic() + seconds
        while True:
            states = {number: task["JobState"] for number, task in self.tasks(job).items()}
            if not going & set(states.values()):
                return states
            if time.monotonic() > until:
                raise AssertionError(f"job {job} after {seconds} s: {states}")
            time.sleep(0.5)


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[Cluster]:
    """A Slurm that ends with the block, whatever runs in it."""
    for program in ("slurmctld", "slurmd", "sbatch", "scontrol", "scancel"):
        require(program, "slurm-wlm")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    folder.chmod(0o755)  # munged wants a folder that nobody else writes into
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    conf = folder / "slurm.conf"
    host = socket.gethostname().split(".")[0]
    controller, daemon = _free_ports()
    cpus = min(2, os.cpu_count() or 1)
    conf.write_text(
        _CONF.format(host=host, user=getuser(), folder=folder, controller=controller, daemon=daemon, cpus=cpus)
    )
    environment = {**os.environ, "SLURM_CONF": str(conf)}
    cluster = Cluster(folder, environment)
    munged = [require("munged", "munge"), "--foreground", "--force", f"--key-file={key}"]
    munged += [
        f"--{name}={folder}/munge.{name.split('-')[0]}" for name in ("socket", "pid-file", "log-file", "seed-file")
    ]
    commands = [
        munged,
        [require("slurmctld", "slurm-wlm"), "-D", "-L", str(folder / "slurmctld.log")],
        [require("slurmd", "slurm-wlm"), "-D", "-L", str(folder / "slurmd.log")],
    ]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            with (folder / f"{Path(command[0]).name}.out").open("wb") as out:
                processes.append(
                    subprocess.Popen(
                        command, env=environment, stdout=out, stderr=out, preexec_fn=_end_with_the_tests, cwd=folder
                    )
                )
            time.sleep(0.5)
        _wait_until_idle(cluster, processes)
        yield cluster
    finally:
        with contextlib.suppress(AssertionError, subprocess.SubprocessError):
            cluster.run("scancel", "--full", "--signal=KILL", "--state=RUNNING", check=False)
            cluster.run("scancel", f"--user={getuser()}", check=False)
        for process in reversed(processes):
            process.terminate()
        for process in reversed(processes):
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_idle(cluster: Cluster, processes: list[subprocess.Popen[bytes]]) -> None:
    """Wait until the node takes jobs; skip, with what the daemons say, where it never does."""
    until = time.monotonic() + _START_S
    while time.monotonic() < until and all(process.poll() is None for process in processes):
        if cluster.run("sinfo", "--noheader", "--format=%T", check=False).startswith("idle"):
            return
        time.sleep(0.5)
    logs = [*cluster.folder.glob("*.log"), *cluster.folder.glob("*.out")]
    said = " | ".join(f"{path.name}: {path.read_text(errors='replace')[-300:]}" for path in logs)
    if "slurm-wlm" in os.environ.get(REQUIRE_DEBIAN, "").split():
        pytest.fail(f"Slurm does not start here: {said}", pytrace=False)
    pytest.skip(f"Slurm does not start here: {said}")


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        for one in (first, second):
            one.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def _end_with_the_tests() -> None:
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
