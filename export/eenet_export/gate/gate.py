"""The gate: every artefact against the oracle, on real cases, before anything gets a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from eenet_export.gate.parity import KERAS, ORACLE, UNROUNDED, FormResult, Labels, ParityCase, Volume, compare
from eenet_export.gate.workshop import Workshop
from eenet_runtime.backends import Choice, load
from eenet_runtime.backends.engines import ENGINES
from eenet_runtime.backends.plane_network import PLANE_ENGINES
from eenet_runtime.bundle.engine_file import FLAVOURS
from eenet_runtime.bundle.manifest import Artifact, Bundle, Manifest, ParityRow, describe_files
from eenet_runtime.cases.case_files import CaseFiles
from eenet_runtime.cases.discovery import find_cases
from eenet_runtime.errors import BackendError, ExportError, ParityError
from eenet_runtime.files.nifti import sha256_of_image
from eenet_runtime.machine.devices import CPU, Device
from eenet_runtime.volumes.presets import GeometryPreset

if TYPE_CHECKING:
    import keras

_PLAIN: Final = "onnxruntime"
"""The engine that adds nothing to the name of a form, where it runs it."""
_LABELS_DIFFER: Final = 1e-4
"""Share of voxels in which an artefact's labels may differ from the argmax of its probabilities: ties that the two
ways of computing break in another way."""


@dataclass(frozen=True)
class Form:
    """One form of the network.

    Attributes:
        name: in tables and manifests.
        probabilities: (H, W, D, 4) float32 to class probabilities (H, W, D, classes); None if it gives labels only.
        labels: to uint8 (H, W, D); None if it gives probabilities only.
    """

    name: str
    probabilities: Callable[[Volume], Volume] | None
    labels: Callable[[Volume], Labels] | None = None

    def run(self, volume: Volume, *, check_labels: bool) -> FormResult:
        """Compute one case.

        Raises:
            ParityError: values that are not finite, or labels that are not what the probabilities say.
            BackendError: the engine failed.
        """
        if self.probabilities is None:
            assert self.labels is not None
            return FormResult(self.name, self.labels(volume), None)
        result = FormResult.from_probabilities(self.name, self.probabilities(volume))
        if check_labels and self.labels is not None:
            differing = float(np.mean(self.labels(volume) != result.labels))
            if differing > _LABELS_DIFFER:
                raise ParityError(
                    f"{self.name}: its labels differ from its probabilities' classes in {differing:.2%} of the voxels"
                )
        return result


def keras_function(model: keras.Model) -> Callable[[Volume], Volume]:
    """A model as a function of one volume, (H, W, D, 4) to (H, W, D, classes), float32."""

    def run(volume: Volume) -> Volume:
        return np.asarray(model.predict_on_batch(volume[np.newaxis])[0], dtype=np.float32)

    return run


def keras_forms(bundle: Bundle) -> tuple[Form, Form]:
    """The Keras network with a bundle's weights, and its oracle, the reference first.

    Raises:
        ExportError: no weights file, or not the weights of this network.
    """
    from eenet_export.graph.graphs import WEIGHTS_FILE
    from eenet_train.network.network import as_oracle, build_eenet
    from eenet_train.network.weights import load_weights

    model = build_eenet(bundle.manifest.preset)
    load_weights(model, bundle.folder / WEIGHTS_FILE)
    oracle = as_oracle(model, bundle.manifest.preset)
    return Form(ORACLE, keras_function(oracle)), Form(KERAS, keras_function(model))


def choose_cases(folder: Path, count: int) -> tuple[CaseFiles, ...]:
    """The first cases in order of name, so that two exports of a run measure the same.

    Raises:
        ExportError: none is usable.
        DatasetError: no such folder.
    """
    found = find_cases(folder)
    if not found.cases:
        raise ExportError(f"{folder}: no usable case found ({found.refused[0].reason})")
    return found.cases[:count]


def read_cases(cases: Sequence[CaseFiles], preset: GeometryPreset) -> tuple[ParityCase, ...]:
    """Cases as the network reads them, read once for all forms: 11 MB each for `eenet-fast`, 71 MB for `eenet-144`.

    Raises:
        CaseError: a case is refused.
    """
    return tuple(ParityCase.read(files, preset) for files in cases)


def case_hashes(cases: Sequence[CaseFiles]) -> dict[str, dict[str, str]]:
    """SHA-256 of each case's input files, by case and modality, as reports have it.

    Raises:
        CaseError: a file cannot be read.
    """
    return {
        files.case_id: {modality.value: sha256_of_image(source.path) for modality, source in files.images.items()}
        for files in cases
    }


def unproved_bundle(folder: Path, artifact: Artifact, preset: GeometryPreset) -> Bundle:
    """A bundle in the making, with one artefact and no more of a manifest than loading it takes."""
    return Bundle(folder, Manifest("", preset, (artifact,), describe_files(folder, (artifact.path,))), bundle_id="")


def artifact_forms(bundle: Bundle, artifact: Artifact) -> Iterator[Form]:
    """An artefact in every engine that runs it here, loaded one after the other by the runtime's own loader.

    Each is closed when the next is asked for. ONNX Runtime, or the engine that an artefact is made for, gives its plain
    name; another engine adds its own.

    Raises:
        BackendError: ONNX Runtime, or the engine that the artefact is made for, cannot load it here.
        BundleError: a plan is not the one that the manifest lists.
    """
    for name, plane_engine, suffix in _engines(artifact):
        device = Device("cuda") if artifact.kind in FLAVOURS else CPU
        choice = Choice(name, artifact, "to be held against the oracle", device)
        try:
            backend = load(bundle, choice, plane_engine=plane_engine)
        except BackendError:
            if not suffix:
                raise
            continue
        with closing(backend):
            gives = backend if artifact.probabilities_name else None
            yield Form(artifact.form + suffix, gives, backend.labels)


def measure(
    cases: Sequence[ParityCase],
    forms: Sequence[Form],
    workshop: Workshop,
    on_step: Callable[[str], None],
    *,
    prefix: str = "gate",
) -> tuple[ParityRow, ...]:
    """Hold forms against the oracle on every case; what was measured before a kill is not measured again.

    Args:
        cases: the cases, in the geometry of all forms.
        forms: any of `ORACLE`, `KERAS`, `UNROUNDED` and artefacts; the oracle is needed until its results are kept.
        workshop: keeps results.
        on_step: told in words what happens.
        prefix: of the names of the steps.
    """
    rows: list[ParityRow] = []
    for index, case in enumerate(cases):
        one = _CaseGate(case, f"{prefix}-{index}", forms, workshop, on_step, index == 0)
        for form in forms:
            if form.name != ORACLE:
                kept = workshop.step(f"{one.prefix}-{form.name}-row", partial(one.row, form))
                rows.append(ParityRow(**kept))
    return tuple(rows)


@dataclass(frozen=True)
class _CaseGate:
    """All forms on one case."""

    case: ParityCase
    prefix: str
    forms: Sequence[Form]
    workshop: Workshop
    on_step: Callable[[str], None]
    check_labels: bool

    def row(self, form: Form) -> dict[str, object]:
        """One form against what it must equal, as plain data."""
        if form.name == UNROUNDED:
            # The trained network is the reference here, and the rounded one is held against it.
            return asdict(compare(self.case, self._kept(UNROUNDED), self._kept(KERAS)))
        if form.name == KERAS:
            return asdict(compare(self.case, self._kept(ORACLE), self._kept(KERAS)))
        reference = self._kept(ORACLE)
        self.on_step(f"{self.case.case_id}: {form.name}")
        return asdict(compare(self.case, reference, form.run(self.case.volume, check_labels=self.check_labels)))

    def _kept(self, name: str) -> FormResult:
        """What a Keras form made of the case; computed once in an export."""

        def compute() -> Volume:
            self.on_step(f"{self.case.case_id}: {name}")
            form = next(form for form in self.forms if form.name == name)
            assert form.probabilities is not None
            return form.probabilities(self.case.volume)

        return FormResult.from_probabilities(name, self.workshop.array(f"{self.prefix}-{name}", compute))


def _engines(artifact: Artifact) -> tuple[tuple[str, str, str], ...]:
    """What can run a kind of artefact: engine, engine of its 2D network, and what the form's name gets added."""
    if artifact.kind == "native":
        # The runtime takes whichever of them is installed for the 2D network: all are proved.
        return tuple(("native", name, _suffix(name)) for name in PLANE_ENGINES)
    running = [spec for spec in ENGINES if spec.kind == artifact.kind]
    # What runs on any CPU is proved there; nobody need have a GPU for it.
    names = [spec.name for spec in running if spec.cpu] or [spec.name for spec in running]
    if not names:
        raise BackendError(f"{artifact.path}: no engine is known for artefacts of kind {artifact.kind}")
    plain = _PLAIN if _PLAIN in names else names[0]
    return tuple((name, "", "" if name == plain else f"-{name}") for name in sorted(names, key=lambda n: n != plain))


def _suffix(name: str) -> str:
    return "" if name == _PLAIN else f"-{name}"
