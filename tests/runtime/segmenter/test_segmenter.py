"""One `Segmenter` for any number of threads: the same masks, a bounded number of cases, stopped when told to."""

from __future__ import annotations

import gc
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from numpy.typing import NDArray

from eenet_runtime.backends import backend_names
from eenet_runtime.backends.base import Backend
from eenet_runtime.cases import inputs
from eenet_runtime.cases.case_files import CaseFiles, ImageSource
from eenet_runtime.errors import BackendError, CaseCancelledError, CaseError, CaseTimeoutError, EENetError
from eenet_runtime.segmenter import postprocessing
from eenet_runtime.segmenter.limits import Cancellation, Limits
from eenet_runtime.segmenter.segmenter import Segmenter
from eenet_runtime.segmenter.settings import SegmenterOptions, SegmenterSettings
from eenet_runtime.volumes.labels import Modality, Region
from tests.synthetic import Head, case_files, make_head

STAGES = ("read", "prepare", "check", "network", "restore", "clean")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[CaseFiles]:
    """Four different heads."""
    folder = tmp_path_factory.mktemp("cases")
    shapes = [(46, 54, 22), (40, 50, 20), (52, 44, 24), (38, 38, 18)]
    return [case_files(folder, f"Secret_{index}", make_head(shape)) for index, shape in enumerate(shapes)]


@dataclass
class Watched:
    """A backend that tells how many of its calls run at a time, and waits where it is told to."""

    inner: Backend
    calls: int = 0
    closed: int = 0
    gate: threading.Event | None = None
    entered: threading.Event = field(default_factory=threading.Event)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __call__(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        self._enter()
        return self.inner(volume)

    def labels(self, volume: NDArray[np.float32]) -> NDArray[np.uint8]:
        self._enter()
        return self.inner.labels(volume)

    def close(self) -> None:
        self.closed += 1
        self.inner.close()

    def _enter(self) -> None:
        self.calls += 1
        self.entered.set()
        if self.gate is not None:
            assert self.gate.wait(10)


@dataclass
class Watcher:
    """A segmenter and the backend in it."""

    segmenter: Segmenter
    backend: Watched


@pytest.fixture
def watch(tiny_bundle: Path) -> Iterator[Callable[..., Watcher]]:
    """Makes watched segmenters; closes them."""
    made: list[Segmenter] = []

    def make(**options: Any) -> Watcher:
        loaded = Segmenter(tiny_bundle, threads=1, **options)
        backend = Watched(loaded.backend)
        loaded.backend = backend
        made.append(loaded)
        return Watcher(loaded, backend)

    yield make
    for loaded in made:
        loaded.close()


# Threads


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_64_threads_on_4_cases_give_the_masks_of_one_thread(
    tiny_bundle: Path, cases: list[CaseFiles], backend: str
) -> None:
    with Segmenter(tiny_bundle, backend=backend, threads=1, max_cases_in_flight=3) as loaded:
        expected = [loaded.segment(case) for case in cases]
        assert len({result.labels.tobytes() for result in expected}) == len(cases)
        start = threading.Barrier(64)

        def segment(index: int) -> bool:
            start.wait(30)
            result = loaded.segment(cases[index % 4])
            wanted = expected[index % 4]
            return result.case_id == wanted.case_id and np.array_equal(result.labels, wanted.labels)

        with ThreadPoolExecutor(64) as pool:
            assert all(pool.map(segment, range(64)))


def test_probabilities_and_labels_may_be_asked_for_at_the_same_time(
    segmenter: Segmenter, segmenter_2mm: Segmenter, cases: list[CaseFiles]
) -> None:
    for loaded in (segmenter, segmenter_2mm):
        expected = [loaded.segment(case).labels for case in cases]
        with ThreadPoolExecutor(8) as pool:
            jobs = [
                (index, keep, pool.submit(loaded.segment, cases[index], keep_probabilities=keep))
                for keep in (True, False, True)
                for index in range(4)
            ]
            for index, keep, job in jobs:
                np.testing.assert_array_equal(job.result().labels, expected[index])
                kept = job.result().probabilities
                assert (kept is not None) == keep
                if kept is not None:
                    assert kept.values.shape == (*loaded.bundle.manifest.preset.shape, 4)


def test_cases_in_flight_never_exceed_the_stated_number(
    watch: Callable[..., Watcher], cases: list[CaseFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    held, most, lock = 0, 0, threading.Lock()

    def change(by: int) -> None:
        nonlocal held, most
        with lock:
            held += by
            most = max(most, held)

    read, finish = inputs.load_case, postprocessing.clean

    def load_case(*arguments: Any) -> Any:
        change(+1)
        time.sleep(0.005)
        return read(*arguments)

    def cleaned(*arguments: Any) -> Any:
        change(-1)
        return finish(*arguments)

    monkeypatch.setattr("eenet_runtime.segmenter.segmenter.load_case", load_case)
    monkeypatch.setattr("eenet_runtime.segmenter.finishing.clean", cleaned)
    loaded = watch(max_cases_in_flight=2).segmenter
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(loaded.segment, cases * 3))
    assert most == 2


def test_a_refused_case_gives_its_place_to_the_next(watch: Callable[..., Watcher], cases: list[CaseFiles]) -> None:
    loaded = watch(max_cases_in_flight=1).segmenter
    bad = replace(cases[0], images={**cases[0].images, Modality.T2: ImageSource(Path("/no/such/Secret.nii"))})
    for _ in range(3):
        with pytest.raises(CaseError):
            loaded.segment(bad)
    assert loaded.segment(cases[0]).labels.any()


def test_a_prepared_case_keeps_its_place_until_it_is_inferred_discarded_or_forgotten(
    watch: Callable[..., Watcher], cases: list[CaseFiles]
) -> None:
    loaded = watch(max_cases_in_flight=1).segmenter
    prepared = loaded.prepare(cases[0])
    with pytest.raises(CaseTimeoutError, match="before the stage read"):
        loaded.prepare(cases[1], time_limit_s=0.15)
    expected = loaded.infer(prepared).labels
    prepared = loaded.prepare(cases[0])
    prepared.discard()
    prepared.discard()
    forgotten = loaded.prepare(cases[1])
    del forgotten
    gc.collect()
    np.testing.assert_array_equal(loaded.segment(cases[0], time_limit_s=5).labels, expected)


def test_a_preparation_is_inferred_once(segmenter: Segmenter, cases: list[CaseFiles]) -> None:
    prepared = segmenter.prepare(cases[0])
    segmenter.infer(prepared)
    with pytest.raises(ValueError, match="inferred or discarded before"):
        segmenter.infer(prepared)


def test_preparing_runs_beside_an_inference(watch: Callable[..., Watcher], cases: list[CaseFiles]) -> None:
    watched = watch(max_cases_in_flight=2)
    watched.backend.gate = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(watched.segmenter.segment, cases[0])
        assert watched.backend.entered.wait(10)
        prepared = watched.segmenter.prepare(cases[1])
        assert not running.done()
        watched.backend.gate.set()
        running.result()
    assert watched.segmenter.infer(prepared).case_id == cases[1].case_id


def test_zero_cases_in_flight_are_a_mistake(tiny_bundle: Path) -> None:
    with pytest.raises(ValueError, match="max_cases_in_flight is 0"):
        Segmenter(tiny_bundle, max_cases_in_flight=0)


def test_settings_and_keyword_arguments_say_the_same(tiny_bundle: Path) -> None:
    hints = get_type_hints(SegmenterSettings)
    assert get_type_hints(SegmenterOptions) == hints
    assert [field.name for field in fields(SegmenterSettings)] == list(hints)
    with Segmenter(tiny_bundle, SegmenterSettings(threads=1, time_limit_s=7.0), time_limit_s=8.0) as loaded:
        assert loaded.settings == SegmenterSettings(threads=1, time_limit_s=8.0)
        assert (loaded.threads, loaded.time_limit_s) == (1, 8.0)
    with pytest.raises(TypeError, match="no_such_thing"):
        Segmenter(tiny_bundle, no_such_thing=1)  # type: ignore[call-arg]


def test_every_public_attribute_is_documented(segmenter: Segmenter) -> None:
    public = {attribute for attribute in vars(segmenter) if not attribute.startswith("_")}
    documented = set(re.findall(r"^        (\w+):", Segmenter.__doc__ or "", re.MULTILINE))
    assert documented == public


# Stopping


@pytest.mark.parametrize("stage", STAGES)
def test_a_case_stops_before_the_stage_that_comes_next(
    watch: Callable[..., Watcher], cases: list[CaseFiles], monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """The switch is thrown at the last moment before a stage: nothing of that stage is done."""
    watched, cancel = watch(), Cancellation()
    check = Limits.check

    def thrown_before(limits: Any, name: str) -> None:
        if name == stage:
            cancel.cancel()
        check(limits, name)

    monkeypatch.setattr(Limits, "check", thrown_before)
    with pytest.raises(CaseCancelledError, match=f"^case {cases[0].case_id}: cancelled before the stage {stage}$"):
        watched.segmenter.segment(cases[0], cancel=cancel)
    assert watched.backend.calls == (stage in ("restore", "clean"))
    monkeypatch.undo()
    assert watched.segmenter.segment(cases[0]).labels.any()


def test_a_cancelled_case_is_no_refused_one() -> None:
    assert issubclass(CaseCancelledError, EENetError)
    assert not issubclass(CaseCancelledError, CaseError)
    assert issubclass(CaseTimeoutError, CaseError)


def test_one_switch_stops_many_cases_those_that_wait_too(watch: Callable[..., Watcher], cases: list[CaseFiles]) -> None:
    watched, cancel = watch(max_cases_in_flight=1), Cancellation()
    watched.backend.gate = threading.Event()
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(watched.segmenter.segment, case, cancel=cancel) for case in cases]
        assert watched.backend.entered.wait(10)
        cancel.cancel()
        watched.backend.gate.set()
        for job in jobs:
            with pytest.raises(CaseCancelledError):
                job.result(10)
    assert watched.backend.calls == 1


def test_waiting_for_the_engine_is_no_time_of_the_network_and_can_be_stopped(
    watch: Callable[..., Watcher], cases: list[CaseFiles]
) -> None:
    watched, cancel = watch(max_cases_in_flight=3), Cancellation()
    watched.backend.gate = threading.Event()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(watched.segmenter.segment, cases[0])
        assert watched.backend.entered.wait(10)
        second = pool.submit(watched.segmenter.segment, cases[1])
        third = pool.submit(watched.segmenter.segment, cases[2], cancel=cancel)
        time.sleep(0.3)
        cancel.cancel()
        with pytest.raises(CaseCancelledError, match="before the stage network"):
            third.result(10)
        watched.backend.gate.set()
        undisturbed = first.result(10).seconds
        waited = second.result(10).seconds
    assert watched.backend.calls == 2
    assert waited["wait"] > 0.1
    assert "wait" not in undisturbed
    assert waited["network"] < undisturbed["network"]
    assert list(waited) == ["read", "prepare", "check", "wait", "network", "restore", "clean"]


def test_a_time_limit_is_kept_between_the_stages(watch: Callable[..., Watcher], cases: list[CaseFiles]) -> None:
    watched = watch()
    watched.backend.gate = threading.Event()
    threading.Timer(0.3, watched.backend.gate.set).start()
    message = r"^case Secret_0: \d\.\d s taken before the stage restore, the limit is 0\.2 s$"
    with pytest.raises(CaseTimeoutError, match=message):
        watched.segmenter.segment(cases[0], time_limit_s=0.2)
    watched.backend.gate = None
    assert watched.segmenter.segment(cases[0], time_limit_s=30).labels.any()


def test_the_segmenters_own_time_limit_counts_where_a_case_has_none(
    watch: Callable[..., Watcher], cases: list[CaseFiles]
) -> None:
    loaded = watch(time_limit_s=0).segmenter
    with pytest.raises(CaseTimeoutError, match="the limit is 0 s"):
        loaded.segment(cases[0])
    assert loaded.segment(cases[0], time_limit_s=30).labels.any()


# Closing


def test_closing_waits_for_the_case_in_hand_and_refuses_further_ones(
    watch: Callable[..., Watcher], cases: list[CaseFiles]
) -> None:
    watched = watch(max_cases_in_flight=1)
    watched.backend.gate = threading.Event()
    with ThreadPoolExecutor(3) as pool:
        running = pool.submit(watched.segmenter.segment, cases[0])
        assert watched.backend.entered.wait(10)
        waiting = pool.submit(watched.segmenter.segment, cases[1])
        time.sleep(0.1)
        closing = pool.submit(watched.segmenter.close)
        with pytest.raises(BackendError, match="closed while the case waited"):
            waiting.result(10)
        assert not closing.done()
        assert watched.backend.closed == 0
        watched.backend.gate.set()
        closing.result(10)
        assert running.result(10).labels.any()
    assert watched.backend.closed == 1


def test_a_closed_segmenter_says_so(watch: Callable[..., Watcher], cases: list[CaseFiles]) -> None:
    loaded = watch().segmenter
    prepared = loaded.prepare(cases[0])
    loaded.close()
    loaded.close()
    for use in (lambda: loaded.segment(cases[0]), lambda: loaded.prepare(cases[0]), lambda: loaded.infer(prepared)):
        with pytest.raises(BackendError, match="the segmenter is closed; make a new one"):
            use()


def test_an_error_inside_the_context_still_frees_the_model(tiny_bundle: Path) -> None:
    with pytest.raises(KeyError), Segmenter(tiny_bundle, threads=1) as loaded:
        raise KeyError
    with pytest.raises(BackendError, match="closed"):
        loaded.backend.labels(np.zeros((64, 64, 24, 4), np.float32))


# What the result tells


def test_the_result_tells_what_computed_it(segmenter: Segmenter, head: Head, tmp_path: Path) -> None:
    result = segmenter.segment(case_files(tmp_path, "A", head))
    source = result.provenance
    assert source.bundle_id == segmenter.bundle.bundle_id
    assert source.backend in backend_names()
    assert (source.artifact, source.precision, source.self_test) == ("model.onnx", "fp32", "not asked for")
    assert source.why.startswith("auto takes ")
    assert set(source.versions) == {"eenet", "python", "numpy"}
    assert tuple(result.seconds) == STAGES
    assert result.volumes_ml[Region.WT] >= result.volumes_ml[Region.TC] >= result.volumes_ml[Region.ET] > 0


def test_probabilities_are_kept_only_on_request_and_change_nothing(
    segmenter: Segmenter, cases: list[CaseFiles]
) -> None:
    plain, kept = segmenter.segment(cases[0]), segmenter.segment(cases[0], keep_probabilities=True)
    assert plain.probabilities is None
    assert kept.probabilities is not None
    np.testing.assert_allclose(kept.probabilities.values.sum(axis=-1), 1, atol=1e-5)
    np.testing.assert_array_equal(plain.labels, kept.labels)


# The log


def test_the_log_counts_cases_and_names_nobody(
    segmenter: Segmenter, cases: list[CaseFiles], caplog: pytest.LogCaptureFixture
) -> None:
    broken = replace(cases[0], images={**cases[0].images, Modality.T2: ImageSource(Path("/no/such/Secret_0.nii"))})
    with caplog.at_level(logging.DEBUG, logger="eenet_runtime"):
        segmenter.segment(cases[0])
        with pytest.raises(CaseError, match="Secret_0"):
            segmenter.segment(broken)
    messages = [record.getMessage() for record in caplog.records]
    assert any("done; read " in message for message in messages)
    assert any("stopped while preparing (CaseError)" in message for message in messages)
    assert not [message for message in messages if "Secret" in message or ".nii" in message or "/" in message]
    assert not [record for record in caplog.records if record.exc_info]
