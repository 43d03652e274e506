"""What `eenet-bench run` can measure: every engine with every precision of the bundle, or why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from eenet_runtime.backends import backend_names, candidates
from eenet_runtime.backends.engines import engine_named
from eenet_runtime.bundle.manifest import Bundle
from eenet_runtime.commands.machine_info import system_info
from eenet_runtime.errors import BackendError
from eenet_runtime.machine.devices import find_gpus

KERAS: Final = "keras"
"""The network in TensorFlow, rebuilt from the bundle's weights: what everything else is held against."""
SUBJECT_NAMES: Final = (KERAS, *backend_names()[1:])
_SAME_ON_A_CPU: Final = (("openvino", "fp16"),)
"""Measured when asked for only: OpenVINO computes this graph as it computes that in FP32."""


@dataclass(frozen=True)
class Subject:
    """One thing to measure.

    Attributes:
        backend: one of `SUBJECT_NAMES`.
        precision: of the arithmetic that its artefact names; empty where the bundle has none for it.
        device: as `--device` takes it.
        reason: why it cannot be measured here; empty if nothing speaks against it.
        paths: the artefact's file and those beside it, inside the bundle.
    """

    backend: str
    precision: str
    device: str = "cpu"
    reason: str = ""
    paths: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Such as `onnxruntime fp16`, with the device if that is a GPU."""
        parts = [self.backend, self.precision, "" if self.device == "cpu" else self.device]
        return " ".join(part for part in parts if part)


def find_subjects(bundle: Bundle, asked: Sequence[str] = ()) -> tuple[Subject, ...]:
    """Everything that could be measured, the reference first; with the reason where it cannot.

    Args:
        bundle: the verified bundle.
        asked: engines by name, such as `openvino`, or with a precision, `openvino:fp16`; by default all, but for
            those that would compute the same twice.

    Raises:
        BackendError: an unknown name; the message lists the known ones.
    """
    wanted = [entry.partition(":")[::2] for entry in asked]
    for name, _ in wanted:
        if name not in SUBJECT_NAMES:
            raise BackendError(f"unknown backend {name!r}; known backends: {', '.join(SUBJECT_NAMES)}")
    found = []
    for subject in _subjects_of_bundle(bundle):
        key = (subject.backend, subject.precision)
        by_name = not wanted or (subject.backend, "") in wanted
        if key in wanted or (by_name and key not in _SAME_ON_A_CPU):
            found.append(subject)
    for name, precision in wanted:
        if not any(subject.backend == name and precision in ("", subject.precision) for subject in found):
            found.append(Subject(name, precision, reason=f"the bundle has no artefact {precision} for {name}"))
    return tuple(found)


def _subjects_of_bundle(bundle: Bundle) -> list[Subject]:
    found = [_keras(bundle)]
    on_gpu = bool(find_gpus().gpus)
    for name in SUBJECT_NAMES[1:]:
        spec = engine_named(name)
        devices = [kind for kind in spec.runs_on if kind == "cpu" or spec.cpu is None or on_gpu]
        precisions = list(dict.fromkeys(a.precision for a in bundle.manifest.artifacts if a.kind == spec.kind))
        for device in devices:
            found += [_engine(bundle, name, precision, device) for precision in precisions or [""]]
    return found


def _engine(bundle: Bundle, name: str, precision: str, device: str) -> Subject:
    """An engine, and what speaks against it: first what the machine lacks, then what the bundle lacks."""
    reasons = []
    spec = engine_named(name)
    entry = f"{name}-gpu" if spec.cpu and device == "cuda" else name
    engine = next((engine for engine in system_info().engines if engine.name == entry), None)
    if engine is not None and engine.obstacle:
        reasons.append(engine.obstacle)
    paths: tuple[str, ...] = ()
    try:
        choice = candidates(bundle, backend=name, device=device, precision=precision or None).first
        paths = _files_of(bundle, choice.artifact.path)
        precision = choice.artifact.precision
    except BackendError as error:
        if spec.has_own_kind or spec.cpu is None:
            reasons.append(f"the bundle has no {spec.kind} artefact for it (eenet-export)")
        else:
            reasons.append(str(error))
    return Subject(name, precision, device, "; ".join(reasons), paths)


def _files_of(bundle: Bundle, path: str) -> tuple[str, ...]:
    """An artefact's files: itself, and the weights that graphs share; a plan holds its own."""
    names = {entry.path for entry in bundle.manifest.files}
    beside = ("weights.safetensors", f"{path}.data")
    return (path, *(name for name in beside if name in names and not path.endswith(".plan")))


def _keras(bundle: Bundle) -> Subject:
    weights = "weights.safetensors"
    if not any(entry.path == weights for entry in bundle.manifest.files):
        reason = f"the bundle has no {weights}, from which the network would be rebuilt"
    elif find_spec("tensorflow") is None:
        reason = 'TensorFlow is not installed; install it with: pip install "eenet[export]"'
    else:
        reason = ""
    return Subject(KERAS, "fp32", reason=reason, paths=(weights,))
