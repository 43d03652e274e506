"""Which of the offered encodings is taken. Every storage class is accepted: a PACS that is turned down in one class may
stop sending the whole study."""

from __future__ import annotations

from typing import Final

from pynetdicom.presentation import PresentationContext

PREFERRED: Final = (
    "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    "1.2.840.10008.1.2",  # Implicit VR Little Endian
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.5",  # RLE Lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.81",  # JPEG-LS Near Lossless
)
"""What the toolkit can decode, the cheapest first."""
AVOIDED: Final = "1.2.840.10008.1.2.1.99"
"""Deflated: half a megabyte may unpack to gigabytes. Taken only where nothing else is offered, and then refused or
dropped by its object."""


def put_preferred_first(contexts: list[PresentationContext]) -> None:
    """Sort what a peer offers; pynetdicom's unrestricted storage takes the first."""
    for context in contexts:
        context.transfer_syntax = sorted(context.transfer_syntax, key=lambda syntax: _rank(str(syntax)))


def _rank(syntax: str) -> int:
    if syntax in PREFERRED:
        return PREFERRED.index(syntax)
    return len(PREFERRED) + (syntax == AVOIDED)
