"""Damaged and absurd NIfTI files, made from whole ones: the same seed gives the same file.

Two kinds, and for each what reading it may come to:

* *damaged*: bytes of a gzip stream, or the length of a plain file, are not what was written. It must be refused; where
  the bytes that changed mean nothing (a name or a date in the gzip header), it may be read, to the same voxels on the
  same grid.
* *another file*: whole, but with other header fields or other voxels. It must be refused, or read as its header says.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

import nibabel as nib
import numpy as np

_EXTREMES: Final[dict[str, tuple[float, ...]]] = {
    "i": (
        -(2**31),
        -32768,
        -1,
        0,
        1,
        2,
        3,
        4,
        7,
        8,
        16,
        64,
        127,
        128,
        256,
        348,
        512,
        540,
        768,
        1280,
        1536,
        32767,
        2**31,
    ),
    "u": (0, 1, 2, 127, 255),
    "f": (
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        2.0,
        1e-45,
        1e-30,
        1e-3,
        1e3,
        352.5,
        1e10,
        3e38,
        -3e38,
        1e300,
        np.nan,
        np.inf,
        -np.inf,
    ),
}
_DECISIVE: Final = (
    "dim",
    "datatype",
    "bitpix",
    "pixdim",
    "vox_offset",
    "scl_slope",
    "scl_inter",
    "sform_code",
    "qform_code",
)
"""Fields that say where, how many and what the voxels are; half of all changes go there."""


@dataclass(frozen=True)
class Original:
    """A whole file.

    Attributes:
        name: its kind.
        plain: uncompressed bytes.
        header: nibabel's header class.
        order: byte order, `<` or `>`.
    """

    name: str
    plain: bytes
    header: type[nib.Nifti1Header]
    order: str

    @property
    def packed(self) -> bytes:
        """As a gzip stream with a name in its header."""
        stream = gzip.compress(self.plain, mtime=1)
        return stream[:3] + b"\x08" + stream[4:10] + b"A_t1.nii\0" + stream[10:]


@dataclass(frozen=True)
class Mutant:
    """A file made from a whole one.

    Attributes:
        what: what was done to it.
        content: its bytes on disk.
        damaged: whether it is a damaged file, or else another file.
    """

    what: str
    content: bytes
    damaged: bool


def mutate(original: Original, seed: int) -> Mutant:
    """One mutant of a file; every seed another one."""
    random = Random(seed)
    make = random.choice((_damaged_stream, _damaged_stream, _wrong_length, _other_fields, _other_fields, _other_bytes))
    return make(original, random)


def _damaged_stream(original: Original, random: Random) -> Mutant:
    damage = random.choice(_DAMAGES)
    whole = original.packed
    return Mutant(f"gzip, {damage.__name__[1:]}", damage(whole, random), damaged=True)


def _wrong_length(original: Original, random: Random) -> Mutant:
    damage = random.choice((_cut, _drop, _repeat, _insert, _append))
    return Mutant(f"plain, {damage.__name__[1:]}", damage(original.plain, random), damaged=True)


def _other_fields(original: Original, random: Random) -> Mutant:
    content = bytearray(original.plain)
    layout = original.header.template_dtype.newbyteorder(original.order)
    changed = []
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        name = random.choice(_DECISIVE if random.random() < 0.5 else layout.names)
        field, offset = layout.fields[name][:2]
        element = field.base
        where = offset + element.itemsize * random.randrange(int(np.prod(field.shape, dtype=int)))
        content[where : where + element.itemsize] = _extreme(element, random)
        changed.append(name)
    return Mutant(f"fields {', '.join(changed)}", _stored(bytes(content), random), damaged=False)


def _other_bytes(original: Original, random: Random) -> Mutant:
    content = bytearray(original.plain)
    end = random.choice((352, 560, len(content)))
    for _ in range(random.choice((1, 2, 8))):
        content[random.randrange(min(end, len(content)))] = random.randrange(256)
    return Mutant(f"bytes before {end}", _stored(bytes(content), random), damaged=False)


def _extreme(element: np.dtype[np.generic], random: Random) -> bytes:
    if element.kind not in _EXTREMES:
        return random.randbytes(element.itemsize)
    value = random.choice(_EXTREMES[element.kind])
    if element.kind != "f":
        whole = int(value) % 256**element.itemsize  # two's complement, cut to the field
        return int(whole).to_bytes(element.itemsize, "big" if element.str[0] == ">" else "little")
    with np.errstate(all="ignore"):
        return bytes(np.float64(value).astype(element).tobytes())


def _stored(content: bytes, random: Random) -> bytes:
    """A whole file with this content: plain, in one gzip member, or in several."""
    form = random.randrange(3)
    if form == 0:
        return content
    cut = random.randrange(len(content)) if form == 1 else len(content)
    return gzip.compress(content[:cut], 1, mtime=0) + gzip.compress(content[cut:], 1, mtime=0)


def _flip(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 16))):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _cut(content: bytes, random: Random) -> bytes:
    left = random.choice((random.randrange(len(content)), random.randrange(400), len(content) - random.randint(1, 9)))
    return content[:left]


def _drop(content: bytes, random: Random) -> bytes:
    start, size = random.randrange(len(content)), random.choice((1, 2, 64, 512))
    return content[:start] + content[start + size :]


def _repeat(content: bytes, random: Random) -> bytes:
    start, size = random.randrange(len(content)), random.choice((1, 2, 64, 512))
    return content[: start + size] + content[start:]


def _insert(content: bytes, random: Random) -> bytes:
    start, size = random.randrange(len(content)), random.choice((1, 2, 64, 512))
    return content[:start] + random.choice((bytes(size), random.randbytes(size))) + content[start:]


def _append(content: bytes, random: Random) -> bytes:
    size = random.choice((1, 8, 512, 5000))
    return content + random.choice((b"\n" * size, random.randbytes(size), content[:size]))


def _overwrite(content: bytes, random: Random) -> bytes:
    start, size = random.randrange(len(content)), random.choice((2, 16, 128))
    filling = random.choice((bytes(size), b"\xff" * size, random.randbytes(size), content[start // 2 :][:size]))
    return (content[:start] + filling + content[start + size :])[: len(content)]


def _trailer(content: bytes, random: Random) -> bytes:
    checksum, length = struct.unpack("<II", content[-8:])
    other = random.choice(
        (
            (checksum ^ (1 << random.randrange(32)), length),
            (checksum, length ^ (1 << random.randrange(32))),
            (0, 0),
            (length, checksum),
        )
    )
    return content[:-8] + struct.pack("<II", *other)


def _second_member(content: bytes, random: Random) -> bytes:
    second = gzip.compress(random.choice((b"more", bytes(3000), content[:200])), 1, mtime=0)
    return random.choice((content + second, second + content, content + bytes(20) + second))


def _other_flags(content: bytes, random: Random) -> bytes:
    return content[:2] + bytes([random.randrange(256), random.randrange(256)]) + content[4:]


_DAMAGES: Final[tuple[Callable[[bytes, Random], bytes], ...]] = (
    _flip, _flip, _flip, _cut, _drop, _repeat, _insert, _append, _overwrite, _trailer, _second_member, _other_flags,
)  # fmt: skip
