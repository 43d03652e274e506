"""Ready texts that hand the parts of a folder to a scheduler: Slurm, Kubernetes, Snakemake.

All of them only start `eenet-run infer folder --shard i/n` and start it again; what is done is in the results alone
(docs/scaling.md). Exit code 3 says that cases were refused, which is no failure of a part: starting it again would give
the same refusals. The summary at the end names them, and exits with 3 itself.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eenet_runtime.errors import DatasetError
from eenet_runtime.folders.planning import Division

GRACE_S: Final = 120
"""Seconds before a limit at which a run is told to stop. It must cover the longest inference."""


@dataclass(frozen=True)
class Job:
    """What a scheduler shall do.

    Attributes:
        cases, output, model: folders, as every machine sees them.
        division: into parts.
        wall_s: the longest that a part may run.
        options: further options of `eenet-run infer folder`.

    Raises:
        DatasetError: on construction, for a folder whose name cannot stand in a script: it holds a line break or
            another character that does not print.
    """

    cases: Path
    output: Path
    model: Path
    division: Division
    wall_s: float
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for folder in (self.cases, self.output, self.model):
            if not str(folder).isprintable():
                raise DatasetError(f"{folder}: a name with characters that do not print, expected none in a script")

    def command(self, shard: str) -> str:
        """The command of a part for a shell; `shard` stands as it is."""
        words = ["eenet-run", "infer", "folder", self.cases, self.output, "--model", self.model]
        words += ["--threads", self.division.threads, "--trust-timestamps", "--quiet", *self.options]
        return f"{shlex.join(map(str, words))} --shard {shard}"

    @property
    def summary(self) -> str:
        """The command at the end, for a shell."""
        words = ["eenet-run", "summary", self.output, "--expect", self.cases]
        return shlex.join(map(str, [*words, "--expect-shards", self.division.shards, "--quiet"]))


def slurm(job: Job) -> str:
    """A batch script: an array over the parts, which goes on by itself where the wall time was too short."""
    division = job.division
    minutes = max(1, math.ceil(job.wall_s / 60))
    shard = f'"$SLURM_ARRAY_TASK_ID/{division.shards}"'
    return f"""#!/bin/bash
# The whole folder:        id=$(sbatch --parsable {SLURM})
# Then, whatever happened: sbatch --dependency=afterany:$id --wrap {shlex.quote(job.summary)}
# Parts that it names:     sbatch --array=3,17 {SLURM}
#SBATCH --job-name=eenet
#SBATCH --array=1-{division.shards}
#SBATCH --cpus-per-task={division.threads}
#SBATCH --mem={division.memory_mb}M
#SBATCH --time={minutes}
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@{GRACE_S}

# Before the wall time is over Slurm sends USR1: the run ends in order, and the task waits in the queue to go on.
out_of_time=
trap 'out_of_time=yes; kill -TERM "$!"' USR1
{job.command(shard)} &
run=$!
wait "$run"
code=$?
# A signal ends the waiting, not the run.
while [ "$code" -gt 128 ] && kill -0 "$run" 2>/dev/null; do
    wait "$run"
    code=$?
done
if [ -n "$out_of_time" ] && [ "$code" -gt 128 ]; then
    scontrol requeue "$SLURM_JOB_ID" && exit 0
fi
# Refused cases (3) are no failure of the task: the summary names them.
[ "$code" -eq 3 ] && exit 0
exit "$code"
"""


def kubernetes(job: Job) -> str:
    """A Kubernetes indexed job; image and volume claim have to be filled in."""
    division = job.division
    shard = f'"$((JOB_COMPLETION_INDEX + 1))/{division.shards}"'
    # A shell that runs its command in the foreground would keep SIGTERM to itself until the command has ended.
    script = (
        f"trap 'kill -TERM $!' TERM; {job.command(shard)} & wait $!; code=$?; "
        "if [ $code -gt 128 ]; then wait $!; code=$?; fi; [ $code -eq 3 ] && exit 0; exit $code"
    )
    return f"""# Fill in image and claimName. Afterwards: {job.summary}
apiVersion: batch/v1
kind: Job
metadata:
  name: eenet
spec:
  completionMode: Indexed
  completions: {division.shards}
  parallelism: {division.at_once}
  # A part that dies is started again, six times at most; the others go on.
  backoffLimitPerIndex: 6
  maxFailedIndexes: {division.shards}
  podFailurePolicy:
    rules:
      # A node that is drained or taken away is no fault of the part.
      - action: Ignore
        onPodConditions:
          - type: DisruptionTarget
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: {GRACE_S}
      containers:
        - name: eenet
          image: IMAGE
          # Refused cases (3) are no failure of the part: the summary names them.
          command: ["/bin/sh", "-c"]
          args:
            - {json.dumps(script)}
          resources:
            requests:
              cpu: "{division.threads}"
              memory: {division.memory_mb}Mi
            limits:
              memory: {division.memory_mb}Mi
          volumeMounts:
            - name: data
              mountPath: {json.dumps(str(_common_folder(job)))}
      volumes:
        - name: data
          persistentVolumeClaim:
            claimName: CLAIM
"""


def snakemake(job: Job) -> str:
    """A Snakefile: one rule for the parts and one for the summary. Marks of what was done lie in `parts/`."""
    division = job.division
    run = _in_braces(job.command("{wildcards.part}/" + str(division.shards)), "{wildcards.part}")
    return f"""# snakemake --snakefile {SNAKEMAKE} --cores 16     or with any of Snakemake's executors
PARTS = range(1, {division.shards + 1})


rule all:
    input:
        "parts/all.done",


rule part:
    output:
        touch("parts/{{part}}.done"),
    threads: {division.threads}
    resources:
        mem_mb={division.memory_mb},
        runtime={max(1, math.ceil(job.wall_s / 60))},
    retries: 3
    shell:
        # Refused cases (3) are no failure of a part: the summary names them.
        {json.dumps(run + " || [ $? -eq 3 ]")}


rule summary:
    input:
        expand("parts/{{part}}.done", part=PARTS),
    output:
        touch("parts/all.done"),
    shell:
        {json.dumps(_in_braces(job.summary, ""))}
"""


SLURM: Final = "eenet.sbatch"
KUBERNETES: Final = "eenet-job.yaml"
SNAKEMAKE: Final = "Snakefile"
TEXTS: Final[Mapping[str, tuple[str, Callable[[Job], str]]]] = {
    "slurm": (SLURM, slurm),
    "kubernetes": (KUBERNETES, kubernetes),
    "snakemake": (SNAKEMAKE, snakemake),
}
"""By the name of the scheduler: the file's name, and what writes its text."""


def _common_folder(job: Job) -> Path:
    """The lowest folder that holds all three, for one volume."""
    folders = [set(path.absolute().parents) | {path.absolute()} for path in (job.cases, job.output, job.model)]
    return max(set.intersection(*folders), key=lambda path: len(path.parts))


def _in_braces(command: str, wildcard: str) -> str:
    """A command as Snakemake's `shell` reads it: every brace twice, but for those of the wildcard."""
    doubled = command.replace("{", "{{").replace("}", "}}")
    return doubled.replace(wildcard.replace("{", "{{").replace("}", "}}"), wildcard) if wildcard else doubled
