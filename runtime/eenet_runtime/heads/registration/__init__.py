"""Rigid registration: one image of a head is aligned with another of the same head.

`register` gives the transform between two images' worlds and figures that tell whether to believe it.
docs/decisions/0040-registration.md says why it is done so, and what was measured.
"""

from eenet_runtime.heads.registration.pyramid import RegistrationError
from eenet_runtime.heads.registration.quality import RegistrationQuality
from eenet_runtime.heads.registration.register import Registration, register

__all__ = ["Registration", "RegistrationError", "RegistrationQuality", "register"]
