"""How much memory a process has held at most."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def peak_rss_bytes(process_id: int | None = None) -> int | None:
    """Highest resident memory so far of a process (this one by default), None where the system does not tell.

    Not `ru_maxrss` where it can be avoided: on Linux a process inherits it from the one that started it, so a child
    of a large process looks as large. `VmHWM` begins anew with the program (proc_pid_status(5)).
    """
    with suppress(OSError):
        for line in Path(f"/proc/{process_id or 'self'}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if process_id is not None:
        return None
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    # Bytes on macOS, the only system without /proc that gets here.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
