"""Where the strip bundle lies that comes with the runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from eenet_runtime.errors import BundleError

NAME: Final = "strip-deepbet"
_PACKAGE: Final = Path(__file__).parents[2]


def shipped_strip_bundle() -> Path:
    """The folder of the strip bundle: of an installed package within it, of a checkout in its `models`.

    Raises:
        BundleError: it is in neither; a distribution may have left it out.
    """
    installed, checkout = _PACKAGE / "models" / NAME, _PACKAGE.parents[1] / "models" / NAME
    for folder in (installed, checkout):
        if folder.is_dir():
            return folder
    raise BundleError(f"{installed}: no strip bundle found; name one, or say that the heads are stripped")
