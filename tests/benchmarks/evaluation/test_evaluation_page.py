"""The page of an evaluation: whole, self-contained, escaped, and readable without seeing colours or pictures."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from eenet_bench.evaluation.box_plots import Group, box_plot, distance_axis, share_axis
from eenet_bench.evaluation.error_pictures import (
    ErrorPicture,
    largest_error_centre,
    render_error,
    worst_case_pictures,
)
from eenet_bench.evaluation.evaluate import CaseEvaluation, evaluate_folder
from eenet_bench.evaluation.evaluation_page import evaluation_page
from eenet_bench.evaluation.evaluation_report import write_evaluation
from eenet_bench.evaluation.lesionwise import LesionMetrics
from eenet_bench.evaluation.metrics import RegionMetrics
from eenet_runtime.pictures.colours import PREDICTION_COLOUR, TRUTH_COLOUR
from eenet_runtime.volumes.labels import BRATS2020, Label, Region
from tests.synthetic import make_head, write_case, write_volume

EVIL = '<script>alert("A & B")</script>'
_VOID = {"meta", "img"}


class _Page(HTMLParser):
    """Reads a page, insists that every element is closed, and keeps elements, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def _result(case_id: str, dice: float, hd95_mm: float | None = 2.0) -> CaseEvaluation:
    names = [region.value for region in Region]
    metrics = RegionMetrics(dice, hd95_mm, directed_hd95_mm=5.0, sensitivity=0.5, specificity=0.99999)
    matched = LesionMetrics(dice, hd95_mm, true_positives=1, false_positives=4, false_negatives=2)
    grouped = LesionMetrics(dice / 2, 4.0, true_positives=2, false_positives=0, false_negatives=1)
    return CaseEvaluation(
        case_id, dict.fromkeys(names, metrics), dict.fromkeys(names, matched), dict.fromkeys(names, grouped)
    )


@pytest.fixture
def page() -> _Page:
    results = [_result("A", 0.5), _result("B", 0.9, 373.13), CaseEvaluation("C", reason="C.nii.gz: <no mask>")]
    picture = ErrorPicture(
        "A", Region.ET, "Dice 0.500", "slices of A", render_error(None, *_masks(), (1, 1, 1), (8, 8, 8))
    )
    return _Page(evaluation_page(results, [picture]))


def _masks() -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    mask, truth = np.zeros((2, 16, 16, 16), np.bool_)
    mask[4:8, 4:12, 4:12] = truth[6:12, 4:12, 4:12] = True
    return mask, truth


def test_the_page_loads_nothing_from_anywhere(page: _Page) -> None:
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in page.elements}
    for _, attributes in page.elements:
        assert not {"srcset", "href", "action", "background"} & set(attributes)
        assert (attributes.get("src") or "data:").startswith("data:")
    assert not re.search(r"url\(|@import", page.text)


def test_the_page_has_summary_plots_pictures_cases_and_reasons(page: _Page) -> None:
    for heading in ("Summary", "Distributions", "Worst cases", "Cases", "Not evaluated"):
        assert heading in page.text
    assert "Evaluation of 2 cases" in page.text
    assert "1 of 3 could not be evaluated" in page.text
    assert "C.nii.gz: <no mask>" in page.text
    # Nine metrics, each with a point for each of two cases in each of three regions.
    assert len(page.named("svg")) == 9
    assert len(page.named("circle")) == 9 * 2 * 3
    assert "1/4/2" in page.text
    assert "2/0/1" in page.text


def test_the_page_names_both_definitions_of_hd95_and_both_rules_for_lesions(page: _Page) -> None:
    for name in (
        "HD95, pooled (BraTS 2026), mm ET",
        "HD95, directed maximum (BraTS 2023), mm ET",
        "HD95 of matched lesions, pooled (BraTS 2026), mm ET",
        "HD95 of grouped lesions, directed maximum (BraTS 2023), mm ET",
        "lesions matched one to one (BraTS 2026): TP/FP/FN ET",
    ):
        assert name in page.text


def test_a_case_without_a_value_has_no_point_and_a_dash() -> None:
    page = _Page(evaluation_page([_result("A", 0.5), _result("B", 0.9, None)]))
    assert len(page.named("svg")) == 9
    assert len(page.named("circle")) == (9 * 2 - 2) * 3
    nowhere = evaluation_page([_result("B", 0.9, None)])
    assert len(_Page(nowhere).named("svg")) == 7
    # Two figures of three regions: seven numbers each in the summary, and one in the table of cases.
    assert nowhere.count("<td>-</td>") == 2 * 3 * 8


def test_plots_and_pictures_say_in_words_what_they_show(page: _Page) -> None:
    assert all(plot["role"] == "img" for plot in page.named("svg"))
    described = [plot["aria-label"] or "" for plot in page.named("svg")]
    assert "Dice" in described[0]
    assert "ET: median 0.700, quartiles 0.600 and 0.800" in described[0]
    assert [image["alt"] for image in page.named("img")] == ["slices of A"]


def test_pictures_are_inside_the_page(page: _Page) -> None:
    (image,) = page.named("img")
    head, data = (image["src"] or "").split(",")
    assert head == "data:image/png;base64"
    Image.open(io.BytesIO(base64.b64decode(data))).verify()


def test_names_cannot_break_out_of_the_page() -> None:
    picture = ErrorPicture(EVIL, Region.ET, EVIL, EVIL, b"")
    text = evaluation_page([_result(EVIL, 0.5), CaseEvaluation(EVIL, reason=EVIL)], [picture])
    assert "<script" not in text
    page = _Page(text)
    assert page.named("img")[0]["alt"] == EVIL
    # Case table, picture and its caption, refusal and its reason, and a point in each box.
    assert page.text.count(EVIL) == 5 + 27


@pytest.mark.parametrize("results", [[], [CaseEvaluation("C", reason="no mask")], [_result("A", 1.0, 0.0)]])
def test_few_cases_make_a_page_too(results: list[CaseEvaluation]) -> None:
    assert "Evaluation of" in _Page(evaluation_page(results)).text


def test_a_box_lies_between_the_quartiles_and_whiskers_end_at_points() -> None:
    axis = share_axis([0.0, 1.0])
    values = [0.0, 0.5, 0.6, 0.7, 0.8]
    plot = _Page(box_plot("Dice", axis, [Group("ET", "#000", [(f"{v}", v) for v in values])]))
    (box,) = plot.named("rect")
    top, height = float(box["y"] or 0), float(box["height"] or 0)
    assert [top, top + height] == pytest.approx([axis.y(0.7), axis.y(0.5)], abs=0.1)
    # 0.0 lies further than 1.5 boxes below: the lower whisker has no point to reach and stays at the box.
    whiskers = [line for line in plot.named("line") if line.get("x1") == line.get("x2")]
    starts = [float(line["y1"] or 0) for line in whiskers]
    assert starts == pytest.approx([axis.y(0.8), axis.y(0.5)], abs=0.1)
    assert float(whiskers[1]["y2"] or 0) == pytest.approx(axis.y(0.5), abs=0.1)


def test_a_whisker_without_a_point_beyond_its_quartile_has_no_length() -> None:
    axis = share_axis([0.0, 1.0])
    plot = _Page(box_plot("Dice", axis, [Group("ET", "#000", [(f"{v}", v) for v in (0.0, 1.0, 1.0, 1.0)])]))
    whiskers = [line for line in plot.named("line") if line.get("x1") == line.get("x2")]
    # The lower quartile is 0.75 and the fence 0.375: the only point near it, 1.0, is above the quartile.
    assert [float(whiskers[1][end] or 0) for end in ("y1", "y2")] == pytest.approx([axis.y(0.75)] * 2, abs=0.1)


def test_axes_hold_all_values_and_show_differences_near_their_end() -> None:
    assert share_axis([0.3, 1.0]).ticks[0] == 0.0
    assert share_axis([0.9995, 1.0]).ticks[0] == pytest.approx(0.999)
    assert share_axis([1.0]).ticks[0] < 1.0
    assert distance_axis([0.0]).ticks == (0.0, 1.0)
    distances = distance_axis([1.4, 373.13])
    assert distances.ticks[-1] == 400.0
    # On a linear axis the difference of 1 and 5 mm would be a hundredth of the height.
    assert distances.y(1) - distances.y(5) > 0.15 * (distances.y(0) - distances.y(400))


def test_the_planes_go_through_the_largest_error() -> None:
    mask, truth = np.zeros((2, 30, 30, 30), np.bool_)
    truth[5:15, 5:15, 5:15] = True
    mask[5:15, 5:15, 5:15] = True
    mask[2, 2, 2] = True
    mask[20:24, 21:24, 22:24] = True
    x, y, z = largest_error_centre(mask, truth)
    assert x in range(20, 24)
    assert y in range(21, 24)
    assert z in range(22, 24)


def test_the_outlines_have_their_colours_and_agreement_shows_both() -> None:
    mask, truth = _masks()
    pixels = _colours(render_error(None, mask, truth, (1.0, 1.0, 1.0), (7, 8, 8)))
    assert {TRUTH_COLOUR, PREDICTION_COLOUR} <= pixels
    assert PREDICTION_COLOUR not in _colours(render_error(None, ~mask & False, truth, (1.0, 1.0, 1.0), (7, 8, 8)))
    same = _colours(render_error(None, truth, truth, (1.0, 1.0, 1.0), (7, 8, 8)))
    assert {TRUTH_COLOUR, PREDICTION_COLOUR} <= same


def _colours(png: bytes) -> set[tuple[int, ...]]:
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).reshape(-1, 3)
    return {tuple(colour.tolist()) for colour in np.unique(pixels, axis=0)}


def test_thick_slices_keep_their_proportions() -> None:
    mask, truth = np.zeros((2, 20, 20, 8), np.bool_)
    truth[5:15, 5:15, 2:6] = True
    image = Image.open(io.BytesIO(render_error(None, mask, truth, (1.0, 1.0, 2.5), (10, 10, 4))))
    # Three planes of 20 mm by 20 mm with two gaps.
    assert image.width == pytest.approx(3 * image.height, abs=12)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Cases A to C; the mask of A is right, B lacks oedema, C is empty."""
    head = make_head()
    without_oedema = np.where(head.labels == Label.ED, 0, head.labels).astype(np.uint8)
    masks = {"A": head.labels, "B": without_oedema, "C": np.zeros_like(head.labels)}
    for name, labels in masks.items():
        write_case(tmp_path / "cases", name, head)
        write_volume(tmp_path / "masks" / f"{name}.nii.gz", BRATS2020.to_file(labels), head.affine)
    return tmp_path / "masks", tmp_path / "cases"


def test_the_worst_cases_come_first_with_their_worst_region_and_its_best_image(folders: tuple[Path, Path]) -> None:
    masks, cases = folders
    pictures = worst_case_pictures(masks, cases, evaluate_folder(masks, cases))
    assert [(picture.case_id, picture.region) for picture in pictures] == [("C", Region.ET), ("B", Region.WT)]
    assert "T1CE" in pictures[0].caption
    assert "FLAIR" in pictures[1].caption
    assert "ET: Dice 0.000, HD95 373.0 mm pooled, 373.1 mm directed" in pictures[0].caption
    assert len(worst_case_pictures(masks, cases, evaluate_folder(masks, cases), count=1)) == 1


def test_without_images_the_outlines_are_drawn_on_grey(folders: tuple[Path, Path]) -> None:
    masks, cases = folders
    (cases / "C" / "C_t1ce.nii.gz").write_bytes(b"damaged")
    results = evaluate_folder(masks, cases)
    assert {result.reason for result in results} == {""}
    assert "no image" in worst_case_pictures(masks, cases, results)[0].caption
    for name in "ABC":
        for image in (cases / name).glob("*_t*.nii.gz"):
            image.unlink()
        (cases / name / f"{name}_flair.nii.gz").unlink()
    pictures = worst_case_pictures(masks, cases, evaluate_folder(masks, cases))
    assert ["no image" in picture.caption for picture in pictures] == [True, True]


def test_a_mask_that_vanished_costs_its_picture_only(folders: tuple[Path, Path], tmp_path: Path) -> None:
    masks, cases = folders
    results = evaluate_folder(masks, cases)
    (masks / "C.nii.gz").unlink()
    pictures = worst_case_pictures(masks, cases, results)
    assert [picture.case_id for picture in pictures] == ["B"]
    write_evaluation(results, tmp_path / "out", pictures)
    assert len(_Page((tmp_path / "out" / "evaluation.html").read_text()).named("img")) == 1
