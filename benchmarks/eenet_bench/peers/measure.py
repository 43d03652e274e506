"""`eenet-bench peers`: the toolkit beside Keras in a notebook, a plain ONNX graph and MONAI, in turns."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np

from eenet_bench.measuring.bootstrap import Ratio, as_rounds, paired_ratio
from eenet_bench.measuring.environment import Environment, describe_environment
from eenet_bench.measuring.noise import Noise, NoiseWatch, calibrate
from eenet_bench.measuring.process import JsonProcess
from eenet_bench.peers.models import Models, make_models
from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.cases.discovery import find_cases
from eenet_runtime.errors import BackendError, DatasetError
from eenet_runtime.machine.threads import usable_cpus
from eenet_runtime.volumes.labels import Modality
from eenet_runtime.volumes.presets import GeometryPreset

PEERS: Final = ("keras", "onnx", "monai")
OURS: Final = ("auto", "openvino")
TITLES: Final = {
    "keras": "Keras, as in a notebook",
    "onnx": "tf2onnx and ONNX Runtime",
    "monai": "MONAI, SegResNet",
    "auto": "eenet-run",
    "openvino": "eenet-run, OpenVINO",
}
_WORKER: Final = Path(__file__).with_name("worker.py")

AVX2: Final[Mapping[str, str]] = {
    # TensorFlow takes oneDNN's kernels by itself where there is AVX-512, and its own elsewhere.
    "TF_ENABLE_ONEDNN_OPTS": "0",
    # OpenVINO heeds this in its convolutions and the next in its other kernels: the names in its compiled graph say so.
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OV_CPU_MAX_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
}
"""Environment that keeps the engines from AVX-512. ONNX Runtime knows no such switch and stays as it is."""


@dataclass(frozen=True)
class PeersSettings:
    """What to measure.

    Attributes:
        rounds: measured rounds, after one that is not.
        max_cases: how many cases, the first in order of names.
        threads: for every pipeline; by default as many as the process may use.
        avx2: whether to keep all from AVX-512, as far as they can be kept.
        monai_python: the Python that has MONAI; by default this one.
        pipelines: of `PEERS` and `OURS`; they all stay loaded, with eenet-144 in 13 GB together.
    """

    rounds: int = 5
    max_cases: int = 1
    threads: int | None = None
    avx2: bool = False
    monai_python: Path | None = None
    pipelines: tuple[str, ...] = (*PEERS, *OURS)


@dataclass(frozen=True)
class Pipeline:
    """One pipeline.

    Attributes:
        name: of `PEERS` or `OURS`.
        reason: why it did not run; then nothing below means anything.
        version: of what computes.
        cold_start_s: from the start of its Python to a loaded model.
        first_case_s: the first case after that, files to files.
        totals_s: seconds files to files, by round and case.
        stages_s: medians by stage, where it knows them.
        peak_rss_bytes: its process' highest resident memory.
        masks_differ: share of voxels in which its masks differ from those of the first pipeline with EENet; None for
            another network.
    """

    name: str
    reason: str = ""
    version: str = ""
    cold_start_s: float = 0.0
    first_case_s: float = 0.0
    totals_s: tuple[tuple[float, ...], ...] = ()
    stages_s: Mapping[str, float] = field(default_factory=dict)
    peak_rss_bytes: int | None = None
    masks_differ: float | None = None

    @property
    def median_s(self) -> float:
        """Files to files, median of all."""
        return float(np.median(self.totals_s))


@dataclass(frozen=True)
class Share:
    """Our time as a share of a peer's: round by round, with a bootstrap interval."""

    ours: str
    peer: str
    ratio: Ratio


@dataclass(frozen=True)
class PeersReport:
    """A whole measurement; `weights` says in words whose they are, `case_shapes` are grids by case."""

    preset: str
    weights: str
    case_shapes: Mapping[str, tuple[int, ...]]
    settings: PeersSettings
    environment: Environment
    noise: Noise
    pipelines: tuple[Pipeline, ...]
    shares: tuple[Share, ...]

    def to_json(self) -> str:
        """Everything, as the text of a file."""
        return json.dumps({"schema_version": 1, **asdict(self)}, indent=2, default=str) + "\n"


def measure_peers(
    cases: Path,
    preset: GeometryPreset,
    weights: Path | None = None,
    settings: PeersSettings = PeersSettings(),
    on_step: Callable[[str], None] = lambda step: None,
) -> PeersReport:
    """Measure all pipelines on the first cases of a folder, each in a process of its own.

    Args:
        cases: a folder of cases with one file for each modality.
        preset: geometry of the network; MONAI's has its own.
        weights: a bundle whose weights EENet gets; random ones by default.
        settings: what to measure.
        on_step: told in words what happens.

    Raises:
        DatasetError: no usable case, or one whose modalities share a file.
        BackendError: an unknown pipeline.
        BundleError, ExportError: the bundle is refused, or the network cannot be converted.
    """
    if unknown := [name for name in settings.pipelines if name not in TITLES]:
        raise BackendError(f"unknown pipeline {unknown[0]!r}; known pipelines: {', '.join(TITLES)}")
    chosen = find_cases(cases).cases[: settings.max_cases]
    if not chosen:
        raise DatasetError(f"{cases}: no usable case to measure on")
    requests = [_request(files) for files in chosen]
    environment, watch = describe_environment(), NoiseWatch()
    with tempfile.TemporaryDirectory(prefix="eenet-peers-") as scratch:
        folder = Path(scratch)
        on_step("converting the network")
        models = make_models(folder, preset, weights, plain="onnx" in settings.pipelines)
        with ExitStack() as stack:
            runners = []
            for name in settings.pipelines:
                on_step(f"loading {TITLES[name]}")
                runners.append(_Runner(name, stack.enter_context(_start(name, models, settings)), folder / name))
            for runner in runners:
                on_step(f"first case of {TITLES[runner.name]}")
                runner.warm_up(requests)
            calibrations = []
            for number in range(settings.rounds):
                on_step(f"round {number + 1} of {settings.rounds}")
                calibrations.append(calibrate())
                watch.between_rounds()
                # Who begins changes from round to round.
                first = number % len(runners)
                for runner in [*runners[first:], *runners[:first]]:
                    runner.round(requests)
            reference = next((runner for runner in runners if runner.name != "monai"), runners[0])
            pipelines = tuple(runner.result(reference) for runner in runners)
        noise = watch.finish(calibrations)
    shapes = {f.case_id: tuple(nib.load(f.images[Modality.T1].path).shape) for f in chosen}
    return PeersReport(preset.name, models.weights, shapes, settings, environment, noise, pipelines, _shares(pipelines))


def _request(files: CaseFiles) -> dict[str, Any]:
    if any(source.channel is not None for source in files.images.values()):
        raise DatasetError(f"{files.case_id}: its modalities share a file, expected one file for each")
    images = {modality.value: str(source.path) for modality, source in files.images.items()}
    return {"case_id": files.case_id, "images": images}


def _start(name: str, models: Models, settings: PeersSettings) -> JsonProcess:
    """Start a pipeline's process and let it load its model."""
    threads = settings.threads or usable_cpus()
    arguments: dict[str, Any] = {"threads": threads}
    if name in OURS:
        instructions = "avx2" if settings.avx2 else ""
        arguments |= {"way": "our_way", "bundle": str(models.bundle), "backend": name, "instructions": instructions}
    elif name == "monai":
        arguments |= {"way": "monai_way"}
    else:
        arguments |= {"way": "notebook_way", "engine": name, "bundle": str(models.bundle), "graph": str(models.plain)}
    python = settings.monai_python if name == "monai" and settings.monai_python else sys.executable
    environment = {"OMP_NUM_THREADS": str(threads), **(AVX2 if settings.avx2 else {})}
    return JsonProcess([str(python), str(_WORKER), json.dumps(arguments)], environment)


class _Runner:
    """A pipeline's process and what it has said so far."""

    def __init__(self, name: str, process: JsonProcess, folder: Path) -> None:
        self.name, self.process, self.folder = name, process, folder
        self._first_case_s = 0.0
        self._totals: list[tuple[float, ...]] = []
        self._stages: list[dict[str, float]] = []
        folder.mkdir()

    def warm_up(self, requests: Sequence[dict[str, Any]]) -> None:
        """Every case once."""
        for number, request in enumerate(requests):
            self.process.ask(do="meet", **request)
            seconds = self._run(request).get("total_s", 0.0)
            if number == 0:
                self._first_case_s = seconds

    def round(self, requests: Sequence[dict[str, Any]]) -> None:
        """Every case once, measured."""
        answers = [self._run(request) for request in requests]
        if not self.process.reason:
            self._totals.append(tuple(answer["total_s"] for answer in answers))
            self._stages += [answer["stages_s"] for answer in answers]

    def masks(self) -> list[Any]:
        """The masks of the last round, as labels in order of cases."""
        return [np.asarray(nib.load(path).dataobj) for path in sorted(self.folder.glob("*.nii.gz"))]

    def result(self, reference: _Runner) -> Pipeline:
        """What was measured."""
        if self.process.reason:
            return Pipeline(self.name, self.process.reason)
        differ = None
        if self.name != "monai" and not reference.process.reason:
            pairs = zip(self.masks(), reference.masks(), strict=True)
            differ = float(np.mean([np.mean(one != other) for one, other in pairs]))
        return Pipeline(
            name=self.name,
            version=self.process.ready["version"],
            cold_start_s=self.process.ready_s,
            first_case_s=self._first_case_s,
            totals_s=tuple(self._totals),
            stages_s={stage: float(np.median([s[stage] for s in self._stages])) for stage in self._stages[0]},
            peak_rss_bytes=self.process.peak_rss_bytes(),
            masks_differ=differ,
        )

    def _run(self, request: dict[str, Any]) -> dict[str, Any]:
        return self.process.ask(do="run", output=str(self.folder / f"{request['case_id']}.nii.gz"), **request)


def _shares(pipelines: Sequence[Pipeline]) -> tuple[Share, ...]:
    done = {pipeline.name: as_rounds(pipeline.totals_s) for pipeline in pipelines if not pipeline.reason}
    pairs = [(ours, peer) for ours in OURS for peer in PEERS if ours in done and peer in done]
    return tuple(Share(ours, peer, paired_ratio(done[ours], done[peer])) for ours, peer in pairs)
