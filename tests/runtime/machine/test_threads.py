"""Threads and memory follow the affinity mask and the control groups of both versions, at whatever depth they are."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from eenet_runtime.machine.cgroup import Cgroups
from eenet_runtime.machine.threads import CpuBudget, cpu_budget, usable_cpus

NO_LIMIT_V1 = "9223372036854771712"


def tree(folder: Path, own: str, files: Mapping[str, str]) -> Cgroups:
    """A file system of control groups, and what /proc/self/cgroup says."""
    for name, text in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    (folder / "own").write_text(own + "\n")
    return Cgroups(folder / "cgroup", folder / "own")


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/", {}, None),
        # The tightest group above the process counts, at whatever depth it is.
        ("0::/a/b/c", {"a/cpu.max": "400000 100000", "a/b/cpu.max": "max 100000", "a/b/c/cpu.max": "max 100000"}, 4.0),
        ("0::/a/b", {"cpu.max": "max 100000", "a/cpu.max": "800000 100000", "a/b/cpu.max": "200000 100000"}, 2.0),
        ("0::/a/b", {"a/cpu.max": "100000 100000", "a/b/cpu.max": "800000 100000"}, 1.0),
        # In a container without a namespace of its own, the path is the host's and only the root is here.
        ("0::/system.slice/docker-1.scope", {"cpu.max": "50000 100000"}, 0.5),
        ("0::/../../other", {"cpu.max": "300000 100000"}, 3.0),
        # Another process's group is none of ours.
        ("0::/mine", {"yours/cpu.max": "100000 100000"}, None),
        ("0::/", {"cpu.max": "nonsense"}, None),
        ("0::/", {"cpu.max": "100000 0"}, None),
        # Version 1.
        ("4:cpu,cpuacct:/", {"cpu,cpuacct/cpu.cfs_quota_us": "250000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 2.5),
        ("4:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("4:cpu:/a", {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1.0),
        ("4:cpu,cpuacct:/a", {"cpu/a/cpu.cfs_quota_us": "300000", "cpu/a/cpu.cfs_period_us": "100000"}, 3.0),
        ("3:cpuset:/\n4:memory:/", {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, None),
        # Both at once, as systemd's hybrid mode has them.
        (
            "0::/\n1:cpu:/",
            {
                "cpu.max": "700000 100000",
                "cpu/cpu.cfs_quota_us": "600000",
                "cpu/cpu.cfs_period_us": "100000",
            },
            6.0,
        ),
    ],
)
def test_the_tightest_quota_counts(tmp_path: Path, own: str, files: dict[str, str], quota: float | None) -> None:
    assert tree(tmp_path, own, files).cpu_quota() == quota


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        ("0::/a", {"memory.max": "max", "a/memory.max": "4294967296"}, 4 << 30),
        ("0::/a", {"memory.max": "1073741824", "a/memory.max": "4294967296"}, 1 << 30),
        ("0::/", {"memory.max": "max"}, None),
        ("5:memory:/a", {"memory/memory.limit_in_bytes": NO_LIMIT_V1, "memory/a/memory.limit_in_bytes": "1024"}, 1024),
        ("5:memory:/", {"memory/memory.limit_in_bytes": NO_LIMIT_V1}, None),
    ],
)
def test_the_tightest_memory_limit_counts(tmp_path: Path, own: str, files: dict[str, str], limit: int | None) -> None:
    assert tree(tmp_path, own, files).memory_limit_bytes() == limit


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    nowhere = Cgroups(tmp_path / "no", tmp_path / "such")
    assert nowhere.cpu_quota() is None
    assert nowhere.memory_limit_bytes() is None


@pytest.mark.parametrize(
    ("affinity", "quota", "threads"), [(8, None, 8), (8, 4.0, 4), (8, 1.5, 2), (8, 0.25, 1), (2, 6.0, 2)]
)
def test_threads_are_the_smaller_of_affinity_and_quota_rounded_up(
    affinity: int, quota: float | None, threads: int
) -> None:
    assert CpuBudget(16, affinity, quota).threads == threads


def test_the_budget_says_where_it_comes_from(tmp_path: Path) -> None:
    budget = cpu_budget(tree(tmp_path, "0::/", {"cpu.max": "50000 100000"}))
    assert budget.threads == 1
    assert budget.describe().startswith("1: ")
    assert budget.describe().endswith("processors by affinity, a quota of 0.5 by control group")
    assert "no quota by control group" in CpuBudget(4, 4, None).describe()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity masks are Linux'")
def test_an_affinity_mask_is_followed() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from eenet_runtime.machine.threads import usable_cpus; print(usable_cpus())"
    )
    finished = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "1"
    assert usable_cpus() >= 1


def test_a_system_that_does_not_count_its_processors_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cpu_budget(tree(tmp_path, "0::/", {})) == CpuBudget(1, 1, None)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert cpu_budget(tree(tmp_path, "0::/", {})) == CpuBudget(6, 6, None)
