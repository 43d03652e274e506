"""What a case's results follow from besides its inputs: the half of a finished case's identity that is no file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Annotated

from eenet_runtime._version import __version__
from eenet_runtime.backends import Choice
from eenet_runtime.bundle.manifest import Bundle, PostprocessingSettings
from eenet_runtime.cases.content_checks import CheckPolicy
from eenet_runtime.segmenter.preprocessor import Preprocessor
from eenet_runtime.segmenter.raw_settings import RawSettings
from eenet_runtime.segmenter.segmenter import Segmenter


@dataclass(frozen=True)
class MaskSettings:
    """Everything besides its inputs and its label values that a case's results follow from.

    Releases of the inference engine and numbers of threads or of a GPU are left out: they move no more than last
    digits, and a machine that was updated need not compute a finished data set again. Reports name them.

    Attributes:
        eenet_version: the toolkit's.
        bundle_id: the model, by the hash of everything in it.
        backend, artifact, precision: the engine and what it runs.
        device: `cpu` or `cuda`.
        checks: what becomes of images that do not look like what they are called.
        postprocessing: the steps after the network.
        raw: where raw heads get their brain masks and which way they are turned; None where heads come ready.
    """

    eenet_version: str
    bundle_id: str
    backend: str
    artifact: str
    precision: str
    device: str
    checks: str
    postprocessing: Annotated[dict[str, float], PostprocessingSettings]
    raw: dict[str, str] | None = None

    @staticmethod
    def of(segmenter: Segmenter) -> MaskSettings:
        """The settings of a loaded model."""
        planned = MaskSettings.planned(segmenter.bundle, segmenter.choice, segmenter.postprocessing, segmenter.checks)
        return planned if segmenter.chain is None else replace(planned, raw=segmenter.chain.identity)

    @staticmethod
    def planned(
        bundle: Bundle,
        choice: Choice,
        postprocessing: PostprocessingSettings,
        checks: CheckPolicy,
        raw: RawSettings | None = None,
    ) -> MaskSettings:
        """The settings that a model would have, were it loaded."""
        identity = None
        if raw is not None:
            # Nothing of the room for raw heads is imported where nobody asks for it.
            from eenet_runtime.segmenter.raw import chain_of

            identity = chain_of(raw, bundle).identity
        return MaskSettings(
            eenet_version=__version__,
            bundle_id=bundle.bundle_id,
            backend=choice.name,
            artifact=choice.artifact.path,
            precision=choice.artifact.precision,
            device=choice.device.kind,
            checks=checks.value,
            postprocessing=asdict(postprocessing),
            raw=identity,
        )


@dataclass(frozen=True)
class PreprocessSettings:
    """The same where raw cases are registered and stripped, and no network is run.

    Attributes:
        eenet_version: the toolkit's.
        checks: what becomes of images that do not look like what they are called.
        raw: where raw heads get their brain masks and which way they are turned.
    """

    eenet_version: str
    checks: str
    raw: dict[str, str]

    @staticmethod
    def of(preprocessor: Preprocessor) -> PreprocessSettings:
        """The settings of a preprocessor."""
        return PreprocessSettings(__version__, preprocessor.checks.value, preprocessor.chain.identity)
