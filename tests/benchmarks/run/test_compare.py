"""Two runs side by side: equal ones are equal whatever the noise, and what was made slower is found."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eenet_bench.measuring.bootstrap import Rounds, as_rounds, paired_ratio, unpaired_ratio
from eenet_bench.run.compare import ALL_ENGINES, compare_runs, comparison_text
from eenet_bench.run.run import SCHEMA_VERSION
from eenet_bench.run.run_file import EngineRun, RunFile, read_run
from eenet_runtime.errors import DatasetError

STAGES = {"read": 0.06, "check": 0.02, "prepare": 0.08, "network": 1.0, "restore": 0.02, "clean": 0.004, "write": 0.015}
ENGINES = {"keras fp32": 1.3, "onnxruntime fp32": 2.0, "onnxruntime fp16": 2.0, "openvino fp32": 0.9}
"""Time of the network in each, by that in `STAGES`."""
TRIALS = 10


def make_run(
    seed: int,
    slower: Mapping[str, float] | None = None,
    rounds: int = 9,
    mood: float = 0.05,
    names: Sequence[str] = tuple(ENGINES),
) -> RunFile:
    """A run as a machine with other things to do gives it.

    The whole run and each round have a mood that slows everything, the calibration too; every figure varies by 6 %, and
    one in ten is disturbed by something else and takes up to two and a half times as long. Each engine's process has
    its own luck, which is 1.5 % and the same in all its rounds.

    Args:
        seed: of all that.
        slower: factors of stages.
        rounds: how many.
        mood: standard deviation of the moods' logarithms.
        names: the engines.
    """
    random = np.random.default_rng(seed)
    moods = np.exp(random.normal(0, mood)) * np.exp(np.abs(random.normal(0, mood, (rounds, 1))))

    def measured(seconds: float, runs: int) -> Rounds:
        values = seconds * moods * np.exp(random.normal(0, 0.06, (rounds, runs)))
        disturbed = random.random((rounds, runs)) < 0.1
        return as_rounds(np.where(disturbed, values * random.uniform(1.2, 2.5, (rounds, runs)), values).tolist())

    # Of two cases, five repeats each.
    calibration = np.median(measured(0.01, 10 * len(names)), axis=1, keepdims=True)
    engines = {}
    for name in names:
        base = {**STAGES, "network": STAGES["network"] * ENGINES[name]}
        base = {stage: value * np.exp(random.normal(0, 0.015)) for stage, value in base.items()}
        # Two cases, outside the network both three times.
        runs = {stage: 2 if stage == "network" else 6 for stage in base}
        seconds = {
            stage: measured(value * (slower or {}).get(stage, 1.0), runs[stage]) for stage, value in base.items()
        }
        seconds["total"] = np.sum([values[:, :2] for values in seconds.values()], axis=0)
        busy = {stage: 1.5 * rounds_of_stage for stage, rounds_of_stage in seconds.items()}
        engines[name] = EngineRun(seconds, busy, 800 << 20, 0.9999)
    cases = {"A": {"t1": "0"}}
    return RunFile(
        Path(f"{seed}.json"), "a CPU", 2, "p", cases, "b", "c", {}, calibration, 1.5 * calibration, (), 0.0, engines
    )


def test_equal_runs_compare_as_no_change_in_nine_of_ten_trials() -> None:
    quiet = 0
    for trial in range(TRIALS):
        comparison = compare_runs(make_run(2 * trial), make_run(2 * trial + 1))
        quiet += not comparison.regressions and not comparison.improvements
    assert quiet >= 0.9 * TRIALS


def test_a_normalisation_that_is_15_percent_slower_is_found() -> None:
    found = 0
    for trial in range(TRIALS):
        comparison = compare_runs(make_run(2 * trial), make_run(2 * trial + 1, {"prepare": 1.15}))
        found += any((c.engine, c.what) == (ALL_ENGINES, "prepare") for c in comparison.regressions)
    assert found >= 0.9 * TRIALS


def test_of_one_engine_equal_runs_are_equal_and_a_normalisation_that_is_15_percent_slower_is_found() -> None:
    quiet = found = 0
    for trial in range(2 * TRIALS):
        before, after = (make_run(2 * trial + side, rounds=12, names=("openvino fp32",)) for side in range(2))
        slower = make_run(2 * trial + 1, {"prepare": 1.15}, rounds=12, names=("openvino fp32",))
        equal = compare_runs(before, after)
        quiet += not equal.regressions and not equal.improvements
        found += any(change.what.startswith("prepare") for change in compare_runs(before, slower).regressions)
    assert quiet >= 0.9 * 2 * TRIALS
    assert found >= 0.7 * 2 * TRIALS


def test_what_differs_between_processes_of_the_same_code_is_no_change() -> None:
    before = make_run(1, names=("openvino fp32",))
    # 5.5 %, the same in every round: to a bootstrap over rounds alone this is certain.
    unlucky = {
        name: replace(engine, seconds={stage: 1.055 * rounds for stage, rounds in engine.seconds.items()})
        for name, engine in before.engines.items()
    }
    assert not compare_runs(before, replace(before, engines=unlucky)).regressions


def test_times_beside_very_different_others_are_shown_and_decide_nothing() -> None:
    before, after = make_run(1), make_run(2, {"prepare": 1.5})
    assert compare_runs(before, replace(after, others_share=0.2)).regressions
    comparison = compare_runs(before, replace(after, others_share=0.8))
    assert not comparison.regressions
    assert not comparison.improvements
    assert (ALL_ENGINES, "prepare", "moved") in {(c.engine, c.what, c.verdict) for c in comparison.changes}
    assert "other programs used 0% of the processors before and 80% after" in comparison_text(comparison)


def test_of_runs_with_other_numbers_of_repeats_what_both_have_is_compared() -> None:
    before = make_run(1)
    fewer = {
        name: replace(
            engine,
            seconds={stage: rounds[:, :2] for stage, rounds in engine.seconds.items()},
            cpu_seconds={stage: rounds[:, :2] for stage, rounds in engine.cpu_seconds.items()},
        )
        for name, engine in before.engines.items()
    }
    changes = compare_runs(before, replace(before, engines=fewer)).changes
    ratios = [change.ratio.value for change in changes if change.ratio is not None]
    assert ratios == pytest.approx(len(ratios) * [1.0])


def test_a_machine_in_another_mood_is_no_regression() -> None:
    before, after = make_run(1), make_run(2)
    slowed = {
        name: replace(
            engine,
            seconds={stage: 1.4 * rounds for stage, rounds in engine.seconds.items()},
            cpu_seconds={stage: 1.4 * rounds for stage, rounds in engine.cpu_seconds.items()},
        )
        for name, engine in after.engines.items()
    }
    assert compare_runs(before, replace(after, engines=slowed)).regressions
    moody = replace(after, engines=slowed, calibration=1.4 * after.calibration)
    moody = replace(moody, cpu_calibration=1.4 * after.cpu_calibration)
    assert not compare_runs(before, moody).regressions


def test_on_a_noisy_machine_processor_seconds_decide_and_seconds_are_only_shown() -> None:
    before, after = make_run(1), make_run(2, {"prepare": 1.5})
    noisy = replace(after, noisy=("others computed",))
    assert {change.what for change in compare_runs(before, noisy).regressions} == {"prepare, processor"}
    waiting = {
        name: replace(engine, cpu_seconds=before.engines[name].cpu_seconds) for name, engine in after.engines.items()
    }
    comparison = compare_runs(before, replace(noisy, engines=waiting, cpu_calibration=before.cpu_calibration))
    assert not comparison.regressions
    assert (ALL_ENGINES, "prepare", "moved") in {(c.engine, c.what, c.verdict) for c in comparison.changes}


def test_memory_and_agreement_are_compared_too() -> None:
    before = make_run(1)
    worse = {
        name: replace(engine, peak_rss_bytes=1000 << 20, lowest_dice=0.99) for name, engine in before.engines.items()
    }
    comparison = compare_runs(before, replace(before, engines=worse))
    assert {(c.what, c.verdict) for c in comparison.regressions} == {("peak memory", "more"), ("Dice", "worse")}
    assert "1000 MiB" in comparison_text(comparison)


def test_a_run_is_equal_to_itself_and_the_text_says_so() -> None:
    run = make_run(1)
    text = comparison_text(compare_runs(run, replace(run, bundle_id="other", noisy=("somebody else computed",))))
    assert "no change beyond noise and 5%" in text
    assert "another bundle: b before, other after" in text
    assert "noisy after: somebody else computed" in text


def test_runs_of_other_machines_or_cases_are_refused_unless_asked_for() -> None:
    run = make_run(1)
    for other in (replace(run, cpu="another CPU"), replace(run, threads=4), replace(run, cases={"B": {}})):
        with pytest.raises(DatasetError, match="not comparable with"):
            compare_runs(run, other)
    assert (
        "processor a CPU before, another CPU after"
        in compare_runs(run, replace(run, cpu="another CPU"), anyway=True).notes
    )
    with pytest.raises(DatasetError, match="no engine that"):
        compare_runs(run, replace(run, engines={"other": next(iter(run.engines.values()))}))


@pytest.mark.parametrize(
    "text", ["not JSON", "[]", "{}", '{"kind": "run", "schema_version": 1}', '{"kind": "run", "schema_version": 2}']
)
def test_a_file_that_is_no_run_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DatasetError, match=r"a\.json: "):
        read_run(tmp_path / "a.json")


def _outside(times: Mapping[str, Rounds], number: int, column: int) -> dict[str, float]:
    return {stage: rounds[number, column] for stage, rounds in times.items() if stage not in ("network", "total")}


def run_json(run: RunFile) -> str:
    """The fields of `results.json` that a comparison reads."""
    results = []
    for name, engine in run.engines.items():
        rounds = len(engine.seconds["total"])
        samples = [
            {
                "round": number,
                "stages_s": {
                    stage: seconds[number, case] for stage, seconds in engine.seconds.items() if stage != "total"
                },
                "total_s": engine.seconds["total"][number, case],
                "cpu_s": {stage: seconds[number, case] for stage, seconds in engine.cpu_seconds.items()},
                "calibration_s": run.calibration[number, 0],
                "calibration_cpu_s": run.cpu_calibration[number, 0],
                "outside": [
                    {
                        "stages_s": _outside(engine.seconds, number, case + 2 * repeat),
                        "cpu_s": _outside(engine.cpu_seconds, number, case + 2 * repeat),
                    }
                    for repeat in range(3)
                ],
            }
            for number in range(rounds)
            for case in range(2)
        ]
        latency = {"version": "1", "samples": samples, "peak_rss_bytes": engine.peak_rss_bytes}
        results.append({"name": name, "latency": latency, "parity": [{"patient_dice": {"WT": engine.lowest_dice}}]})
    content = {
        "kind": "run",
        "schema_version": SCHEMA_VERSION,
        "bundle_id": run.bundle_id,
        "preset": run.preset,
        "cases": run.cases,
        "settings": {"threads": None},
        "environment": {"cpu": run.cpu, "commit": run.commit, "system": {"threads": run.threads}},
        "noise": {"findings": [], "others_share": run.others_share},
        "results": [*results, {"name": "tensorrt", "latency": None, "parity": []}],
    }
    return json.dumps(content)


def test_the_command_ends_with_5_for_a_regression_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from eenet_bench.cli import main

    runs = {"before": make_run(0), "equal": make_run(1), "slower": make_run(1, {"network": 1.3})}
    for name, run in runs.items():
        (tmp_path / f"{name}.json").write_text(run_json(run))
    read = read_run(tmp_path / "before.json").engines["keras fp32"]
    for stage, rounds in runs["before"].engines["keras fp32"].seconds.items():
        assert np.array_equal(read.seconds[stage], rounds)
    for other, code, words in (("equal", 0, "no change beyond"), ("slower", 5, "regressions and 0 improvements")):
        monkeypatch.setattr(
            "sys.argv", ["eenet-bench", "compare", str(tmp_path / "before.json"), str(tmp_path / f"{other}.json")]
        )
        with pytest.raises(SystemExit) as ended:
            main()
        assert (ended.value.code or 0) == code
        assert words in capsys.readouterr().out


def test_a_ratio_of_pairs_is_known_better_than_the_machine_is_steady() -> None:
    moods = np.linspace(1, 3, 9)[:, np.newaxis]
    ratio = paired_ratio(0.5 * moods, moods)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((0.5, 0.5, 0.5))
    apart = unpaired_ratio(0.5 * moods, moods)
    assert apart.value == pytest.approx(0.5)
    assert apart.low < 0.4 < 0.6 < apart.high
    assert paired_ratio(0.5 * moods, moods) == ratio


def test_ratios_of_nothing_or_of_other_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        paired_ratio(as_rounds([[1.0]]), np.zeros((0, 1)))
    with pytest.raises(ValueError, match="expected pairs"):
        paired_ratio(as_rounds([[1.0]]), as_rounds([[1.0], [2.0]]))
    with pytest.raises(ValueError, match="expected the same runs"):
        unpaired_ratio(as_rounds([[1.0]]), as_rounds([[1.0, 2.0]]))
