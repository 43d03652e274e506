"""A gateway as a process of a test's own: `python -m tests.gateway CONFIG JOB`, with a stand-in for the model."""

from __future__ import annotations

import sys
from pathlib import Path

from eenet_gateway.config.reading import read_settings
from eenet_gateway.service.serving import serve
from tests.gateway import stand_in_job

if __name__ == "__main__":
    serve(read_settings(Path(sys.argv[1])), getattr(stand_in_job, sys.argv[2]))
