"""An export of a network of two layers in a process of its own, for tests that kill it.

What an export leaves when it is killed does not depend on the network, and converting EENet takes half a minute.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.synthetic import TINY_2MM


def small_source() -> Any:
    """Two layers with the input and output of EENet, always the same weights."""
    import keras
    from keras import layers

    from eenet_export.bundle.source import SourceModel

    keras.utils.set_random_seed(5)
    volume = layers.Input((*TINY_2MM.shape, 4), name="Model_Input")
    x = layers.Conv3D(8, 1, activation="relu", name="Input_L1")(volume)
    x = layers.Conv3D(4, 1, name="Model_Logits")(x)
    model = keras.Model(volume, layers.Softmax(name="Model_Outputs")(x), name="small")
    return SourceModel(model, TINY_2MM, "0" * 64, {"weights_from": "a test"})


def export_small(output: Path, cases: Path, steps: Path) -> None:
    """Export it; every step is a line of a file, also of a run that is killed afterwards."""
    from eenet_export.bundle import package
    from eenet_export.bundle.package import ExportSettings, export_model
    from eenet_export.gate.gate import keras_function

    # The oracle is EENet's; these layers have no statistics, so they are their own.
    setattr(package, "_oracle", lambda model, source: keras_function(model))  # noqa: B010
    setattr(package, "obstacle", lambda: "these layers are not EENet's")  # noqa: B010
    with steps.open("a") as stream:

        def say(step: str) -> None:
            stream.write(f"{step}\n")
            stream.flush()

        export_model(small_source(), output, cases, ExportSettings(max_cases=1), say)


def main() -> None:
    """Entry point: OUTPUT CASES STEPS."""
    from eenet_train.network.tensorflow_setup import set_tensorflow_defaults

    set_tensorflow_defaults()
    import tensorflow  # noqa: F401

    sys.stdout.write("exporting\n")
    sys.stdout.flush()
    export_small(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))


if __name__ == "__main__":
    main()
