"""An export of a network of two layers in processes of its own (`tests.warm_starts`), for tests that
kill it.

What an export leaves when it is killed does not depend on the network, and converting EENet takes half a minute.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.synthetic import TINY_2MM


def small_source(*, finds_tumours: bool = True) -> Any:
    """Two layers with the input and output of EENet, always the same weights; or some that call all background."""
    import keras
    from keras import layers

    from eenet_export.bundle.source import SourceModel

    keras.utils.set_random_seed(5)
    volume = layers.Input((*TINY_2MM.shape, 4), name="Model_Input")
    x = layers.Conv3D(8, 1, activation="relu", name="Input_L1")(volume)
    x = layers.Conv3D(4, 1, name="Model_Logits")(x)
    model = keras.Model(volume, layers.Softmax(name="Model_Outputs")(x), name="small")
    if not finds_tumours:
        kernel, bias = model.get_layer("Model_Logits").get_weights()
        model.get_layer("Model_Logits").set_weights([0.01 * kernel, bias + np.array([5, 0, 0, 0])])
    return SourceModel(model, TINY_2MM, "0" * 64, {"weights_from": "a test"})


def export_small(output: Path, cases: Path, steps: Path) -> None:
    """Export it; every step is a line of a file, also of a run that is killed afterwards."""
    from eenet_export.bundle.package import ExportSettings, export_model
    from eenet_export.gate.gate import keras_function

    # These layers are not EENet's, which the native engine is for, and have no statistics: they are their own oracle.
    settings = ExportSettings(max_cases=1, native=False)
    with steps.open("a") as stream:

        def say(step: str) -> None:
            stream.write(f"{step}\n")
            stream.flush()

        export_model(small_source(), output, cases, settings, say, lambda source: keras_function(source.model))


def die_in(step: str) -> None:
    """Let this process be killed in a step of its workshop: its work is done, and not yet noted as done.

    `finish` is the end: everything is noted, and the bundle has not got its name.
    """
    from eenet_export.gate.workshop import Workshop

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def dying(method: Callable[..., Any]) -> Callable[..., Any]:
        def run(self: Workshop, name: str, make: Callable[[], Any], *rest: Any) -> Any:
            def make_and_die() -> None:
                make()
                die()

            return method(self, name, make_and_die if name == step else make, *rest)

        return run

    for name in ("step", "array"):
        setattr(Workshop, name, dying(getattr(Workshop, name)))
    if step == "finish":
        setattr(Workshop, "finish", lambda self: die())  # noqa: B010


def warm() -> None:
    """Import what an export imports, and nothing more."""
    from eenet_train.network.tensorflow_setup import set_tensorflow_defaults

    set_tensorflow_defaults()
    import onnxruntime  # noqa: F401
    import openvino  # noqa: F401
    import tf2onnx  # noqa: F401

    import eenet_export.bundle.package  # noqa: F401


def main(output: str, cases: str, steps: str, *dying: str) -> None:
    """Export, and die in the steps named last."""
    for step in dying:
        die_in(step)
    export_small(Path(output), Path(cases), Path(steps))
