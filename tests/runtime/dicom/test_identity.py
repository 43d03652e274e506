"""The identifiers of an object in memory: right, or refused without a word of what it holds."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileDataset
from pydicom.uid import (
    RE_VALID_UID,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from eenet_runtime.dicom.identity import Identity, read_file_identity, read_identity, transfer_syntax_of
from eenet_runtime.dicom.instance import NotReadableError
from tests.dicom_studies import FakeSeries, datasets

ONE = datasets(FakeSeries(shape=(1, 10, 12)))[0]


def content_of(dataset: FileDataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


WHOLE = content_of(ONE)


def test_the_identifiers_are_those_of_the_object() -> None:
    assert read_identity(WHOLE, ExplicitVRLittleEndian) == Identity(
        ONE.SOPClassUID, ONE.SOPInstanceUID, ONE.StudyInstanceUID, ONE.SeriesInstanceUID
    )


def test_a_file_says_its_transfer_syntax_too(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(WHOLE)
    identity, syntax = read_file_identity(tmp_path / "one")
    assert (identity.sop_uid, syntax) == (ONE.SOPInstanceUID, ExplicitVRLittleEndian)
    (tmp_path / "none").write_bytes(b"text" * 100)
    with pytest.raises(NotReadableError, match="no DICOM file"):
        read_file_identity(tmp_path / "none")


def test_implicit_representations_are_read_as_well() -> None:
    one = datasets(FakeSeries(shape=(1, 10, 12)))[0]
    one.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    content = content_of(one)
    assert read_identity(content, ImplicitVRLittleEndian).series_uid == one.SeriesInstanceUID
    assert transfer_syntax_of(content) == ImplicitVRLittleEndian


def test_deflate_is_refused_before_it_is_looked_at() -> None:
    with pytest.raises(NotReadableError, match="deflated"):
        read_identity(b"", DeflatedExplicitVRLittleEndian)


def test_sequences_nested_too_deeply_are_refused() -> None:
    level = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    start = WHOLE.index(b"\x08\x00\x05\x00CS")
    with pytest.raises(NotReadableError, match="nested too deeply"):
        read_identity(WHOLE[:start] + level * 900 + WHOLE[start:], ExplicitVRLittleEndian)


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_an_identifier_that_is_none_is_refused_by_name_and_not_quoted(keyword: str) -> None:
    one = datasets(FakeSeries(shape=(1, 10, 12)))[0]
    setattr(one, keyword, UID("../../Canary"))
    with pytest.raises(NotReadableError, match=f"^no valid {keyword}$"):
        read_identity(content_of(one), ExplicitVRLittleEndian)


@given(st.integers(0, len(WHOLE)), st.binary(max_size=40))
@settings(max_examples=150)
def test_damaged_bytes_give_the_identifiers_or_a_refusal_that_quotes_nothing(place: int, damage: bytes) -> None:
    content = WHOLE[:place] + damage + WHOLE[place + len(damage) :]
    refused, found = "", None
    try:
        found = read_identity(content, ExplicitVRLittleEndian)
    except NotReadableError as error:
        refused = str(error)
    assert "Canary" not in refused
    assert found is None or all(re.fullmatch(RE_VALID_UID, text) for text in vars(found).values())
