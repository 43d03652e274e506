"""Identifiers follow from what a result was made from, and from nothing else."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from eenet_runtime.dicom.writing.identifiers import ResultIdentifiers, device_uid, result_identifiers, tracking
from eenet_runtime.dicom.writing.model_identity import ModelIdentity
from eenet_runtime.dicom.writing.saving import save_dataset
from eenet_runtime.errors import OutputError
from eenet_runtime.volumes.labels import Label, Region
from tests.dicom_results import MODEL

SETTINGS = {"pose": "native", "strip": "deepbet"}


def made(study: str = "1.2.3", files: tuple[str, ...] = ("1.4", "1.5"), bundle: str = "b1", **more: str) -> str:
    return result_identifiers(study, files, bundle, {**SETTINGS, **more}).uid("seg")


def test_identifiers_of_today_are_those_of_every_later_day() -> None:
    # A PACS holds them: another value would make a second object of one result.
    assert made() == "2.25.149958304671538218151103587834187423718"
    assert device_uid("0123456789abcdef") == "2.25.337388457167324635809634045793544498178"


def test_the_order_of_files_and_settings_changes_nothing() -> None:
    turned = result_identifiers("1.2.3", ["1.5", "1.4", "1.5"], "b1", dict(reversed(SETTINGS.items())))
    assert turned.uid("seg") == made()


def test_whatever_changes_the_result_changes_its_identifiers() -> None:
    others = [made(study="1.2.4"), made(files=("1.4",)), made(bundle="b2"), made(pose="brats"), made(engine="x")]
    assert len({made(), *others}) == 6


def test_roles_have_identifiers_of_their_own_that_are_uuids() -> None:
    ids = ResultIdentifiers("ab" * 32)
    found = [ids.uid(role) for role in ("seg", "seg-series", "report", "preview")]
    assert len(set(found)) == 4
    for uid in found:
        assert UID(uid).is_valid
        number = uuid.UUID(int=int(uid.removeprefix("2.25.")))
        assert (number.variant, number.int >> 76 & 0xF) == (uuid.RFC_4122, 8)


def test_a_class_and_the_region_of_its_name_are_one_finding() -> None:
    ids = ResultIdentifiers("ab" * 32)
    assert tracking(ids, Label.ET) == tracking(ids, Region.ET) == ("EENet ET", ids.uid("tracking-ET"))
    assert len({tracking(ids, finding).uid for finding in (Label.NCR, Label.ED, Label.ET, Region.TC, Region.WT)}) == 5


def test_every_model_is_a_device_of_its_own() -> None:
    assert device_uid("0123456789abcdef") != device_uid("0123456789abcdee")


def test_what_a_model_is_called_fits_dicoms_texts() -> None:
    model = ModelIdentity("näme\\with" + "x" * 80, "b1", "0.1.0", "engine\n1", "int8")
    for text in (model.model_name, *model.software_versions, *model.parameters.values()):
        assert text.isascii()
        assert text.isprintable()
        assert "\\" not in text
        assert len(text) <= 64
    assert MODEL.model_name == "EENet eenet-demo"


def test_an_object_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"nowhere/seg\.dcm: cannot be written"):
        save_dataset(_whole(Dataset()), tmp_path / "nowhere" / "seg.dcm")
    with pytest.raises(ValueError, match="Transfer Syntax"):
        save_dataset(Dataset(), tmp_path / "seg.dcm")
    assert list(tmp_path.iterdir()) == []


def _whole(dataset: Dataset) -> Dataset:
    dataset.SOPClassUID, dataset.SOPInstanceUID = UID("1.2.840.10008.5.1.4.1.1.66.4"), UID("1.2.3")
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1")
    return dataset
