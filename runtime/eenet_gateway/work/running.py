"""What runs in the worker's process around the job: its results are described and made durable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eenet_gateway.process.faults import fault_point
from eenet_gateway.store.folders import flush_tree
from eenet_gateway.store.results import KINDS, ResultFile
from eenet_gateway.work.job import JobFile, JobRequest
from eenet_runtime.dicom.identity import read_file_identity
from eenet_runtime.files.atomic import sha256_of_file

Job = Callable[[JobRequest], Sequence[JobFile]]


@dataclass(frozen=True)
class JobCall:
    """A job and what it is asked; the job is a function at the top of a module."""

    job: Job
    request: JobRequest


def run_job(call: JobCall) -> tuple[ResultFile, ...]:
    """Run the job; when this returns, its results are on the disk.

    Raises:
        EENetError: the job refused the study.
        NotReadableError: what it wrote is no DICOM.
    """
    made = call.job(call.request)
    fault_point("in-job")
    found = tuple(_described(call.request, one) for one in made)
    flush_tree(call.request.results)
    return found


def _described(request: JobRequest, one: JobFile) -> ResultFile:
    if one.kind not in KINDS:
        raise ValueError(one.kind)
    path = request.results / one.name
    identity, syntax = read_file_identity(path)
    return ResultFile(one.kind, one.name, identity.sop_uid, identity.sop_class, syntax, sha256_of_file(path))
