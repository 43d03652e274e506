"""`eenet-bench gpu`: the acceptance run on a machine with a GPU, and what of it can be done without one.

It works on a copy of the bundle: builds engines of both kinds, holds them against the oracle, lets them prove their
norms, and times them. What fails is a line of the report, not the end of the run.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from eenet_bench.acceptance.gpu_events import DeviceTimes, plan_bytes, time_engine
from eenet_bench.measuring.environment import Environment, describe_environment
from eenet_bench.measuring.nvml import GpuState, open_reader
from eenet_export.gate.parity import ParityCase
from eenet_runtime.backends import make_backend
from eenet_runtime.bundle.engine_file import FLAVOURS, TENSORRT_RTX
from eenet_runtime.bundle.manifest import Artifact, open_bundle
from eenet_runtime.cases.discovery import find_cases
from eenet_runtime.errors import BackendError, DatasetError, EENetError
from eenet_runtime.machine.devices import GpuInfo, find_gpus
from eenet_runtime.selftest.selftest import describe_self_test, self_test

SCHEMA_VERSION: Final = 1
PASSED, FAILED, LEFT_OUT = "passed", "failed", "left out"


@dataclass(frozen=True)
class Step:
    """One thing that was tried.

    Attributes:
        engine: such as `tensorrt fp16`.
        what: `build`, `gate`, `self-test` or `timing`.
        outcome: `passed`, `failed`, or `left out` where this machine cannot do it.
        detail: figures, or the reason.
    """

    engine: str
    what: str
    outcome: str
    detail: str


@dataclass(frozen=True)
class EngineTimes:
    """One engine on the GPU.

    Attributes:
        engine: such as `tensorrt fp16`.
        times: of each of its outputs.
        idle, busy: the GPU before and right after the timed runs.
    """

    engine: str
    times: tuple[DeviceTimes, ...]
    idle: GpuState | None
    busy: GpuState | None


@dataclass
class AcceptanceReport:
    """The whole run.

    Attributes:
        bundle_id, bundle_name, preset: the model.
        environment: the machine.
        gpu: the GPU, None without one.
        why_no_gpu: why there is none; empty where there is.
        steps: everything that was tried, in its order.
        engines: what was timed.
    """

    bundle_id: str
    bundle_name: str
    preset: str
    environment: Environment
    gpu: GpuInfo | None
    why_no_gpu: str
    steps: list[Step] = field(default_factory=list)
    engines: list[EngineTimes] = field(default_factory=list)

    @property
    def failed(self) -> list[Step]:
        """What was tried and is not as it must be."""
        return [step for step in self.steps if step.outcome == FAILED]

    @property
    def verdict(self) -> str:
        """In one line."""
        if self.failed:
            return f"FAILED: {self.failed[0].engine}, {self.failed[0].what}: {self.failed[0].detail}"
        if self.gpu is None:
            return f"NOT ACCEPTED: no engine ran ({self.why_no_gpu}); what needs no GPU was done"
        done = {(step.engine, step.what) for step in self.steps if step.outcome == PASSED}
        whole = [engine for engine, what in done if what == "timing"]
        if not whole:
            return "NOT ACCEPTED: no engine could be run"
        return f"ACCEPTED on {self.gpu.name}: {', '.join(sorted(whole))}"

    def to_json(self) -> str:
        """Everything, as the text of a file."""
        content: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "kind": "gpu", "verdict": self.verdict}
        return json.dumps({**content, **asdict(self)}, indent=1) + "\n"


def accept(
    bundle: Path,
    cases: Path,
    *,
    repeats: int = 50,
    require_gpu: bool = False,
    on_step: Callable[[str], None] = lambda step: None,
) -> AcceptanceReport:
    """Run the acceptance.

    Args:
        bundle: a folder made by `eenet-export`; it is copied, and stays as it is.
        cases: a folder of cases.
        repeats: timed runs of each engine.
        require_gpu: whether it is an error if there is no GPU.
        on_step: told in words what happens.

    Raises:
        BackendError: there is no GPU, and one is required.
        BundleError: the bundle is damaged.
        DatasetError: no usable case.
    """
    opened, survey = open_bundle(bundle), find_gpus()
    if require_gpu and not survey.gpus:
        raise BackendError(f"--require-gpu: {survey.why_none}")
    if not find_cases(cases).cases:
        raise DatasetError(f"{cases}: no usable case")
    gpu = survey.gpus[0] if survey.gpus else None
    manifest = opened.manifest
    report = AcceptanceReport(
        opened.bundle_id, manifest.name, manifest.preset.name, describe_environment(), gpu, survey.why_none
    )
    with tempfile.TemporaryDirectory(prefix="eenet-acceptance-") as scratch:
        run = _Run(Path(shutil.copytree(bundle, Path(scratch) / "bundle")), cases, repeats, report, on_step)
        precisions = dict.fromkeys(
            a.precision for a in manifest.artifacts if a.kind == "onnx" and a.precision != "int8"
        )
        for flavour in FLAVOURS:
            for precision in precisions:
                run.build(flavour, precision)
        run.gate()
        for artifact in open_bundle(run.bundle).manifest.artifacts:
            if artifact.kind in FLAVOURS:
                run.prove(artifact)
                run.time(artifact)
    return report


@dataclass(frozen=True)
class _Run:
    """The steps; each leaves its outcome in the report."""

    bundle: Path
    cases: Path
    repeats: int
    report: AcceptanceReport
    on_step: Callable[[str], None]

    def build(self, flavour: str, precision: str) -> None:
        """An engine into the copy of the bundle."""
        engine, gpu = f"{flavour} {precision}", self.report.gpu
        self.on_step(f"building {engine}")
        try:
            # The libraries of the export come with it, and are not needed to say that something is missing.
            from eenet_export.engines import EngineSettings, add_engine

            target = (gpu.compute_capability,) if flavour == TENSORRT_RTX and gpu is not None else ()
            added = add_engine(self.bundle, EngineSettings(flavour, precision, compute_capabilities=target))
        except (EENetError, ModuleNotFoundError) as error:
            # Without a GPU, or without a package, nothing is wrong with the engine.
            self._note(engine, "build", LEFT_OUT if self._excused(flavour) else FAILED, str(error))
            return
        layers = added.sidecar.layers
        detail = (
            f"{added.plan.stat().st_size / 1e6:.1f} MB, {layers.kernels} kernels, {layers.traffic_bytes / 1e9:.2f} GB"
        )
        self._note(engine, "build", PASSED, f"{detail} of traffic, {added.sidecar.activation_bytes / 1e6:.0f} MB")

    def gate(self) -> None:
        """Every artefact of the copy against the oracle."""
        self.on_step("gate")
        try:
            from eenet_export.gate.verify import verify_bundle

            found = verify_bundle(self.bundle, self.cases, on_step=self.on_step)
        except ModuleNotFoundError as error:
            self._note("all", "gate", LEFT_OUT, f'{error.name} is not installed; pip install "eenet[export]"')
            return
        except EENetError as error:
            self._note("all", "gate", FAILED, str(error))
            return
        for form in dict.fromkeys(row.candidate for row in found.rows):
            own = [row for row in found.rows if row.candidate == form]
            lowest = min(value for row in own for value in row.dice.values())
            detail = found.failed.get(form, f"{len(own)} cases, lowest Dice {lowest:.5f}")
            self._note(form, "gate", FAILED if form in found.failed else PASSED, detail)
        for path, reason in found.not_run.items():
            self._note(path, "gate", FAILED if self._must_run(path) else LEFT_OUT, reason)

    def prove(self, artifact: Artifact) -> None:
        """The golden case and, in FP16, the norm stress test."""
        engine = f"{artifact.kind} {artifact.precision}"
        if self.report.gpu is None:
            self._note(engine, "self-test", LEFT_OUT, self.report.why_no_gpu)
            return
        self.on_step(f"self-test of {engine}")
        try:
            bundle = open_bundle(self.bundle)
            loading = make_backend(bundle, backend=artifact.kind, device="cuda", precision=artifact.precision)
            with closing(loading) as backend:
                test = self_test(bundle, backend)
        except EENetError as error:
            self._note(engine, "self-test", FAILED, str(error))
            return
        self._note(engine, "self-test", PASSED if test.passed else FAILED, describe_self_test(test).replace("\n", "; "))

    def time(self, artifact: Artifact) -> None:
        """Device time by events and wall time by the host."""
        engine = f"{artifact.kind} {artifact.precision}"
        if self.report.gpu is None:
            self._note(engine, "timing", LEFT_OUT, self.report.why_no_gpu)
            return
        self.on_step(f"timing {engine}")
        try:
            preset = open_bundle(self.bundle).manifest.preset
            volume = ParityCase.read(find_cases(self.cases).cases[0], preset).volume
            with open_reader(self.report.gpu.index) as reader:
                idle = reader.state() if reader is not None else None
                plan = plan_bytes(self.bundle, artifact.path)
                times = time_engine(load_library(artifact.kind), plan, artifact.kind, volume, self.repeats)
                busy = reader.state() if reader is not None else None
        except EENetError as error:
            self._note(engine, "timing", FAILED, str(error))
            return
        self.report.engines.append(EngineTimes(engine, tuple(times), idle, busy))
        detail = "; ".join(f"{t.output}: device {t.device.median:.2f} ms, host {t.host.median:.2f} ms" for t in times)
        self._note(engine, "timing", PASSED, detail)

    def _note(self, engine: str, what: str, outcome: str, detail: str) -> None:
        self.report.steps.append(Step(engine, what, outcome, " ".join(detail.split())))

    def _excused(self, flavour: str) -> bool:
        """Whether an engine may be missing: no GPU, its package is not installed, or RTX does not know this GPU."""
        from eenet_export.engines.flavour import known_compute_capabilities, load_flavour

        gpu = self.report.gpu
        try:
            known = known_compute_capabilities(load_flavour(flavour))
        except EENetError:
            return True
        return gpu is None or (bool(known) and gpu.compute_capability not in known)

    def _must_run(self, path: str) -> bool:
        """Whether something is wrong if an artefact does not run here."""
        return self.report.gpu is not None and path.endswith(".plan")


def load_library(flavour: str) -> Any:
    """The module of a flavour, as the runtime loads it.

    Raises:
        BackendError: it is not installed.
    """
    from eenet_runtime.backends.tensorrt_backend import load_tensorrt
    from eenet_runtime.backends.tensorrt_rtx_backend import load_tensorrt_rtx

    return load_tensorrt_rtx() if flavour == TENSORRT_RTX else load_tensorrt()
