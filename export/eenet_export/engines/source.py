"""The ONNX graph that an engine is built from: exactly the bytes that the manifest names, weights included.

The graph's weights lie in other files of the bundle. TensorRT's parser would open those by itself, after they were
hashed and by paths that the graph names. So they are read once, hashed, and put into the model in memory (58 MB at most
here, where protobuf ends at 2 GB); the parser gets one block of bytes and no path. What depends on weights alone, such
as the widening of a stored FP16 kernel, is computed here too: whether a kernel that is no constant is taken for one
depends on the version of TensorRT.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from eenet_runtime.bundle.manifest import Artifact, Bundle, BundleFile
from eenet_runtime.errors import BundleError, ExportError

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class SourceGraph:
    """An ONNX artefact of a bundle in memory.

    Attributes:
        artifact: what the manifest says about it.
        files: the graph, then the files with its weights, as the manifest has them.
        model: the graph with its weights inside and nothing left to compute that depends on them alone.
    """

    artifact: Artifact
    files: tuple[BundleFile, ...]
    model: bytes


def read_source(bundle: Bundle, precision: str) -> SourceGraph:
    """Read the ONNX artefact of a precision.

    Raises:
        ExportError: onnx is not installed, the bundle has no such artefact, or the graph is not ONNX.
        BundleError: a file is not the one that the manifest names, or the graph points outside the bundle's files.
    """
    try:
        import onnx
    except ImportError as error:
        raise ExportError('onnx is not installed; install it with: pip install "eenet[export]"') from error

    artifact = _find_artifact(bundle, precision)
    files = _VerifiedFiles(bundle)
    content = files.read(artifact.path)
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's, which is published without types
        raise ExportError(f"{bundle.folder / artifact.path}: not an ONNX graph ({error})") from error
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _embed_weights(tensor, files, artifact.path)
    return SourceGraph(artifact, tuple(files.entries), _folded(model).SerializeToString(deterministic=True))


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnx_ir as ir

    from eenet_export.passes.fold_constants import FoldConstants

    graph = ir.from_proto(model)
    FoldConstants()(graph)
    return ir.to_proto(graph)


def _find_artifact(bundle: Bundle, precision: str) -> Artifact:
    graphs = [artifact for artifact in bundle.manifest.artifacts if artifact.kind == "onnx"]
    for artifact in graphs:
        if artifact.precision == precision:
            return artifact
    found = ", ".join(artifact.precision for artifact in graphs) or "none"
    raise ExportError(
        f"{bundle.folder}: ONNX artefacts in {found} found, an engine in {precision} needs one in {precision}; "
        "export the model with it or choose another precision"
    )


class _VerifiedFiles:
    """Files of a bundle, each read once and compared with the manifest."""

    def __init__(self, bundle: Bundle) -> None:
        self._folder = bundle.folder
        self._known = {entry.path: entry for entry in bundle.manifest.files}
        self._contents: dict[str, bytes] = {}
        self.entries: list[BundleFile] = []

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            BundleError: not a file of the manifest, not readable, or another content.
        """
        if name not in self._contents:
            entry, path = self._known.get(name), self._folder / name
            if entry is None:
                raise BundleError(f"{path}: the graph's weights should be there, the manifest knows no such file")
            try:
                content = path.read_bytes()
            except OSError as error:
                raise BundleError(f"{path}: cannot be read ({error.strerror or error})") from error
            found = hashlib.sha256(content).hexdigest()
            if found != entry.sha256:
                raise BundleError(
                    f"{path}: SHA-256 {found[:12]} found, the manifest says {entry.sha256[:12]}; copy the bundle again"
                )
            self._contents[name] = content
            self.entries.append(entry)
        return self._contents[name]


def _embed_weights(tensor: onnx.TensorProto, files: _VerifiedFiles, graph: str) -> None:
    """Replace a reference to another file by that file's bytes."""
    place: dict[str, Any] = {entry.key: entry.value for entry in tensor.external_data}
    content = files.read(str(PurePosixPath(graph).parent / place["location"]))
    start = int(place.get("offset", 0))
    end = start + int(place.get("length", len(content) - start))
    if not 0 <= start <= end <= len(content):
        raise BundleError(
            f"{graph}: weight {tensor.name} should be at bytes {start} to {end} of {place['location']}, which has "
            f"{len(content)}"
        )
    tensor.raw_data = content[start:end]
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")
