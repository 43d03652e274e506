"""Inference engines: `engines` lists them, `choice` says which one runs, `loading` loads it.

Nothing else in the runtime knows which it is. A new engine is one file here and one entry in `engines.ENGINES`.

Names are loaded when they are first used: the list is read where nothing heavy may be imported.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eenet_runtime.backends.base import Backend, LoadRequest
    from eenet_runtime.backends.choice import Candidates, Choice, candidates, choose
    from eenet_runtime.backends.engines import backend_names
    from eenet_runtime.backends.loading import load, make_backend

__all__ = [
    "Backend",
    "Candidates",
    "Choice",
    "LoadRequest",
    "backend_names",
    "candidates",
    "choose",
    "load",
    "make_backend",
]

_HOMES = {
    "Backend": "base",
    "LoadRequest": "base",
    "Candidates": "choice",
    "Choice": "choice",
    "candidates": "choice",
    "choose": "choice",
    "backend_names": "engines",
    "load": "loading",
    "make_backend": "loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
