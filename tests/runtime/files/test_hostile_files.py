"""Files that a stranger may leave in a drop folder: none hangs the program, fills its memory or garbles its log."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import socket
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eenet_runtime.cases.dataset_json import read_dataset_json
from eenet_runtime.cases.discovery import find_cases
from eenet_runtime.errors import CaseError, DatasetError, EENetError
from eenet_runtime.files.input_file import ReadLimits, open_input
from eenet_runtime.files.nifti import read_header, read_volume
from eenet_runtime.printable import printable
from eenet_runtime.volumes.labels import Modality
from tests.synthetic import make_head, write_case, write_volume

VOXELS: NDArray[np.int16] = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
HOSTILE_NAMES = (
    "two\nlines",
    "\x1b[2Jcleared",
    "\u202etxt.exe",
    "$(touch owned); rm -rf *",
    "=HYPERLINK(1)",
    "-rf",
    "Müller 患者",
    b"M\xfcller".decode("utf-8", "surrogateescape"),
)


def bomb(shape: tuple[int, ...], content: int, dtype: Any = np.int16) -> bytes:
    """A gzip file whose header announces a shape and which holds so many zeros."""
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header.set_sform(np.eye(4), 1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    start = header.binaryblock + bytes(4)
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1, mtime=0) as stream:
        stream.write(start)
        for _ in range(content >> 20):
            stream.write(bytes(1 << 20))
        stream.write(bytes(content & ((1 << 20) - 1)))
    return packed.getvalue()


def refusal(path: Path, limits: ReadLimits | None = None) -> str:
    """The line with which a file is refused, at the cost of less than 4 MiB."""
    tracemalloc.start()
    try:
        with pytest.raises(CaseError) as caught:
            read_volume(path, limits or ReadLimits())
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert message.isprintable()
    return message


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda path: os.mkfifo(path), "a pipe"),
        (lambda path: path.mkdir(), "a folder"),
        (lambda path: path.symlink_to("/dev/zero"), "a device"),
    ],
    ids=["a pipe that nobody writes to", "a folder", "a device without end"],
)
def test_what_is_no_file_is_refused_and_nobody_waits(tmp_path: Path, make: Any, kind: str) -> None:
    path = tmp_path / "A_t1.nii.gz"
    make(path)
    assert f"{kind} found, expected a regular file" in refusal(path)
    with pytest.raises(CaseError, match=kind):
        read_header(path)


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the address of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("A.nii")
        assert "a socket found" in refusal(Path("A.nii"))


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_volume(tmp_path / "A.nii", VOXELS, np.eye(4))

    def deny(*arguments: Any) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", deny)  # tests may run as root, whom no permission stops
    assert "cannot be read (Permission denied)" in refusal(path)


def test_an_empty_file_and_a_name_that_is_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "A.nii").touch()
    assert "the file is empty" in refusal(tmp_path / "A.nii")
    assert "A\\x00.nii" in refusal(tmp_path / "A\0.nii")
    assert "cannot be read" in refusal(tmp_path / f"{'A' * 300}.nii")


def test_a_link_in_a_circle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "A.nii").symlink_to(tmp_path / "B.nii")
    (tmp_path / "B.nii").symlink_to(tmp_path / "A.nii")
    assert "links in a circle found" in refusal(tmp_path / "A.nii")


@pytest.mark.parametrize("change", ["grow", "shrink", "rewrite"])
@pytest.mark.parametrize("name", ["A.nii", "A.nii.gz"])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, name: str, change: str) -> None:
    path = write_volume(tmp_path / name, np.zeros((60, 60, 60), np.float32) + 1, np.eye(4))
    size = path.stat().st_size
    with open_input(path) as file:
        file.read(348)
        if change == "grow":
            with path.open("ab") as stream:
                stream.write(b"more")
        elif change == "shrink":
            os.truncate(path, size - 1)
        else:
            path.write_bytes(bytes(size))
            os.utime(path, ns=(1, 1))
        with pytest.raises(CaseError, match="was changed while it was read"):
            file.finish()


def test_a_header_that_announces_gigabytes_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "A.nii.gz"
    path.write_bytes(bomb((2000, 2000, 60), 1000))
    assert "its header announces 480000000 of voxels: truncated" in refusal(path)
    path.write_bytes(bomb((32767, 32767, 32767), 1000))
    assert "expected a head MRI: at most 2048 along an axis" in refusal(path)
    path.write_bytes(bomb((2000, 2000, 2000), 1000))
    assert "268435456 in all" in refusal(path)


def test_a_stream_stops_at_what_its_header_announces(tmp_path: Path) -> None:
    path = tmp_path / "A.nii.gz"
    path.write_bytes(bomb((64, 64, 64), 100 << 20))
    assert path.stat().st_size < 1 << 20
    assert "more bytes found after the 524288 bytes of voxels" in refusal(path)


def test_a_large_image_is_not_compressed_to_nothing(tmp_path: Path) -> None:
    path = tmp_path / "A.nii.gz"
    path.write_bytes(bomb((200, 200, 200), 16_000_000))
    assert "expected at most 200 for each byte" in refusal(path, ReadLimits(small_bytes=1 << 20))
    assert not read_volume(path).data.any()  # small enough to be read all the same


def test_a_file_of_nothing_but_empty_members_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "A.nii.gz"
    path.write_bytes(bomb((4, 4, 4), 128) + gzip.compress(b"", mtime=0) * 2000)
    assert "bytes of gzip found for 128 bytes of voxels" in refusal(path, ReadLimits(header_bytes=1 << 14))
    assert read_volume(path).data.shape == (4, 4, 4)


def test_every_limit_is_one_that_a_caller_may_set(tmp_path: Path) -> None:
    path = write_volume(tmp_path / "A.nii.gz", np.ones((8, 8, 30), np.int16), np.eye(4))
    read_volume(path, ReadLimits(axis=30, voxels=1920, voxel_bytes=3840, file_bytes=path.stat().st_size))
    for limits in (
        ReadLimits(axis=29),
        ReadLimits(voxels=1919),
        ReadLimits(voxel_bytes=3839),
        ReadLimits(file_bytes=path.stat().st_size - 1),
    ):
        assert "expected a head MRI" in refusal(path, limits)
    assert "not read within 0 s" in refusal(path, ReadLimits(seconds=0))


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_name_is_only_a_name(tmp_path: Path, name: str) -> None:
    path = write_volume(tmp_path / f"{name}_t1.nii.gz", VOXELS, np.eye(4))
    np.testing.assert_array_equal(read_volume(path).data, VOXELS)
    path.write_bytes(b"no image")
    message = refusal(path)
    assert message.encode()  # whatever the name holds, it can be written to any log
    assert message.startswith(printable(str(path)))


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_case_of_any_name_is_found(tmp_path: Path, name: str) -> None:
    write_case(tmp_path, name, make_head((14, 16, 12)), "flat", label=False)
    assert [case.case_id for case in find_cases(tmp_path).cases] == [name]


def test_a_pipe_among_the_files_of_a_case_is_no_file(tmp_path: Path) -> None:
    write_case(tmp_path, "A", make_head((14, 16, 12)), "flat", label=False)
    (tmp_path / "A_t1.nii.gz").unlink()
    os.mkfifo(tmp_path / "A_t1.nii.gz")
    (refused,) = find_cases(tmp_path).refused
    assert refused.reason == f"{tmp_path / 'A_t1.nii.gz'}: a pipe found, expected a regular file"


@given(st.text(st.characters()))
def test_printable_text_is_one_line_and_printable_to_begin_with(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert printable(shown) == shown
    assert text != shown or text.isprintable()


def test_every_refusal_is_one_line() -> None:
    assert str(EENetError("a\nb\x1b[1m\u2028\u202e\udcff")) == "a\\nb\\x1b[1m\\u2028\\u202e\\xff"


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_link_out_of_a_drop_folder_gets_no_mask(tmp_path: Path, what: str) -> None:
    head, drop = make_head((14, 16, 12)), tmp_path / "drop"
    write_case(tmp_path / "elsewhere", "A", head, label=False)
    write_case(drop, "B", head, label=False)
    if what == "folder":
        (drop / "A").symlink_to(tmp_path / "elsewhere" / "A")
    else:
        write_case(drop, "A", head, label=False)
        (drop / "A" / "A_t2.nii.gz").unlink()
        (drop / "A" / "A_t2.nii.gz").symlink_to(tmp_path / "elsewhere" / "A" / "A_t2.nii.gz")
    found = find_cases(drop, links_out=False)
    assert [case.case_id for case in found.cases] == ["B"]
    (refused,) = found.refused
    assert refused.case_id == "A"
    assert "a link that leads out of" in refused.reason
    assert "elsewhere" not in refused.reason  # where it leads may be somebody else's name
    assert len(find_cases(drop).cases) == 2


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("layout", ["brats2020", "msd"])
def test_a_label_that_a_link_takes_out_of_a_drop_folder_refuses_its_case(
    tmp_path: Path, layout: str, there: bool
) -> None:
    # It would be read, hashed and compared with the mask. Whether anything lies out there is nobody's business either.
    drop = tmp_path / "drop"
    write_case(drop, "BRATS_001", make_head((14, 16, 12)), layout)
    label = find_cases(drop).cases[0].label
    assert label is not None
    label.rename(tmp_path / "elsewhere.nii.gz") if there else label.unlink()
    label.symlink_to(tmp_path / "elsewhere.nii.gz")
    (refused,) = find_cases(drop, links_out=False).refused
    assert refused.reason == f"{label}: a link that leads out of {drop}, expected the file itself or a copy"
    assert len(find_cases(drop).cases) == 1


def test_a_dataset_json_that_a_link_takes_out_of_a_drop_folder_refuses_its_cases(tmp_path: Path) -> None:
    drop = tmp_path / "drop"
    write_case(drop, "BRATS_001", make_head((14, 16, 12)), "msd", label=False)
    (drop / "dataset.json").rename(tmp_path / "elsewhere.json")
    (drop / "dataset.json").symlink_to(tmp_path / "elsewhere.json")
    (refused,) = find_cases(drop, links_out=False).refused
    assert "dataset.json: a link that leads out of" in refused.reason
    assert len(find_cases(drop).cases) == 1


def test_a_link_within_a_drop_folder_is_followed(tmp_path: Path) -> None:
    write_case(tmp_path / "store", "A", make_head((14, 16, 12)), label=False)
    (tmp_path / "drop").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "A" / "A_t2.nii.gz").rename(tmp_path / "store" / "object")
    (tmp_path / "store" / "A" / "A_t2.nii.gz").symlink_to(tmp_path / "store" / "object")
    assert len(find_cases(tmp_path / "drop", links_out=False).cases) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"modality": ' + b'{"0": ' * 50_000,
        b'{"modality": {"0": "T1", "1": "T1ce", "2": "T2", "3": "FLAIR"}, "labels": {"edema": "\xc2\xb2"}}',
        b'{"modality": {"0": "T1", "1": "T1ce", "2": "T2", "3": "FLAIR"}, "labels": {"' + b"9" * 5000 + b'": "edema"}}',
        b'{"modality": {"0": ' + b"9" * 5000 + b"}}",
        b'{"modality": {"0": "' + b"X" * 50_000 + b'"}}',
        b'{"modality": {"0": {"0": [null]}}}',
        b"\xff\xfe",
        b"null",
        b"",
    ],
    ids=range(10),
)
def test_a_hostile_dataset_json_is_refused_in_one_short_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "dataset.json"
    path.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        read_dataset_json(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["T1", "edema", "0", "3"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["0", "1", "edema", "x"]), inner),
    max_leaves=8,
)


# Nearly right ones, too: what is made of any JSON alone is hardly ever understood.
CHANNEL_NAMES = st.fixed_dictionaries(
    {str(index): st.sampled_from(["T1", "T1ce", "T2", "FLAIR"]) for index in range(4)}
)
LABELS = st.fixed_dictionaries(
    {name: st.sampled_from([0, 1, 2, 3, 255, 256]) for name in ("edema", "necrosis", "enhancing tumor")}
)


@settings(max_examples=80)
@given(modality=JSON | CHANNEL_NAMES, labels=JSON | LABELS)
def test_a_dataset_json_of_any_content_is_understood_or_refused(
    modality: Any, labels: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "dataset.json"
    four = {"0": "T1", "1": "T1ce", "2": "T2", "3": "FLAIR"}
    for content in ({"modality": modality}, {"modality": four, "labels": labels}):
        path.write_text(json.dumps(content))
        with contextlib.suppress(DatasetError):
            understood = read_dataset_json(path)
            assert sorted(understood.channels) == sorted(Modality)
            values = (understood.scheme.ncr, understood.scheme.ed, understood.scheme.et)
            assert len({0, *values}) == 4
            assert all(0 < value < 256 for value in values)


def test_a_hash_is_that_of_the_bytes_however_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "A.nii.gz"
    path.write_bytes(bomb((200, 200, 200), 16_000_000) + bytes(700_000))  # a gzip file may end in zeros
    assert read_volume(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_name_without_end_in_a_gzip_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "A.nii.gz"
    path.write_bytes(struct.pack("<4sI2s", b"\x1f\x8b\x08\x08", 0, b"\0\xff") + b"a" * 2_000_000)
    assert "damaged or truncated gzip stream" in refusal(path)
