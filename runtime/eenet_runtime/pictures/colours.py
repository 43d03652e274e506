"""Colours that mean something, in one place, as RGB.

After M. Okabe and K. Ito, "Color Universal Design" (2008): told apart with any colour vision.
"""

from __future__ import annotations

from typing import Final

from eenet_runtime.volumes.labels import Label, Region

Colour = tuple[int, int, int]

BLUE: Final[Colour] = (0, 114, 178)
VERMILION: Final[Colour] = (213, 94, 0)
GREEN: Final[Colour] = (0, 158, 115)
PINK: Final[Colour] = (204, 121, 167)
ORANGE: Final[Colour] = (230, 159, 0)
SKY_BLUE: Final[Colour] = (86, 180, 233)

RUN_COLOURS: Final = (BLUE, VERMILION, GREEN, PINK, ORANGE, SKY_BLUE, (140, 110, 60), (90, 90, 90))
"""Of what is drawn beside each other on white. The last two are ours in place of yellow and black, which are hard to
see there."""

INK: Final[Colour] = (40, 40, 40)
GRID: Final[Colour] = (222, 222, 222)

REGION_COLOURS: Final = {Region.ET: VERMILION, Region.TC: BLUE, Region.WT: GREEN}
"""Of the regions on white."""

REGION_COLOURS_ON_GREY: Final[dict[Region, Colour]] = {
    Region.ET: (255, 106, 61),
    Region.TC: SKY_BLUE,
    Region.WT: (60, 214, 150),
}
"""Of the regions over an image: the same three, lighter."""

CLASS_COLOURS_ON_GREY: Final[dict[Label, Colour]] = {
    Label.NCR: (90, 160, 255),
    Label.ED: (90, 220, 110),
    Label.ET: (255, 80, 80),
}
"""Of the classes over an image: blue for necrotic and non-enhancing core, green for oedema, red for enhancing."""

TRUTH_COLOUR: Final = SKY_BLUE
PREDICTION_COLOUR: Final = ORANGE


def css(colour: Colour) -> str:
    """A colour as CSS and SVG write it, such as `#d55e00`."""
    return "#" + "".join(f"{channel:02x}" for channel in colour)
