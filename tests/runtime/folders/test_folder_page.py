"""The page of a folder: everything in it, nothing from elsewhere, and no stranger's text ever a tag."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import time
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import pytest

from eenet_runtime.cases.discovery import find_cases
from eenet_runtime.errors import DatasetError, OutputError
from eenet_runtime.folders.folder import FolderSettings, segment_folder
from eenet_runtime.folders.folder_page import PAGE_NAME, write_folder_page
from eenet_runtime.folders.outcomes import CaseOutcome
from eenet_runtime.results.report import REPORT_SCHEMA_VERSION
from eenet_runtime.results.result_files import ResultPaths, segment_to_files
from eenet_runtime.segmenter.segmenter import Segmenter
from tests.synthetic import Head, write_case

HOSTILE = (
    "<script>alert(1)<!--",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</td></table></body>",
    "javascript:alert(1)",
    "a&lt;b&#60;",
    "%2e%2e?#x",
    "line\nbreak\x1b[31m",
    "\u202egnp",
    b"M\xfcller".decode("utf-8", "surrogateescape"),
)


class Page(HTMLParser):
    """Tags with their attributes, and the text of each element that the tests ask for."""

    VOID = frozenset({"meta", "img", "input", "br"})

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in self.open:
            self.texts[tag][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def write_report(output: Path, case_id: str, *, picture: bool = True, **changes: Any) -> None:
    """A report, its mask, and the first bytes of a picture, as a run would have left them."""
    mask = output / f"{case_id}.nii.gz"
    mask.write_bytes(os.fsencode(case_id))
    outputs: dict[str, Any] = {"mask": {"file": mask.name, "sha256": hashlib.sha256(mask.read_bytes()).hexdigest()}}
    if picture:
        size = (1106).to_bytes(4, "big") + (966).to_bytes(4, "big")
        (output / f"{case_id}.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + size)
        outputs["preview"] = {"file": f"{case_id}.png", "sha256": "00"}
    engine = {"backend": "openvino", "version": "2026.4", "precision": "fp32", "device": "cpu (2 threads)"}
    content = {
        "schema_version": REPORT_SCHEMA_VERSION,
        "case_id": case_id,
        "inputs": {},
        "label": None,
        "bundle": {"name": "tiny", "id": "ab" * 32, "signature": "not signed"},
        "engine": engine,
        "settings": {},
        "outputs": outputs,
        "mask": outputs["mask"],
        "volumes_ml": {"ET": 1.26, "TC": 2.5, "WT": 40.04},
        "components": 1,
        "cleaning": {},
        "head_voxels_outside": 0,
        "warnings": [],
        "seconds": {"read": 0.5, "network": 3.0},
        "dice": None,
        "eenet_version": "9.8.7",
        "created": "2024-01-01T00:00:00+00:00",
        **changes,
    }
    (output / f"{case_id}.json").write_text(json.dumps(content))


def write_refused(output: Path, *refused: tuple[str, str], ignored: Sequence[str] = ()) -> None:
    cases = [
        {"case_id": name, "status": "refused", "code": "missing-modality", "reason": reason} for name, reason in refused
    ]
    (output / "summary.json").write_text(json.dumps({"cases": cases, "ignored_files": list(ignored)}))


def page_of(output: Path, title: str = "Segmentation") -> Page:
    return Page(write_folder_page(output, title).read_text(encoding="utf-8"))


def test_a_run_is_shown_with_pictures_volumes_dice_and_times(segmenter: Segmenter, head: Head, tmp_path: Path) -> None:
    write_case(tmp_path / "in", "A", head)
    write_case(tmp_path / "in", "B", head, label=False)
    output = tmp_path / "out"
    output.mkdir()
    for files in find_cases(tmp_path / "in").cases:
        report = segment_to_files(segmenter, files, ResultPaths.in_folder(output, files.case_id))
    page = page_of(output)
    first, second = page.texts["tbody"][1].strip().splitlines()
    assert first.startswith("Amaskreport")
    assert f"{report.volumes_ml['WT']:.1f}" in first
    assert "1.000" in first
    assert "1.000" not in second
    assert segmenter.backend.name in page.texts["tbody"][0]
    assert [image["src"] for image in page.all("img")] == ["./A.png", "./B.png"]
    for address in (link["href"] for link in page.all("a")):
        assert address is not None
        assert (output / address).is_file()
    stages = [row.split()[0] for row in page.texts["tbody"][-1].split("%") if row.split()]
    assert [stage.rstrip("0123456789.") for stage in stages] == list(report.seconds)


def test_figures_are_those_of_the_reports(tmp_path: Path) -> None:
    write_report(tmp_path, "A", dice={"ET": 0.5, "TC": 0.75, "WT": 0.875}, warnings=["odd"])
    write_report(tmp_path, "B", volumes_ml={"ET": 0, "TC": 0, "WT": 0}, seconds={"read": 1.0, "network": 5.5})
    write_refused(tmp_path, ("C", "no t2 found"), ignored=["/in/x.nii"])
    page = page_of(tmp_path, "Night run")
    assert page.texts["h1"] == page.texts["title"] == ["Night run"]
    totals = dict(zip(page.texts["dt"], page.texts["dd"], strict=True))
    assert totals == {
        "segmented": "2",
        "refused": "1",
        "with suspicions": "0",
        "with warnings": "1",
        "without tumour": "1",
        "seconds for a case, median": "5.0",
        "mean Dice ET, 1 case": "0.500",
        "mean Dice TC, 1 case": "0.750",
        "mean Dice WT, 1 case": "0.875",
    }
    made_with, refused, cases, stages = page.texts["tbody"]
    assert "openvino 2026.4, fp32" in made_with
    assert "9.8.7" in made_with
    assert refused.split() == ["C", "missing-modalityno", "t2", "found"]
    assert cases.strip().splitlines()[0] == "Amaskreport1.32.540.00.5000.7500.8753.5notice: odd"
    assert stages.split() == ["read0.751.001.5015.0", "%", "network4.255.508.5085.0", "%"]
    assert "NOT FOR DIAGNOSIS" in page.texts["body"][0]
    assert "Newest result: 2024-01-01T00:00:00+00:00." in page.texts["footer"][0]
    assert "/in/x.nii" in page.texts["details"][0]


def test_bars_are_as_long_as_their_share_of_the_slowest_case(tmp_path: Path) -> None:
    write_report(tmp_path, "A", seconds={"read": 1.0, "network": 3.0})
    write_report(tmp_path, "B", seconds={"network": 8.0})
    styles = [str(span.get("style")) for span in page_of(tmp_path).all("span") if span.get("title")]
    assert [float(re.findall(r"width:([\d.]+)%", style)[0]) for style in styles] == [12.5, 37.5, 100.0]
    assert styles[1].split("background:")[1] == styles[2].split("background:")[1]


def test_two_engines_or_models_are_told_apart_and_counted(tmp_path: Path) -> None:
    write_report(tmp_path, "A")
    write_report(tmp_path, "B")
    write_report(tmp_path, "C", bundle={"name": "other", "id": "cd"})
    rows = page_of(tmp_path).texts["tbody"][0].strip().splitlines()
    assert [(row[:4], row[-1]) for row in rows] == [("tiny", "2"), ("othe", "1")]


def test_a_case_whose_mask_was_changed_is_no_longer_shown_as_done(tmp_path: Path) -> None:
    write_report(tmp_path, "A")
    write_report(tmp_path, "B")
    (tmp_path / "B.nii.gz").write_bytes(b"something else")
    page = page_of(tmp_path)
    assert [image["src"] for image in page.all("img")] == ["./A.png"]
    assert "not the file that its report describes" in page.texts["tbody"][1]


@pytest.mark.parametrize("name", ["no picture was asked for", "the picture is gone", "it is no picture"])
def test_a_case_without_a_picture_says_so(tmp_path: Path, name: str) -> None:
    write_report(tmp_path, "A", picture=name != "no picture was asked for")
    if name == "the picture is gone":
        (tmp_path / "A.png").unlink()
    if name == "it is no picture":
        (tmp_path / "A.png").write_bytes(b"GIF89a")
    page = page_of(tmp_path)
    assert not page.all("img")
    assert "no picture" in page.texts["tbody"][1]


def test_suspicions_come_first_and_are_told_from_notices_in_words(tmp_path: Path) -> None:
    write_report(
        tmp_path, "A", warnings=["resampled", "the T2 may be another image"], suspicions=["the T2 may be another image"]
    )
    write_report(tmp_path, "B", warnings=["resampled"], warning_codes=["resampled"])
    page = page_of(tmp_path)
    shown = ["suspicion: the T2 may be another image", "notice: resampled", "notice: resampled resampled"]
    assert page.texts["li"] == shown
    assert page.texts["code"] == ["resampled"]
    assert [item["class"] for item in page.all("li")] == ["suspicion", "notice", "notice"]
    assert dict(zip(page.texts["dt"], page.texts["dd"], strict=True))["with suspicions"] == "1"
    assert ["data-suspect" in row for row in page.all("tr") if "data-warned" in row] == [True, False]


# Strangers' text


@pytest.mark.parametrize("text", HOSTILE)
def test_names_warnings_and_reasons_are_text_and_nothing_else(tmp_path: Path, text: str) -> None:
    name = text.replace("/", "_")
    write_report(tmp_path, "A")
    write_report(tmp_path, "B", warnings=["odd"])
    write_refused(tmp_path, ("C", "no"), ignored=["x.nii"])
    harmless = page_of(tmp_path, "T")
    for path in tmp_path.iterdir():
        path.unlink()
    write_report(tmp_path, "A")
    write_report(
        tmp_path,
        name,
        warnings=[text],
        bundle={"name": text, "id": text, "signature": text},
        engine={"backend": text, "version": text, "precision": text, "device": text, "self_test": text},
        seconds={text: 1.0, "network": 2.0},
        eenet_version=text,
    )
    write_refused(tmp_path, (text, text), ("C", text), ignored=[text])
    page = page_of(tmp_path, text)
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in harmless.tags}
    assert len(page.all("script")) == 1
    assert page.texts["script"] == harmless.texts["script"]
    for tag, attributes in page.tags:
        assert not any(attribute.startswith("on") for attribute in attributes), (tag, attributes)
    shown = page.texts["li"][0]
    assert shown.isprintable()
    if text.isprintable():
        assert shown == f"notice: {text}"
        assert page.texts["h1"] == [text]


@pytest.mark.parametrize("name", [name.replace("/", "_") for name in HOSTILE])
def test_links_lead_to_the_files_beside_the_page_whatever_their_names(tmp_path: Path, name: str) -> None:
    write_report(tmp_path, name)
    page = page_of(tmp_path)
    addresses = [str(link["href"]) for link in page.all("a")] + [str(image["src"]) for image in page.all("img")]
    assert len(addresses) == 4
    for address in addresses:
        parts = urlsplit(address)
        assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
        assert (tmp_path / os.fsdecode(unquote_to_bytes(parts.path))).is_file()


def test_the_page_loads_nothing_from_elsewhere_and_runs_its_own_script_only(tmp_path: Path) -> None:
    write_report(tmp_path, "A")
    path = write_folder_page(tmp_path)
    text = path.read_text()
    page = Page(text)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        assert "src" not in attributes or tag == "img"
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    digest = base64.b64encode(hashlib.sha256(page.texts["script"][0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


@pytest.mark.parametrize(
    "changes",
    [
        {"volumes_ml": {"ET": "<b>", "TC": None, "WT": float("nan")}},
        {"seconds": {"read": "1", "network": True, "clean": float("inf")}},
        {"dice": {"ET": [], "TC": {}, "WT": -1}},
        {"outputs": {"mask": [], "preview": {"file": "../../etc/passwd"}}},
        {"outputs": {"preview": {"file": 7}, "probabilities": {"file": "\ud800"}}},
        {"warnings": [1, None, {"a": "<i>"}]},
        {"bundle": {"name": ["<i>"]}, "engine": {}},
    ],
)
def test_a_report_with_odd_contents_gives_a_page_all_the_same(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_report(tmp_path, "A", **changes)
    page = page_of(tmp_path)
    assert not {"b", "i"} & {tag for tag, _ in page.tags}
    assert all(".." not in str(link["href"]) for link in page.all("a"))


def test_whoever_cannot_see_the_page_can_read_it(tmp_path: Path) -> None:
    write_report(tmp_path, "A")
    write_refused(tmp_path, ("C", "no"))
    page = page_of(tmp_path)
    assert page.all("html") == [{"lang": "en"}]
    assert all("A" in str(image["alt"]) for image in page.all("img"))
    assert {cell.get("scope") for cell in page.all("th")} == {"col", "row"}
    assert len(page.all("caption")) == len(page.all("table")) == 4
    assert len(page.all("label")) == len(page.all("input")) == 3
    bar = next(span for span in page.all("span") if span.get("role") == "img")
    assert bar["aria-label"] == "read 0.50 s, network 3.00 s"


# The file


@pytest.mark.alone
def test_a_thousand_cases_are_a_megabyte_or_two_and_their_pictures_wait(tmp_path: Path) -> None:
    for index in range(1000):
        write_report(tmp_path, f"Case_{index:04d}", warnings=["resampled to 2 mm and back"])
    start = time.process_time()
    path = write_folder_page(tmp_path)
    assert time.process_time() - start < 5
    assert path.stat().st_size < 2_500_000
    images = Page(path.read_text()).all("img")
    assert len(images) == 1000
    for image in images:
        assert (image["loading"], image["width"], image["height"]) == ("lazy", "1106", "966")


def test_the_page_can_be_made_again_and_is_the_same(tmp_path: Path) -> None:
    write_report(tmp_path, "A")
    first = write_folder_page(tmp_path).read_bytes()
    assert write_folder_page(tmp_path).read_bytes() == first
    assert {path.name for path in tmp_path.iterdir()} == {"A.nii.gz", "A.png", "A.json", PAGE_NAME}


def test_a_new_run_takes_an_old_page_away_before_its_first_case(
    segmenter: Segmenter, head: Head, tmp_path: Path
) -> None:
    write_case(tmp_path / "in", "A", head)
    output = tmp_path / "out"
    seen: list[bool] = []

    def look(_count: int, _total: int | None, _outcome: CaseOutcome) -> None:
        seen.append((output / PAGE_NAME).exists())

    segment_folder(segmenter, tmp_path / "in", output, FolderSettings(html=True), look)
    assert (output / PAGE_NAME).exists()
    segment_folder(segmenter, tmp_path / "in", output, FolderSettings(), look)
    assert not (output / PAGE_NAME).exists()
    assert seen == [False, False]


def test_shards_share_a_page(tmp_path: Path) -> None:
    write_report(tmp_path, "A")
    write_refused(tmp_path, ("B", "one"))
    (tmp_path / "summary.json").rename(tmp_path / "summary-1-of-2.json")
    write_refused(tmp_path, ("C", "two"))
    (tmp_path / "summary.json").rename(tmp_path / "summary-2-of-2.json")
    assert page_of(tmp_path).texts["tbody"][1].split() == ["B", "missing-modalityone", "C", "missing-modalitytwo"]


def test_only_refused_cases_make_a_page_too(tmp_path: Path) -> None:
    write_refused(tmp_path, ("B", "one"))
    page = page_of(tmp_path)
    assert page.texts["dd"][:2] == ["0", "1"]
    assert not [table for table in page.all("table") if table.get("id") == "cases"]


def test_a_folder_of_something_else_has_no_page(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(DatasetError, match="no report and no summary found"):
        write_folder_page(tmp_path)
    with pytest.raises(DatasetError, match="no such folder"):
        write_folder_page(tmp_path / "nowhere")
    assert not (tmp_path / PAGE_NAME).exists()


def test_a_page_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    write_report(tmp_path, "A")
    (tmp_path / PAGE_NAME).mkdir()
    with pytest.raises(OutputError, match=r"index\.html: cannot be written"):
        write_folder_page(tmp_path)
