"""Options for heads as the scanner made them, shared by the commands that take such cases."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from eenet_runtime.segmenter.raw_settings import RawSettings

StripBundleOption = Annotated[
    Path | None,
    typer.Option("--strip-bundle", help="Strip network (default: the one that comes with the toolkit)."),
]
StripCommandOption = Annotated[
    str | None,
    typer.Option(
        "--strip-command",
        metavar="<command>",
        help="Program that strips instead: {input} is the T1ce, {output} the mask or stripped T1ce that it writes.",
    ),
]
StrippedOption = Annotated[
    bool, typer.Option("--stripped", help="Heads are stripped already; they are registered only.")
]
BrainMaskOption = Annotated[
    Path | None, typer.Option("--brain-mask", help="With --raw: the brain, in the T1ce's world; above 0 is brain.")
]
KeepAlignedOption = Annotated[
    bool, typer.Option("--keep-aligned", help="With --raw: write the aligned, stripped images, too, as BraTS has them.")
]


@dataclass(frozen=True)
class RawOptions:
    """How heads as the scanner made them are dealt with."""

    raw: Annotated[
        bool,
        typer.Option("--raw", help="Series are as the scanner made them: register and strip; the mask is the T1ce's."),
    ] = False
    strip_bundle: StripBundleOption = None
    strip_command: StripCommandOption = None
    stripped: StrippedOption = False

    def settings(self, brain_mask: Path | None = None) -> RawSettings | None:
        """What was asked for; None without `--raw`."""
        self.allows("--strip-bundle", self.strip_bundle is not None)
        self.allows("--strip-command", self.strip_command is not None)
        self.allows("--stripped", self.stripped)
        self.allows("--brain-mask", brain_mask is not None)
        if not self.raw:
            return None
        return raw_settings_of(self.strip_bundle, self.strip_command, self.stripped, brain_mask)

    def allows(self, option: str, is_given: bool) -> bool:
        """Hand back whether an option is given, which needs `--raw` beside it."""
        if is_given and not self.raw:
            raise typer.BadParameter(f"{option} is for raw heads; add --raw", param_hint=option)
        return is_given


def raw_settings_of(
    strip_bundle: Path | None, strip_command: str | None, stripped: bool, brain_mask: Path | None = None
) -> RawSettings:
    """The settings of these options; two that say where the brain is are wrong usage."""
    from eenet_runtime.segmenter.raw_settings import RawSettings

    try:
        return RawSettings(strip_bundle, strip_command, brain_mask, stripped)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--raw") from error
