"""What the machine says of itself: a noisy one is called noisy, counters that are not there are said to be missing."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest

import eenet_bench.measuring.noise as noise_module
from eenet_bench.measuring.energy import EnergyMeter, EnergyReading
from eenet_bench.measuring.noise import NoiseWatch, calibrate, calibrate_both
from eenet_bench.measuring.nvml import GpuReader, open_reader


@pytest.mark.alone
def test_a_calibration_takes_time_and_one_thread() -> None:
    assert 1e-4 < calibrate() < 5
    seconds, busy = calibrate_both()
    assert 1e-4 < busy <= 1.1 * seconds


def test_a_machine_whose_calibration_varies_is_called_noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    # What others do is left out: a machine that runs tests is never quiet.
    monkeypatch.setattr("eenet_bench.measuring.noise._busy_and_total", lambda: None)
    monkeypatch.setattr("eenet_bench.measuring.noise._throttled", lambda: 0)
    watch = NoiseWatch()
    watch.between_rounds()
    assert watch.finish([0.0100, 0.0101, 0.0099, 0.0100]).quiet
    noisy = watch.finish([0.010, 0.015, 0.011, 0.018])
    assert not noisy.quiet
    assert noisy.describe().startswith("this machine was noisy: a fixed piece of work varied by ")


def test_work_of_other_programs_is_told_from_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([(100.0, 400.0), (160.0, 500.0)])
    own = iter([5.0, 25.0])
    monkeypatch.setattr("eenet_bench.measuring.noise._busy_and_total", lambda: next(moments))
    monkeypatch.setattr("eenet_bench.measuring.noise._own_seconds", lambda: next(own))
    monkeypatch.setattr("eenet_bench.measuring.noise._throttled", lambda: 0)
    noise = NoiseWatch().finish([0.01])
    # 60 s of 100 were busy, 20 of them ours.
    assert noise.others_share == pytest.approx(0.4)
    assert noise.findings == ("other programs used 40% of its processors",)


def _counter(folder: Path, name: str, microjoules: int) -> Path:
    package = folder / name
    package.mkdir(parents=True)
    (package / "max_energy_range_uj").write_text("1000000\n")
    (package / "energy_uj").write_text(f"{microjoules}\n")
    return package / "energy_uj"


def test_energy_is_the_sum_of_the_packages_also_where_a_counter_begins_anew(tmp_path: Path) -> None:
    first, second = (_counter(tmp_path, f"intel-rapl:{number}", 900_000) for number in range(2))
    _counter(tmp_path, "intel-rapl:0:0", 5)  # a part of package 0, which counts it already
    meter = EnergyMeter(powercap=tmp_path)
    before = meter.read()
    first.write_text("950000\n")
    second.write_text("100000\n")
    assert meter.why_none == ""
    assert meter.between(before, meter.read()) == pytest.approx(0.05 + 0.2)


def test_energy_that_is_not_counted_is_said_and_not_called_zero(tmp_path: Path) -> None:
    meter = EnergyMeter(powercap=tmp_path)
    assert meter.why_none == "energy: this machine shows no counter of its processors (RAPL)"
    assert meter.between(meter.read(), meter.read()) is None
    assert meter.between(EnergyReading((), 5.0), EnergyReading((), 7.5)) == 2.5


class FakeNvml:
    """A driver's library with one GPU; like an older one it lacks a function."""

    def __init__(self) -> None:
        self.open = 0
        self.set: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("nvmlDeviceSet"):
            self.set.append(name)
        raise AttributeError(name)

    def nvmlInit_v2(self) -> int:  # noqa: N802  # the names are NVML's
        self.open += 1
        return 0

    def nvmlShutdown(self) -> int:  # noqa: N802
        self.open -= 1
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, handle: Any) -> int:  # noqa: N802
        return 0 if index == 0 else 2

    def nvmlDeviceGetPowerUsage(self, handle: Any, answer: Any) -> int:  # noqa: N802
        answer._obj.value = 250_500
        return 0

    def nvmlDeviceGetClockInfo(self, handle: Any, kind: int, answer: Any) -> int:  # noqa: N802
        answer._obj.value = {0: 1980, 2: 2619}[kind]
        return 0

    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int, answer: Any) -> int:  # noqa: N802
        return 3  # not supported

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: Any, answer: Any) -> int:  # noqa: N802
        answer._obj.value = 0x1 | 0x4  # idle, and a power cap
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> int:  # noqa: N802
        memory._obj.used = 3 << 30
        return 0


def test_a_gpu_is_read_and_never_set() -> None:
    library = FakeNvml()
    reader = GpuReader(library)
    state = reader.state()
    assert (state.graphics_mhz, state.memory_mhz, state.power_w, state.used_bytes) == (1980, 2619, 250.5, 3 << 30)
    assert state.temperature_c is None
    assert state.energy_j is None
    assert state.describe() == "1980 MHz, memory 2619 MHz, 250 W, held down by power cap"
    reader.close()
    assert (library.open, library.set) == (0, [])
    with pytest.raises(OSError, match="NVML knows no GPU 1"):
        GpuReader(library, 1)


def test_a_machine_without_a_driver_has_no_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with open_reader() as reader:
        assert reader is None


def test_what_others_used_is_never_less_than_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # Both clocks tick in hundredths: ours may seem to have done more than all together.
    moments = iter([(100.0, 400.0), (110.0, 500.0)])
    own = iter([5.0, 15.5])
    monkeypatch.setattr("eenet_bench.measuring.noise._busy_and_total", lambda: next(moments))
    monkeypatch.setattr("eenet_bench.measuring.noise._own_seconds", lambda: next(own))
    monkeypatch.setattr("eenet_bench.measuring.noise._throttled", lambda: 0)
    assert NoiseWatch().finish([0.01]).others_share == 0.0


def test_the_time_of_guests_is_not_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    # user nice system idle iowait irq softirq steal guest guest_nice; user holds guest already (man 5 proc).
    monkeypatch.setattr(Path, "read_text", lambda path: "cpu  100 2 30 400 50 6 7 8 90 1\ncpu0 1")
    monkeypatch.setattr("os.sysconf", lambda name: 1)
    assert noise_module._busy_and_total() == (153.0, 603.0)


def test_the_slowest_and_the_fastest_clock_of_all_rounds_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = iter([[2100.0, 3400.0], [1800.0, 2500.0]])
    monkeypatch.setattr("eenet_bench.measuring.noise._clocks", lambda: next(clocks))
    watch = NoiseWatch()
    watch.between_rounds()
    watch.between_rounds()
    assert watch.finish([0.01]).mhz == (1800.0, 3400.0)
