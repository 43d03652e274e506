"""deepbet's networks as their authors publish them, and what they make of a head in PyTorch.

The files are pinned by their hashes: a wheel that was built anew is another one, and is refused. PyTorch's own
functions sample, normalise and compute here, after deepbet 1.0.2's `run_model`; the runtime's NumPy is held against it.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.bundle.strip_manifest import StripPreprocessing
from eenet_runtime.errors import ExportError
from eenet_runtime.heads.stripping.two_stages import brain_box

VERSION: Final = "1.0.2"
WHEEL_SHA256: Final = "1999e2ea00ec48f6233b95b96f3901a962d3f70431c63aeb985e8a49a198473c"
NETWORKS: Final[Mapping[str, tuple[str, str]]] = {
    "find": (
        "data/models/bbox_model.pt",
        "39a7b2b5f799faa1391ea97bfcdc0b9299f20d84f2316a4ff8918dc4685e40aa",
    ),
    "cut": (
        "data/models/model.pt",
        "de8ee7c69654d0dd3935dc4a5d84571d8ecf4637a6bfc01df399c4c2bc86e0fd",
    ),
}
"""Each network's file in the wheel, and its SHA-256."""
LICENCE_FILE: Final = f"deepbet-{VERSION}.dist-info/LICENSE"
INSTALL: Final = 'pip install "eenet[strip]"'
_GET: Final = f"pip download deepbet=={VERSION} --no-deps"


@dataclass(frozen=True)
class OriginalFiles:
    """What is taken out of the wheel.

    Attributes:
        networks: TorchScript files by `find` and `cut`.
        licence: the text of deepbet's licence.
    """

    networks: Mapping[str, bytes]
    licence: bytes


def read_original(wheel: Path | None) -> OriginalFiles:
    """The files of the wheel, or of the installed package.

    Args:
        wheel: deepbet's wheel; None: the package that is installed in this environment.

    Raises:
        ExportError: it is not there, cannot be read, or is not the pinned one.
    """
    read = _from_wheel(wheel) if wheel is not None else _from_installed()
    networks = {}
    for role, (name, expected) in NETWORKS.items():
        content = read(name)
        if (found := hashlib.sha256(content).hexdigest()) != expected:
            where = wheel or f"deepbet {VERSION}"
            raise ExportError(f"{where}: {name} with SHA-256 {found[:12]} found, expected {expected[:12]}")
        networks[role] = content
    return OriginalFiles(networks, read(LICENCE_FILE))


def _from_wheel(wheel: Path) -> Any:
    try:
        content = wheel.read_bytes()
    except OSError as error:
        raise ExportError(f"{wheel}: cannot be read ({error.strerror or error}); get it with: {_GET}") from error
    if (found := hashlib.sha256(content).hexdigest()) != WHEEL_SHA256:
        raise ExportError(
            f"{wheel}: SHA-256 {found[:12]} found, expected {WHEEL_SHA256[:12]}, the wheel of deepbet {VERSION}; get "
            f"it with: {_GET}"
        )
    return zipfile.ZipFile(io.BytesIO(content)).read


def _from_installed() -> Any:
    try:
        package = distribution("deepbet")
    except PackageNotFoundError:
        raise ExportError(f"deepbet {VERSION} is not installed; run: {INSTALL}, or name its wheel ({_GET})") from None
    if package.version != VERSION:
        raise ExportError(f"deepbet {package.version} found, expected {VERSION}; run: {INSTALL}")

    def read(name: str) -> bytes:
        path = Path(str(package.locate_file(name)))
        try:
            return path.read_bytes()
        except OSError as error:
            raise ExportError(f"{path}: cannot be read ({error.strerror or error})") from error

    return read


def load_torch() -> Any:
    """The module `torch`.

    Raises:
        ExportError: it is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise ExportError(f"torch is not installed; run: {INSTALL}") from error
    return torch


@dataclass(frozen=True)
class Original:
    """The two networks in PyTorch, as published: FP32 weights, and their own sizes unless others are given."""

    torch: Any
    find: Any
    cut: Any
    find_edge: int = 128
    cut_edge: int = 256

    @staticmethod
    def load(files: OriginalFiles) -> Original:
        """Load both networks on the CPU.

        Raises:
            ExportError: PyTorch is not installed, or cannot load them.
        """
        torch = load_torch()
        try:
            find, cut = (
                torch.jit.load(io.BytesIO(files.networks[role]), map_location="cpu").eval() for role in ("find", "cut")
            )
        except RuntimeError as error:
            raise ExportError(f"deepbet {VERSION}: PyTorch cannot load its networks ({error})") from error
        return Original(torch, find, cut)

    def brain_probability(self, head: NDArray[np.float32], source: str) -> NDArray[np.float32]:
        """Probability of brain, float32 of the head's shape; see `TwoStages.brain_probability`."""
        torch, figures = self.torch, StripPreprocessing()
        with torch.no_grad():
            image = torch.from_numpy(head)
            small = self._sampled(image, (self.find_edge,) * 3)
            low, high = small.quantile(figures.low), small.quantile(figures.high)
            seen = self.find(self._normalised(small, low, high)[None, None])[0, 1]
            box = brain_box((seen > 0.5).numpy(), head.shape, figures, source)
            part = self._sampled(image[box], (self.cut_edge,) * 3)
            found = self.cut(self._normalised(part, low, high)[None, None])[0, 1]
            probability = torch.zeros_like(image)
            probability[box] = self._sampled(found, tuple(image[box].shape))
        result: NDArray[np.float32] = probability.numpy()
        return result

    def _sampled(self, image: Any, shape: tuple[int, ...]) -> Any:
        return self.torch.nn.functional.interpolate(image[None, None], shape, mode="nearest-exact")[0, 0]

    def _normalised(self, image: Any, low: Any, high: Any) -> Any:
        figures = StripPreprocessing()
        image = ((image - low) / (high - low)).clamp(min=0, max=1)
        return figures.deviation * ((image - image.mean()) / image.std()) + figures.mean
