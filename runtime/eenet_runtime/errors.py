"""Everything that can go wrong through no bug of ours, in one tree.

EENetError
├── GeometryError   a geometry preset that the network cannot have
├── CaseError       one case cannot be segmented: its files, grids or voxels
│   └── CaseTimeoutError its time was over before it was done
├── CaseCancelledError the caller stopped a case
├── DatasetError    a folder as a whole: not there, no cases in it
├── BundleError     a model bundle that is damaged, foreign or newer than this runtime
├── BackendError    no inference engine, or one that cannot run this model
│   └── SelfTestError an engine that does not compute on this machine what was exported
├── OutputError     a result that cannot be written
│   └── ResultPathError the results of one case cannot have their names; the other cases go on
├── GatewayError    a gateway that cannot start, or is asked for something that a study's state does not allow
├── TrainingError   a training that cannot start or go on
└── ExportError     a model that cannot be exported
    └── ParityError an exported artefact that does not agree with the Keras model it came from

Each message is one line that names the file (where there is one), what was found and what was expected or what to
do. A command line prints it and exits with 2; a bug is any other exception, shows its traceback and exits with 1.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from eenet_runtime.printable import printable


class EENetError(Exception):
    """A problem that the user can understand and mend."""

    def __init__(self, message: str) -> None:
        """Keep the message to one line: a file's name may hold line breaks or a terminal's control characters."""
        super().__init__(printable(message))


class GeometryError(EENetError):
    """The requested geometry cannot work in the network."""


class CaseError(EENetError):
    """One case is refused; the others of a folder go on.

    Attributes:
        code: the reason in one word that never changes, a key of `eenet_runtime.codes.CODES`.
    """

    def __init__(self, message: str, *, code: str) -> None:
        """Refuse a case."""
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions that cross processes are made again from their positional arguments alone.
        return partial(type(self), code=self.code), self.args


class CaseTimeoutError(CaseError):
    """The time limit of one case was reached between two of its stages; there is no mask of it."""


class CaseCancelledError(EENetError):
    """Whoever started a case cancelled it. No refusal: nothing is wrong with the case."""


class DatasetError(EENetError):
    """A folder of cases is unusable as a whole."""


class BundleError(EENetError):
    """A model bundle is refused."""


class BackendError(EENetError):
    """An inference engine is missing or cannot run the model.

    Attributes:
        code: of the case that it is a reason to refuse.
    """

    code: Final = "engine-failed"


class SelfTestError(BackendError):
    """An engine computes something else on this machine than the model that was exported; it serves no case."""


class OutputError(EENetError):
    """A result could not be written; nothing half-written is left under its final name."""


class ResultPathError(OutputError):
    """The results of one case cannot be written under its names, where those of others can.

    Attributes:
        code: of the case that it is a reason to refuse.
    """

    code: Final = "result-path"


class GatewayError(EENetError):
    """A gateway cannot start, or cannot do with a study what it is asked to."""


class TrainingError(EENetError):
    """A training cannot start or go on."""


class ExportError(EENetError):
    """A model cannot be exported."""


class ParityError(ExportError):
    """An exported artefact does not agree with the Keras model it came from; it gets no final name."""
