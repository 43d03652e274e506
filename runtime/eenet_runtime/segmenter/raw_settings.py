"""How raw heads are dealt with, as a caller says it; nothing of the room for raw heads is loaded for this."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class RawSettings:
    """Settings for cases whose series are as the scanner made them (docs/raw-heads.md).

    At most one of `strip_bundle`, `strip_command`, `brain_mask` and `stripped` says where the brain is.

    Attributes:
        strip_bundle: the strip network; by default the bundle that lies beside the model's under the name that the
            toolkit gives it.
        strip_command: a program of the site's own, with `{input}` and `{output}` in its command line.
        brain_mask: a NIfTI file in the T1ce's world, for one case.
        stripped: the heads are stripped already. Without it they are looked at, and left alone where they are.
        pose: which way heads lie in the network's data, instead of what the model's bundle says.
        engine: of the registration: `auto`, `native` or `numpy`.

    Raises:
        ValueError: on construction, where two of them say where the brain is.
    """

    strip_bundle: Path | None = None
    strip_command: str | None = None
    brain_mask: Path | None = None
    stripped: bool = False
    pose: str | None = None
    engine: Literal["auto", "native", "numpy"] = "auto"

    def __post_init__(self) -> None:
        given = {
            "strip_bundle": self.strip_bundle is not None,
            "strip_command": self.strip_command is not None,
            "brain_mask": self.brain_mask is not None,
            "stripped": self.stripped,
        }
        named = [name for name, is_given in given.items() if is_given]
        if len(named) > 1:
            raise ValueError(f"{' and '.join(named)} given, expected one of them at most: each says where the brain is")


def raw_settings(raw: RawSettings | bool) -> RawSettings | None:
    """What `raw=` of a `Segmenter` means: None where heads come registered and stripped."""
    if isinstance(raw, RawSettings):
        return raw
    return RawSettings() if raw else None
