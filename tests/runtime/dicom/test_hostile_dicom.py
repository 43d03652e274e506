"""Damaged and hostile DICOM files: each is read, left out with a reason or refused; nothing crashes, hangs or grows."""

from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from eenet_runtime.dicom.guarded_reader import HeaderLimits
from eenet_runtime.dicom.instance import FileSource, NotReadableError, read_instance
from eenet_runtime.dicom.pixels import read_series
from eenet_runtime.dicom.studies import find_studies
from eenet_runtime.errors import EENetError
from eenet_runtime.machine.memory import peak_rss_bytes
from tests.dicom_studies import T1_PHYSICS, FakeSeries, datasets, enhanced, write_series

MUTANTS: Final = int(os.environ.get("EENET_DICOM_MUTANTS", "500"))
"""2,000 by hand before a release."""
_HOSTILE: Final = ("../../../x", "%s%n", "\0" * 9, "A" * 70, "\\" * 40, "nan", "1e999", "\u202e", "-0", "0x10")


ROWS: Final = b"\x28\x00\x10\x00US"


def originals() -> list[bytes]:
    small = FakeSeries(tags=dict(T1_PHYSICS))
    found = []
    for dataset in (datasets(small)[3], enhanced(small)):
        buffer = io.BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        found.append(buffer.getvalue())
    return found


def truncated(content: bytearray, random: random.Random) -> None:
    del content[random.randrange(len(content)) :]


def bytes_changed(content: bytearray, random: random.Random) -> None:
    for _ in range(random.choice((1, 3, 20))):
        content[random.randrange(128, len(content))] = random.randrange(256)


def length_changed(content: bytearray, random: random.Random) -> None:
    place = random.randrange(132, len(content) - 4)
    content[place : place + 4] = struct.pack(
        "<I", random.choice((0, 1, 0x7FFF_FFFF, 0xFFFF_FFFF, 0xFFFF_FFFE, 1 << 20))
    )


def representation_changed(content: bytearray, random: random.Random) -> None:
    places = [place for place in range(300, min(len(content), 3000)) if content[place : place + 2].isalpha()]
    place = random.choice(places)
    content[place : place + 2] = random.choice((b"SQ", b"UN", b"OB", b"FD", b"US", b"LO", b"UI", b"AT", b"ZZ"))


def text_changed(content: bytearray, random: random.Random) -> None:
    text = random.choice(_HOSTILE).encode("utf-8")
    place = random.randrange(200, len(content) - len(text))
    content[place : place + len(text)] = text


def piece_repeated(content: bytearray, random: random.Random) -> None:
    start = random.randrange(132, len(content) - 200)
    content[start:start] = content[start : start + random.randrange(8, 200)] * random.choice((1, 50))


def nested(content: bytearray, random: random.Random) -> None:
    item = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    content[-1:] = item * random.choice((10, 900))


WAYS: Final[tuple[Callable[[bytearray, random.Random], None], ...]] = (
    truncated, bytes_changed, length_changed, representation_changed, text_changed, piece_repeated, nested,
)  # fmt: skip


def test_mutated_files_never_crash_hang_or_write(tmp_path: Path) -> None:
    """One changed file among 19 whole ones, and Enhanced files alone; headers and pixels are read."""
    randomness = random.Random(16)
    contents = originals()
    folder, alone = tmp_path / "classical", tmp_path / "enhanced"
    write_series(folder, FakeSeries(tags=dict(T1_PHYSICS)))
    alone.mkdir()
    said: list[str] = []
    before = peak_rss_bytes() or 0
    for number in range(MUTANTS):
        content = bytearray(contents[number % 2])
        for _ in range(randomness.choice((1, 1, 2))):
            WAYS[number // 2 % len(WAYS)](content, randomness)
            if len(content) < 500:
                break
        place = (alone if number % 2 else folder) / "mutant"
        place.write_bytes(content)
        started = time.monotonic()
        try:
            for study in find_studies(place.parent if number % 10 == 0 else place, threads=1).studies:
                for decision in study.decisions:
                    read_series(decision.series, threads=1)
        except EENetError as error:
            said.append(str(error))
        assert time.monotonic() - started < 20, number
        place.unlink()
    assert not any("Canary" in text or "\n" in text for text in said)
    grown = ((peak_rss_bytes() or 0) - before) / 2**20
    assert grown < 700, f"{grown:.0f} MiB"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classical", "enhanced"]


def with_items(count: int) -> bytes:
    start = originals()[1]
    element = b"\x00\x52\x30\x92SQ\0\0" + struct.pack("<I", 8 * count) + b"\xfe\xff\x00\xe0\0\0\0\0" * count
    at = start.index(b"\x00\x52\x29\x92SQ")
    return start[:at] + element


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (with_items(200_000), "more than 100000 items of sequences found"),
        (originals()[0].replace(ROWS, b"\x28\x00\x08\x00IS\x06\x0099999 " + ROWS), "99999 frames"),
    ],
    ids=["items", "frames"],
)  # fmt: skip
def test_a_header_beyond_its_limits_is_left_out_with_the_limit(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(NotReadableError, match=message):
        read_instance(FileSource(tmp_path / "x"))


def test_bytes_and_reads_of_a_header_are_limited(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(originals()[0])
    with pytest.raises(NotReadableError, match="a header of more than 500 bytes"):
        read_instance(FileSource(tmp_path / "x"), HeaderLimits(header_bytes=500))
    with pytest.raises(NotReadableError, match="more than 20 elements"):
        read_instance(FileSource(tmp_path / "x"), HeaderLimits(reads=20))


def test_a_deflated_bomb_costs_nothing(tmp_path: Path) -> None:
    import zlib

    start = originals()[0]
    meta_end = start.index(b"\x08\x00\x05\x00")
    meta = start[:meta_end].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99"[:20])
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    (tmp_path / "x").write_bytes(meta + raw.compress(b"\0" * (1 << 26)) + raw.flush())
    code = f"""
from pathlib import Path
from eenet_runtime.dicom.scanning import scan
from eenet_runtime.machine.memory import peak_rss_bytes
before = peak_rss_bytes()
scan(Path({str(tmp_path)!r}))
print((peak_rss_bytes() - before) // 2**20)
"""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(finished.stdout) < 50
