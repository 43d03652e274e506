"""What comes out of a case: the mask on the patient's grid, and what a reader of it may ask."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from eenet_runtime.cases.content_checks import Finding
from eenet_runtime.cases.preprocessing import CaseImages
from eenet_runtime.codes import Reason
from eenet_runtime.errors import OutputError
from eenet_runtime.files.nifti import Volume, labels_to_bytes, write_labels
from eenet_runtime.printable import printable
from eenet_runtime.segmenter.postprocessing import Cleaning
from eenet_runtime.volumes.labels import BRATS2023, LabelScheme, Region
from eenet_runtime.volumes.placement import Placement

if TYPE_CHECKING:
    from eenet_runtime.heads.raw_case import AlignedHead
    from eenet_runtime.heads.target import WayBack


class Stopwatch:
    """Seconds by stage, in the order of the stages."""

    def __init__(self, seconds: Mapping[str, float] | None = None) -> None:
        """Start at nothing, or go on from earlier stages."""
        self.seconds: dict[str, float] = dict(seconds or {})

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside the block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@dataclass(frozen=True)
class Provenance:
    """What computed a mask.

    Attributes:
        bundle_id, bundle_name: the model, by the hash of everything in it and by name.
        signature: what its signature was checked with, or that it was not.
        artifact: the file that ran, and `kind` its kind.
        precision, weights_precision: of the arithmetic, and of the weights as stored.
        backend, backend_version: the inference engine.
        device: what really computed, in the engine's words.
        why: why this engine and this artefact were taken.
        self_test: `SelfTest.verdict`, or `not asked for`.
        versions: of the toolkit and the packages between files and mask.
    """

    bundle_id: str
    bundle_name: str
    signature: str
    artifact: str
    kind: str
    precision: str
    weights_precision: str
    backend: str
    backend_version: str
    device: str
    why: str
    self_test: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class NetworkProbabilities:
    """Class probabilities as the network gave them, for whoever wants maps.

    Attributes:
        values: float32 (H, W, D, classes), network axes.
        placement: where that box lies in the head.
        way_back: the way to the T1ce's own grid, for a raw case; None for any other.
    """

    values: NDArray[np.float32]
    placement: Placement
    way_back: WayBack | None = None


@dataclass(frozen=True)
class Segmentation:
    """The result for one case.

    Attributes:
        case_id: the case's name.
        labels: uint8 network classes (`Label`) on the patient's grid, in the stored axis order of `reference`.
        images: the images it was made from; of a raw case as the network got them, registered and stripped.
        volumes_ml: volume of each region.
        components: connected components of the whole tumour.
        cleaning: what the post-processing did.
        head_voxels_outside: head voxels that the network did not see.
        notes: what a reader of the mask should know, each with its code.
        seconds: time by stage: read, prepare, check, network, restore, clean; of a raw case also register, strip, pose
            and resample; and `wait`, where it had to wait for its turn behind other cases.
        provenance: what computed it.
        scheme: the label scheme that goes with the inputs; files hold its values unless another one is asked for.
        probabilities: the network's probabilities where they were asked for.
        findings: what the checks of the images found and let pass; their sentences are among the warnings.
        head: how a raw case lay, and what was taken away from it; None where the images came ready.
        raw: what the report says of that: matrices, figures, where the brain mask comes from; None where cases are not
            raw.
    """

    case_id: str
    labels: NDArray[np.uint8] = field(repr=False)
    images: CaseImages = field(repr=False)
    volumes_ml: dict[Region, float]
    components: int
    cleaning: Cleaning
    head_voxels_outside: int
    notes: tuple[Reason, ...]
    seconds: dict[str, float]
    provenance: Provenance
    scheme: LabelScheme = BRATS2023
    probabilities: NetworkProbabilities | None = field(default=None, repr=False)
    findings: tuple[Finding, ...] = ()
    head: AlignedHead | None = field(default=None, repr=False)
    raw: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def reference(self) -> Volume:
        """The image on whose grid the mask lies: the T1, of a raw case the T1ce as the scanner made it."""
        return self.images.reference if self.head is None else self.head.reference

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the mask should know, in plain sentences; `notes` has their codes."""
        return tuple(note.text for note in self.notes)

    @property
    def suspicions(self) -> tuple[str, ...]:
        """Those of the warnings that somebody should look into before the mask is used; the others are routine."""
        return tuple(printable(finding.message) for finding in self.findings if finding.is_suspicion)

    def file_values(self, scheme: LabelScheme | None = None) -> NDArray[np.uint8]:
        """The mask in a scheme's values (uint8, a copy), by default the inputs' own."""
        return (scheme or self.scheme).to_file(self.labels)

    def to_nifti(self, scheme: LabelScheme | None = None) -> nib.Nifti1Image:
        """The mask as a nibabel image on the grid of `reference`, whose affine, qform, sform and units it has.

        Where the reference's qform and sform contradict each other, both of the mask's say what the sform says.
        """
        content = gzip.decompress(labels_to_bytes(self.file_values(scheme), self.reference))
        kind = nib.Nifti2Image if isinstance(self.reference.header, nib.Nifti2Header) else nib.Nifti1Image
        return kind.from_bytes(content)

    def save(self, path: Path | str, scheme: LabelScheme | None = None) -> None:
        """Write the mask as a compressed NIfTI file on the grid of `reference`, all of it or nothing.

        Args:
            path: its final name, ending in `.nii.gz`; a file of that name is replaced.
            scheme: label values; by default those that go with the inputs.

        Raises:
            OutputError: it has another ending, or cannot be written.
        """
        path = Path(path)
        if not path.name.endswith(".nii.gz"):
            raise OutputError(f"{path}: a mask is a compressed NIfTI file, expected a name ending in .nii.gz")
        write_labels(path, self.file_values(scheme), self.reference)
