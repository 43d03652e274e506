"""The bundle: one folder that holds a model and everything a runtime must know about it.

`manifest.json` is the contract between export and runtime. It names every other file with its SHA-256, and carries a
checksum of itself, so that a changed byte anywhere is noticed before the first inference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from eenet_runtime.bundle.bundle_files import MANIFEST_NAME as MANIFEST_NAME
from eenet_runtime.bundle.bundle_files import BundleFile as BundleFile
from eenet_runtime.bundle.bundle_files import Kind, read_manifest, sealed_json, unsealed_json, verify_file
from eenet_runtime.bundle.bundle_files import describe_files as describe_files
from eenet_runtime.bundle.bundle_files import read_listed as read_listed
from eenet_runtime.bundle.proof import regions_not_proven
from eenet_runtime.bundle.weights_file import WEIGHTS_FILE
from eenet_runtime.errors import BundleError, GeometryError
from eenet_runtime.volumes.grid import NETWORK_AXES
from eenet_runtime.volumes.labels import CHANNEL_ORDER, Label
from eenet_runtime.volumes.normalization import NORMALIZATION
from eenet_runtime.volumes.pose import Pose
from eenet_runtime.volumes.presets import GeometryPreset

SCHEMA_VERSION: Final = 2
"""Version of the manifest that this runtime reads. Any other is refused: it may mean something else."""

TIE: Final = 1e-3
"""Two class probabilities closer than this count as a tie: half precision may order them either way."""

USUAL_SHARE: Final = 0.999
"""Share of the voxels that `ParityRow.usual_difference` speaks of. The worst voxel says how steep a network is, the
others how well an engine computes."""


@dataclass(frozen=True)
class Artifact:
    """One runnable form of the model: volume in, labels and perhaps probabilities out, all channels first.

    Attributes:
        kind: `onnx`, `openvino`, or an engine: `native`, `tensorrt`, `tensorrt-rtx`.
        path: file inside the bundle to hand to the engine; of a `native` one, the graph of the 2D network.
        precision: precision of the arithmetic: `fp32`, `fp16` or `int8`.
        weights_precision: precision of the weights as stored.
        input_name: (1, 4, H, W, D), in `input_dtype`.
        labels_name: uint8 (1, H, W, D), network classes.
        probabilities_name: float32 (1, classes, H, W, D); empty where the artefact gives labels only.
        input_dtype: `float32` or `float16`.
    """

    kind: str
    path: str
    precision: str
    weights_precision: str
    input_name: str = "volume"
    labels_name: str = "labels"
    probabilities_name: str = "probabilities"
    input_dtype: str = "float32"

    @property
    def form(self) -> str:
        """Its name in tables of parity, for example `onnx-fp16`."""
        return f"{self.kind}-{self.precision}"


@dataclass(frozen=True)
class PostprocessingSettings:
    """Defaults of the steps after the network; see `postprocessing`.

    Attributes:
        min_tumour_ml: connected components of the whole tumour below this volume are dropped; 0 switches it off.
        min_enhancing_ml: an enhancing tumour smaller than this in all becomes NCR (the BraTS rule); 0 switches it
            off.
        head_only: voxels in which all images are exactly 0 are background, before anything else. Bundles of before
            this field say nothing, which is yes (docs/decisions/0031).
    """

    min_tumour_ml: float = 0.0
    min_enhancing_ml: float = 0.0
    head_only: bool = True

    def changed(
        self, min_tumour_ml: float | None, min_enhancing_ml: float | None, head_only: bool | None = None
    ) -> PostprocessingSettings:
        """The same settings with those that are given instead."""
        return PostprocessingSettings(
            self.min_tumour_ml if min_tumour_ml is None else min_tumour_ml,
            self.min_enhancing_ml if min_enhancing_ml is None else min_enhancing_ml,
            self.head_only if head_only is None else head_only,
        )


@dataclass(frozen=True)
class ParityRow:
    """Agreement of two forms of the model on one case, on the network's grid.

    Attributes:
        case_id: the case.
        reference, candidate: which forms were compared.
        max_abs_difference: largest difference of a class probability; None for an engine that gives labels only.
        dice: Dice between the two masks, for ET, TC and WT.
        agreement: share of the voxels that have the same class.
        inner_agreement: the same away from region borders: voxels whose 26 neighbours have their class in the
            reference.
        ties: voxels whose two highest probabilities in the reference differ by less than `TIE`.
        hd95_mm: 95th percentile Hausdorff distance between the two masks, for each region: the larger of the two
            directions, the stricter of the two definitions in use.
        dice_change: Dice against the truth, candidate minus reference; empty where the case has no label.
        usual_difference: of a class probability, in `USUAL_SHARE` of the voxels; None where nobody measured it.
        region_voxels: voxels of each region in the reference's mask; where there are none, agreement about the region
            proves nothing. Empty where nobody counted them: in bundles of before this field.
    """

    case_id: str
    reference: str
    candidate: str
    max_abs_difference: float | None
    dice: Mapping[str, float]
    agreement: float = 1.0
    inner_agreement: float = 1.0
    ties: int = 0
    hd95_mm: Mapping[str, float] = field(default_factory=dict)
    dice_change: Mapping[str, float] = field(default_factory=dict)
    usual_difference: float | None = None
    region_voxels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """Everything `manifest.json` says.

    Attributes:
        name: the model's name.
        preset: the geometry.
        artifacts: the runnable forms, the preferred one first.
        files: every file of the bundle but the manifest.
        postprocessing: defaults of the steps after the network.
        provenance: where the weights came from, in words and figures.
        parity: agreement measured before the bundle got its name.
        cases: the cases of that measurement: SHA-256 of each input file, by case and modality.
        golden: file with an input and what the model makes of it; empty where there is none (see `golden`).
        modality_dropout: chance with which its training blanked one modality; 0 where it did not or nothing is known.
        pose: which way its training's heads lie, so that raw heads are turned likewise.
        tools: versions of the packages that made it.
        created: UTC time, ISO 8601.
        modalities, axes, normalisation, labels: what the network was trained with; fixed in this schema version.
    """

    name: str
    preset: GeometryPreset
    artifacts: tuple[Artifact, ...]
    files: tuple[BundleFile, ...]
    postprocessing: PostprocessingSettings = field(default_factory=PostprocessingSettings)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    parity: tuple[ParityRow, ...] = ()
    cases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    golden: str = ""
    modality_dropout: float = 0.0
    pose: Pose = Pose.NATIVE
    tools: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    modalities: tuple[str, ...] = tuple(modality.value for modality in CHANNEL_ORDER)
    axes: str = "".join(NETWORK_AXES)
    normalisation: str = NORMALIZATION
    labels: Mapping[str, int] = field(default_factory=lambda: {label.name: int(label) for label in Label})

    @property
    def not_proven(self) -> dict[str, list[str]]:
        """Regions without a voxel in any case that a form was measured on, by form; see `regions_not_proven`."""
        return regions_not_proven(self.parity)

    def to_json(self) -> str:
        """The text of `manifest.json`, with its own checksum."""
        # What is not proven follows from the rows; it stands there for those who read the file with their eyes.
        content = {"schema_version": SCHEMA_VERSION, **asdict(self), "not_proven": self.not_proven}
        return sealed_json(content)

    @staticmethod
    def from_json(text: str, source: str) -> Manifest:
        """Parse and check a manifest.

        Raises:
            BundleError: not JSON, a newer schema, a wrong checksum, missing fields, an impossible geometry, or a
                network that this runtime cannot feed.
        """
        content = unsealed_json(text, source, Kind.SEGMENTATION, SCHEMA_VERSION)
        try:
            preset = dict(content["preset"])
            manifest = Manifest(
                name=str(content["name"]),
                preset=GeometryPreset(
                    str(preset["name"]),
                    _triple(preset["shape"]),
                    float(preset["spacing_mm"]),
                    _triple(preset["depth_strides"]),
                ),
                artifacts=tuple(Artifact(**entry) for entry in content["artifacts"]),
                files=tuple(BundleFile(**entry) for entry in content["files"]),
                postprocessing=PostprocessingSettings(**content["postprocessing"]),
                provenance=dict(content["provenance"]),
                parity=tuple(ParityRow(**entry) for entry in content["parity"]),
                cases={str(case): dict(hashes) for case, hashes in content["cases"].items()},
                golden=str(content["golden"]),
                # Bundles of before these fields say nothing, which is no, and as they come.
                modality_dropout=float(content.get("modality_dropout", 0.0)),
                pose=Pose(content.get("pose", Pose.NATIVE)),
                tools=dict(content["tools"]),
                created=str(content["created"]),
                modalities=tuple(content["modalities"]),
                axes=str(content["axes"]),
                normalisation=str(content["normalisation"]),
                labels=dict(content["labels"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleError(f"{source}: a field is missing or has the wrong type ({error})") from error
        except GeometryError as error:
            raise BundleError(f"{source}: {error}") from error
        _refuse_foreign(manifest, source)
        return manifest


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk, verified.

    Attributes:
        folder: where it is.
        manifest: what it says.
        bundle_id: the first 16 digits of the manifest's SHA-256; through the hashes in it, of everything.
        signed_by: fingerprint of the key that its signature was verified with; empty where nobody gave a key.
    """

    folder: Path
    manifest: Manifest
    bundle_id: str
    signed_by: str = ""

    @property
    def signature(self) -> str:
        """What reports say about the signature."""
        return f"signed, key {self.signed_by}" if self.signed_by else "not verified"

    def path_of(self, artifact: Artifact) -> Path:
        """The artefact's file."""
        return self.folder / artifact.path

    def listed(self, name: str) -> BundleFile | None:
        """What the manifest says about a file, None where it does not list it."""
        return next((entry for entry in self.manifest.files if entry.path == name), None)


def open_bundle(folder: Path, public_key: Path | None = None) -> Bundle:
    """Read a bundle's manifest and verify every file it names.

    Args:
        folder: the bundle.
        public_key: a PEM file; with it the manifest must be signed by that key, and is not even parsed otherwise.

    Raises:
        BundleError: see `Manifest.from_json`; or a file is missing or is not the one that was exported; or, with a
            key, the signature is missing or wrong.
    """
    path = folder / MANIFEST_NAME
    text, bundle_id, signed_by = read_manifest(folder, public_key)
    manifest = Manifest.from_json(text, str(path))
    for entry in manifest.files:
        verify_file(folder, entry)
    listed = {entry.path for entry in manifest.files}
    # The native engine reads the weights itself; graphs name the files that theirs are in.
    weights = WEIGHTS_FILE if any(artifact.kind == "native" for artifact in manifest.artifacts) else ""
    for name in (*(artifact.path for artifact in manifest.artifacts), manifest.golden, weights):
        if name and name not in listed:
            raise BundleError(f"{path}: {name} is not among the hashed files")
    return Bundle(folder, manifest, bundle_id, signed_by)


def with_parity(manifest: Manifest, rows: tuple[ParityRow, ...]) -> Manifest:
    """The same manifest with measured agreement."""
    return replace(manifest, parity=rows)


def _triple(values: Any) -> tuple[int, int, int]:
    first, second, third = (int(value) for value in values)
    return first, second, third


def _refuse_foreign(manifest: Manifest, source: str) -> None:
    """Refuse a network that was trained on another kind of input than this runtime makes."""
    expected = Manifest("", manifest.preset, (), ())
    for name in ("modalities", "axes", "normalisation", "labels"):
        found, wanted = getattr(manifest, name), getattr(expected, name)
        if found != wanted:
            raise BundleError(f"{source}: {name} {found} found, this runtime feeds {wanted}")
    if not manifest.artifacts:
        raise BundleError(f"{source}: no artefact found, so there is nothing to run")
