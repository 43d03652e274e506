"""Parity of a bundle with the Keras model it came from, rebuilt from the bundle's own weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from eenet_export.convert import WEIGHTS_FILE
from eenet_export.package import keras_function
from eenet_export.parity import KERAS, ORACLE, compare_all
from eenet_runtime.backends import make_backend
from eenet_runtime.bundle import Bundle, ParityRow
from eenet_runtime.case_files import CaseFiles
from eenet_runtime.preprocessing import prepare, read_case
from eenet_train.network import as_oracle, build_eenet
from eenet_train.weights import load_weights


def measure_parity(bundle: Bundle, cases: Sequence[CaseFiles]) -> tuple[ParityRow, ...]:
    """Compare Keras, the oracle and the bundle's artefact, as the runtime serves it, on cases.

    Raises:
        ExportError: the bundle's weights are not this network's.
        CaseError: a case that cannot be read.
        BackendError: no engine here runs the artefact.
    """
    preset = bundle.manifest.preset
    model = build_eenet(preset)
    load_weights(model, bundle.folder / WEIGHTS_FILE)
    backend = make_backend(bundle)
    forms: list[tuple[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]]] = [
        (KERAS, keras_function(model)),
        (ORACLE, keras_function(as_oracle(model, preset))),
        (f"onnx-{bundle.manifest.artifacts[0].precision}", backend),
    ]
    rows: list[ParityRow] = []
    for files in cases:
        rows += compare_all(files.case_id, prepare(read_case(files), preset).volume, forms)
    backend.close()
    return tuple(rows)
