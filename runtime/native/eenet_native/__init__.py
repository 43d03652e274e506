"""EENet's 3D layers on the CPU, compiled: `Engine.encode` before the 2D network, `Engine.decode` after it.

README.md beside this package shows how the two halves are used; docs/native-engine.md says how they work.
"""

from eenet_native._engine import Engine
from eenet_native._library import CpuFeatures, cpu_features, expected_weights, instruction_sets
from eenet_native._resampling import resample, resample_labels

__all__ = [
    "CpuFeatures",
    "Engine",
    "cpu_features",
    "expected_weights",
    "instruction_sets",
    "resample",
    "resample_labels",
]
