"""The Keras network in the place of an engine: the same cases, files and stages, with TensorFlow in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.backends import Choice
from eenet_runtime.bundle.manifest import Artifact, Bundle
from eenet_runtime.errors import BackendError
from eenet_runtime.selftest.serving import Served

if TYPE_CHECKING:
    from eenet_export.gate.gate import Form


class KerasBackend:
    """The network with a bundle's weights, as a `Backend`.

    Attributes:
        oracle: the same network with float64 statistics in its group norms, for parity.
    """

    name = "keras"
    gpu_index: int | None = None
    artifact = Artifact("keras", "weights.safetensors", "fp32", "fp32")

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        """Rebuild the network.

        Raises:
            BackendError: TensorFlow is missing.
            ExportError: no weights file, or not the weights of this network.
        """
        from eenet_train.network.tensorflow_setup import load_tensorflow

        try:
            load_tensorflow()
            import tensorflow

            from eenet_export.gate.gate import keras_forms
        except ModuleNotFoundError as error:
            raise BackendError(
                f'{error.name} is not installed, and Keras needs it; install it with: pip install "eenet[export]"'
            ) from error
        if threads is not None:
            tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        self.version = str(tensorflow.__version__)
        self.device = f"cpu ({threads} threads)" if threads else "as TensorFlow chooses"
        forms: tuple[Form, Form] = keras_forms(bundle)
        self.oracle, self._network = forms

    def __call__(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Backend.__call__`."""
        assert self._network.probabilities is not None
        return self._network.probabilities(volume)

    def labels(self, volume: NDArray[np.float32]) -> NDArray[np.uint8]:
        """See `Backend.labels`: the largest of the probabilities, as a notebook would take it."""
        labels: NDArray[np.uint8] = self(volume).argmax(axis=-1).astype(np.uint8)
        return labels

    def close(self) -> None:
        """Nothing is held that the process would not give back at its end."""


@contextmanager
def serving_keras(bundle: Bundle, threads: int | None) -> Iterator[None]:
    """Let a `Segmenter` made meanwhile be served by Keras instead of one of the runtime's engines.

    The runtime knows no TensorFlow and shall not; for a measurement it must not know the difference.
    """

    def serve(*arguments: object, **options: object) -> Served:
        return Served(Choice("keras", KerasBackend.artifact, "the reference"), KerasBackend(bundle, threads), None)

    with (
        patch("eenet_runtime.segmenter.segmenter.serve", serve),
        patch("eenet_runtime.segmenter.segmenter.candidates", lambda *arguments, **options: None),
    ):
        yield
