"""The parts of a report, as `report` writes them and as the JSON Schema in `eenet_runtime/schemas` describes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class InputEntry:
    """One image that the mask was made from.

    Attributes:
        file: its path as it was given.
        channel: which channel of a 4D file; None for a file of one image.
        sha256: of the file's bytes; of a pair, of both files'. None for an image that was given in memory.
    """

    file: str
    channel: int | None
    sha256: str | None


@dataclass(frozen=True)
class SeriesEntry:
    """One series of a DICOM study that the mask was made from.

    Attributes:
        series: its number, with `/` and the part of it where it holds several images.
        slices: how many.
        confidence: that it is the contrast: high, medium or low.
        reasons: what spoke for and against it.
        chosen: why it was taken, of those that could be.
        sha256: over the SHA-256 of its files, in the order of its slices.
    """

    series: str
    slices: int
    confidence: str
    reasons: tuple[str, ...]
    chosen: str
    sha256: str | None


@dataclass(frozen=True)
class LabelEntry:
    """The case's own label.

    Attributes:
        file: its path.
        sha256: of its bytes; None where it cannot be read.
    """

    file: str
    sha256: str | None


@dataclass(frozen=True)
class OutputEntry:
    """One result.

    Attributes:
        file: its name beside the report.
        sha256: of its bytes.
    """

    file: str
    sha256: str


@dataclass(frozen=True)
class MaskEntry:
    """The mask.

    Attributes:
        file: its name beside the report.
        sha256: of its bytes.
        scheme: name of the label scheme.
        values: label value of each class in the file.
    """

    file: str
    sha256: str
    scheme: str
    values: dict[str, int]


@dataclass(frozen=True)
class BundleEntry:
    """The model.

    Attributes:
        id: hash of everything in the bundle.
        name: the model's name.
        preset: the geometry.
        signature: what its signature was checked with, or that it was not.
        provenance: where the weights came from, as the bundle says.
    """

    id: str
    name: str
    preset: str
    signature: str
    provenance: dict[str, Any]


@dataclass(frozen=True)
class EngineEntry:
    """What computed.

    Attributes:
        backend, version: the inference engine.
        device: what really computed, in the engine's words.
        artifact: the file of the bundle that ran.
        precision, weights_precision: of the arithmetic, and of the weights as stored.
        why: why this engine and this artefact were taken.
        self_test: the verdict of the golden case, or that nobody asked for it.
        versions: of the toolkit and the packages between files and mask.
    """

    backend: str
    version: str
    device: str
    artifact: str
    precision: str
    why: str
    weights_precision: str
    self_test: str
    versions: dict[str, str]
