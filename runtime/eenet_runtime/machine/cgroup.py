"""What the control groups of this process leave it: a share of the processors, and memory.

A container's limits are invisible to whoever asks for the machine's processors or memory. A process belongs to one
group of each hierarchy, and every group above it limits it too, so the tightest of the chain counts. Version 2 has one
hierarchy; version 1 has one for each controller, under a folder of its name; machines may run both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

_NO_LIMIT_FROM = 1 << 60
"""Version 1 writes a number near 2^63 where memory has no limit."""


@dataclass(frozen=True)
class Cgroups:
    """Where the system tells about control groups.

    Attributes:
        root: where the hierarchies are mounted.
        own: which groups this process is in.
    """

    root: Path = Path("/sys/fs/cgroup")
    own: Path = Path("/proc/self/cgroup")

    def cpu_quota(self) -> float | None:
        """Processors' worth of time that this process may take, None if there is no limit."""
        return _tightest(
            [
                *(_cpu_max(folder / "cpu.max") for folder in self._groups("")),
                *(_cfs_quota(folder) for folder in self._groups("cpu")),
            ]
        )

    def memory_limit_bytes(self) -> int | None:
        """Memory that this process and the others of its groups may take, None if there is no limit."""
        limits = [
            *(_memory(folder / "memory.max") for folder in self._groups("")),
            *(_memory(folder / "memory.limit_in_bytes") for folder in self._groups("memory")),
        ]
        found = _tightest(limits)
        return None if found is None else int(found)

    def _groups(self, controller: str) -> Iterator[Path]:
        """Folders of this process's group and of all above it; an empty controller means version 2."""
        try:
            lines = self.own.read_text().splitlines()
        except OSError:  # not on Linux
            lines = []
        for line in lines:
            _, controllers, path = [*line.split(":", 2), "", ""][:3]
            if controller not in controllers.split(","):
                continue
            # A group that lies outside what this container sees is spelt with "..": only the root is left then.
            parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
            for name in dict.fromkeys((controllers, controller)):
                mounted = self.root / name if name else self.root
                # Without a namespace of its own the path is the host's, and only the end of the chain exists here.
                yield from (mounted.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1))


def _tightest(limits: Iterable[float | None]) -> float | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _cpu_max(path: Path) -> float | None:
    return _read(path, lambda text: None if text.startswith("max") else _ratio(*text.split()))


def _cfs_quota(folder: Path) -> float | None:
    period = _read(folder / "cpu.cfs_period_us", float)
    quota = _read(folder / "cpu.cfs_quota_us", float)
    return None if period is None or quota is None else _ratio(str(quota), str(period))


def _ratio(quota: str, period: str) -> float | None:
    """Version 1 writes a quota of -1 where there is no limit."""
    return float(quota) / float(period) if float(quota) > 0 and float(period) > 0 else None


def _memory(path: Path) -> float | None:
    limit = _read(path, lambda text: None if text == "max" else float(text))
    return None if limit is None or limit >= _NO_LIMIT_FROM else limit


def _read(path: Path, parse: Callable[[str], float | None]) -> float | None:
    try:
        return parse(path.read_text().strip())
    except (OSError, ValueError, TypeError):
        return None


THIS_PROCESS: Final = Cgroups()
"""The control groups of this process."""
