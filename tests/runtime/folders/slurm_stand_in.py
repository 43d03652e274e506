"""`folder_stand_in`, of which one case takes far too much memory the first time that it is computed.

Run as `python -m tests.runtime.folders.slurm_stand_in LOG SECONDS CASE MARK ARGUMENTS...`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from eenet_runtime.segmenter.segmenter import ComputedCase, PreparedCase, Segmenter
from tests.runtime.folders.folder_stand_in import replace_network

MEGABYTES = 1500


def _be_hungry(case: str, mark: Path) -> None:
    compute = Segmenter.compute

    def hungry_compute(self: Segmenter, prepared: PreparedCase, **options: Any) -> ComputedCase:
        result = compute(self, prepared, **options)
        if prepared.case_id == case and not mark.exists():
            mark.touch()
            memory = b"x" * (MEGABYTES << 20)
            time.sleep(60)
            del memory
        return result

    setattr(Segmenter, "compute", hungry_compute)  # noqa: B010


if __name__ == "__main__":
    log, seconds, case, mark = sys.argv[1:5]
    replace_network(Path(log), float(seconds))
    _be_hungry(case, Path(mark))
    sys.argv = ["eenet-run", *sys.argv[5:]]
    from eenet_runtime.cli import main

    main()
