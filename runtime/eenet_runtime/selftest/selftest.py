"""Does this machine compute the model that was exported? The golden case of the bundle, through the engine that serves.

An engine for a GPU is native code, built for one version of everything around it. Nothing but running it shows that it
still computes the network, so such an engine is always tested before it serves a case. So is the native engine where it
takes about a second; others are when somebody asks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from eenet_runtime.backends import Backend
from eenet_runtime.bundle.engine_file import norm_stress_name
from eenet_runtime.bundle.manifest import Artifact, Bundle, read_listed
from eenet_runtime.errors import SelfTestError
from eenet_runtime.machine.devices import CPU, Device
from eenet_runtime.selftest.golden import NO_TUMOUR, USUAL, GoldenResult, read_golden, run_golden
from eenet_runtime.selftest.norm_stress import LIMIT, norm_stress_of_plan
from eenet_runtime.volumes.presets import GeometryPreset

ALWAYS_TESTED: Final = ("tensorrt", "tensorrt-rtx")
"""Kinds of artefacts that serve nothing before they have passed."""
QUICK_VOXELS: Final = 1_000_000
"""Up to this many voxels the native engine serves nothing before it has passed, either: its kernels are our own, and
chosen by a processor that we may never have seen. `eenet-fast` takes about a second, `eenet-144` six times as long."""


NORM_STRESS: Final = "norm stress test"


@dataclass(frozen=True)
class Check:
    """One further thing that a self-test found out, for example that a GPU sums norms in single precision.

    Attributes:
        name: what was checked.
        passed: whether it is as it must be.
        detail: found and expected, in one line.
    """

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class SelfTest:
    """What served, and how it did.

    Attributes:
        backend, version, device: the engine.
        artifact: what it ran.
        golden: the golden case.
        checks: what else was checked.
    """

    backend: str
    version: str
    device: str
    artifact: Artifact
    golden: GoldenResult
    checks: tuple[Check, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the engine may serve."""
        return self.golden.passed and all(check.passed for check in self.checks)

    @property
    def reason(self) -> str | None:
        """The first thing that is not as it must be; None where all is."""
        failed = (f"{check.name}: {check.detail}" for check in self.checks if not check.passed)
        return self.golden.reason or next(failed, None)

    @property
    def verdict(self) -> str:
        """What reports say: `passed` or `failed`, and where passing proves nothing about tumours, that."""
        if not self.passed:
            return "failed"
        return "passed" if self.golden.proves_tumours else f"passed, but {NO_TUMOUR}"


def self_test(bundle: Bundle, backend: Backend, further: Sequence[Callable[[], Check]] = ()) -> SelfTest:
    """Let a loaded engine compute the bundle's golden case, and its group norms if it is one in FP16 for GPUs.

    Args:
        bundle: the verified bundle.
        backend: the engine, loaded from it.
        further: checks that the caller knows to be needed on this device; each is called once, after the golden case.

    Raises:
        BundleError: the bundle has no golden case, or a damaged one.
        BackendError: the engine failed.
    """
    artifact = backend.artifact
    golden = run_golden(read_golden(bundle), backend, artifact)
    checks = tuple(check() for check in further)
    if artifact.kind in ALWAYS_TESTED and artifact.precision == "fp16":
        # The golden case is small: its sums may be right where those of a whole head are not.
        assert backend.gpu_index is not None, "plans run on GPUs"
        checks = (norm_stress_check(bundle, artifact, backend.gpu_index), *checks)
    return SelfTest(backend.name, backend.version, backend.device, artifact, golden, checks)


def norm_stress_check(bundle: Bundle, artifact: Artifact, gpu_index: int) -> Check:
    """Run the plan of one group norm that lies beside an engine in FP16, on the GPU that serves; see `norm_stress`.

    Raises:
        BundleError: the plan is not the one that the manifest names.
        BackendError: it cannot be run.
    """
    name = norm_stress_name(artifact.path)
    entry = bundle.listed(name)
    if entry is None:
        return Check(NORM_STRESS, False, f"{name} is not in the bundle; build the engine again (eenet-export engine)")
    plan = read_listed(bundle.folder / name, entry.sha256)
    result = norm_stress_of_plan(plan, artifact.kind, gpu_index)
    return Check(NORM_STRESS, result.passed, f"error {result.max_abs_error:.1e} found, at most {LIMIT:g} expected")


def require_passed(bundle: Bundle, test: SelfTest) -> None:
    """Let a self-test pass that did.

    Raises:
        SelfTestError: it did not; names the artefact, the engine, the device, and what was found and expected.
    """
    if not test.passed:
        raise SelfTestError(
            f"{bundle.path_of(test.artifact)}: self-test failed with {test.backend} {test.version} on {test.device}: "
            f"{test.reason}; it must not be used on this machine"
        )


def must_be_tested(artifact: Artifact, preset: GeometryPreset, device: Device = CPU) -> bool:
    """Whether an artefact of this geometry serves nothing on a device before it has passed."""
    quick = artifact.kind == "native" and math.prod(preset.shape) <= QUICK_VOXELS
    return artifact.kind in ALWAYS_TESTED or quick or device != CPU


def describe_self_test(test: SelfTest) -> str:
    """A self-test in words: what served, the figures, and PASS or FAIL."""
    golden, artifact = test.golden, test.artifact
    usual, largest = golden.usual_difference, golden.max_abs_difference
    figures = [
        f"agreement {golden.agreement:.6f}",
        "Dice "
        + ", ".join(
            f"{region.value} {'not proven (no voxel)' if region in golden.not_proven else f'{value:.5f}'}"
            for region, value in golden.dice.items()
        ),
        "labels only"
        if usual is None or largest is None
        else f"probabilities within {usual:.1e} ({USUAL} % of the positions), {largest:.1e} (all)",
    ]
    lines = [
        f"served by {test.backend} {test.version} on {test.device}",
        f"artefact {artifact.path}: {artifact.kind}, arithmetic {artifact.precision}, "
        f"weights {artifact.weights_precision}",
        f"golden case: {'; '.join(figures)}; {golden.seconds:.2f} s",
        *(f"{check.name}: {check.detail}" for check in test.checks),
        "PASS" + test.verdict.removeprefix("passed") if test.passed else f"FAIL: {test.reason}",
    ]
    return "\n".join(lines)
