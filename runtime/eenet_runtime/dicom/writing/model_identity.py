"""Which algorithm made a result, as every object of it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from eenet_runtime.segmenter.segmentation import Provenance

MANUFACTURER: Final = "EENet toolkit"
CREATOR: Final = "EENet^^"
"""Content Creator's Name, of family name only: without the carets it would look like a name written wrongly."""
PURPOSE: Final = "research, not for diagnosis"
"""Stands in the description of every series that is written."""
NOTICE: Final = "research use, not for diagnosis"
"""Stands in what people read: in the report, and in the pixels of every picture."""
_LONGEST: Final = 64
"""Characters of DICOM's LO."""


@dataclass(frozen=True)
class ModelIdentity:
    """The algorithm.

    Attributes:
        name: of the bundle.
        bundle_id: the first 16 digits of the SHA-256 of its manifest: another one for every model.
        version: of the toolkit.
        engine: what computed, and its version.
        precision: of the artefact that was run.
    """

    name: str
    bundle_id: str
    version: str
    engine: str
    precision: str

    @property
    def model_name(self) -> str:
        """Manufacturer's Model Name: by it a gateway knows its own results again. ASCII, at most 64 characters."""
        return _long_string(f"EENet {self.name}")

    @property
    def software_versions(self) -> tuple[str, ...]:
        """Software Versions: the toolkit, the bundle, the engine with its precision."""
        engine = f"{self.engine} {self.precision}"
        return tuple(map(_long_string, (f"eenet {self.version}", f"bundle {self.bundle_id}", engine)))

    @property
    def algorithm_version(self) -> str:
        """Version of the algorithm where there is room for one: the bundle's identity, which says which weights."""
        return _long_string(f"{self.bundle_id} (eenet {self.version})")

    @property
    def parameters(self) -> dict[str, str]:
        """What the algorithm was run with."""
        return {"engine": _long_string(self.engine), "precision": _long_string(self.precision)}

    @property
    def settings(self) -> dict[str, str]:
        """What of it belongs among the settings of `result_identifiers`: objects quote it, so their bytes follow."""
        return {"name": self.name, "version": self.version, "engine": self.engine, "precision": self.precision}


def model_identity(provenance: Provenance) -> ModelIdentity:
    """The algorithm as a segmentation names it."""
    return ModelIdentity(
        name=provenance.bundle_name,
        bundle_id=provenance.bundle_id,
        version=provenance.versions["eenet"],
        engine=f"{provenance.backend} {provenance.backend_version}",
        precision=provenance.precision,
    )


def _long_string(text: str) -> str:
    """As DICOM's LO in any character set: a backslash would part it into two values."""
    plain = text.encode("ascii", "replace").decode().replace("\\", "/")
    return "".join(letter if letter.isprintable() else " " for letter in plain)[:_LONGEST].strip()
