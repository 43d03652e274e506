"""Forty header sets of five vendors in six languages, and what each series is: right or ambiguous, never wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eenet_runtime.dicom.frame import Frame
from eenet_runtime.dicom.instance import MR_IMAGE, FileSource, Instance, PixelFormat
from eenet_runtime.dicom.role_rules import Confidence, load_rules
from eenet_runtime.dicom.role_text import normalised
from eenet_runtime.dicom.roles import Decision, decide
from eenet_runtime.dicom.series import Series, Slice
from eenet_runtime.dicom.studies import Answer, answers_of
from eenet_runtime.errors import DatasetError
from eenet_runtime.volumes.labels import Modality

RULES = load_rules()

MPRAGE: dict[str, Any] = {"te": 2.3, "tr": 2300.0, "ti": 900.0, "kinds": "GR IR", "dimension": "3D"}
GE_3D: dict[str, Any] = {"te": 3.1, "tr": 7.2, "ti": 450.0, "kinds": "GR", "dimension": "3D"}
SE_T1: dict[str, Any] = {"te": 11.0, "tr": 550.0, "kinds": "SE"}
TSE_T2: dict[str, Any] = {"te": 98.0, "tr": 4800.0, "kinds": "SE"}
FLAIR_2D: dict[str, Any] = {"te": 120.0, "tr": 9000.0, "ti": 2500.0, "kinds": "SE IR"}
FLAIR_3D: dict[str, Any] = {"te": 330.0, "tr": 4800.0, "ti": 1650.0, "kinds": "SE IR", "dimension": "3D"}
T1_FLAIR: dict[str, Any] = {"te": 24.0, "tr": 2100.0, "ti": 860.0, "kinds": "SE IR"}
SPGR: dict[str, Any] = {"te": 4.0, "tr": 9.0, "kinds": "GR", "dimension": "3D", "flip": 20.0}
EPI: dict[str, Any] = {"te": 90.0, "tr": 5000.0, "kinds": "EP SE"}

HEADERS: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    # Siemens, German and English
    "siemens mprage": (MPRAGE, "t1", {"description": "t1_mprage_sag_p2_iso"}),
    "siemens mprage km": (MPRAGE, "t1ce", {"description": "t1_mpr_tra_iso_KM", "agent": "Gadovist"}),
    "siemens nativ": (SE_T1, "t1", {"description": "T1 SE tra nativ"}),
    "siemens nach km": (SE_T1, "t1ce", {"description": "T1 SE tra nach KM"}),
    "siemens ohne km": (SE_T1, "t1", {"description": "t1_se_tra ohne KM"}),
    "siemens dark fluid": (FLAIR_2D, "flair", {"description": "t2_tirm_tra_dark-fluid_FS"}),
    "siemens space flair": (FLAIR_3D, "flair", {"description": "t2_spc_da-fl_sag_iso FLAIR"}),
    "siemens tse": (TSE_T2, "t2", {"description": "t2_tse_tra_448"}),
    "siemens blade": (TSE_T2, "t2", {"description": "T2 BLADE axial"}),
    "siemens diffusion": (EPI, "other", {"description": "ep2d_diff_b1000"}),
    # GE, English and French
    "ge bravo": (GE_3D, "t1", {"description": "Sag 3D BRAVO"}),
    "ge bravo +c": (GE_3D, "t1ce", {"description": "AX BRAVO +C", "agent": "10 ML GADAVIST"}),
    "ge t1 flair": (T1_FLAIR, "t1", {"description": "Ax T1 FLAIR"}),
    "ge t1 flair +c": (T1_FLAIR, "t1ce", {"description": "AX T1 FLAIR POST"}),
    "ge t2 flair": (FLAIR_2D, "flair", {"description": "Ax T2 FLAIR FS"}),
    "ge cube flair": (FLAIR_3D, "flair", {"description": "Sag CUBE T2 FLAIR"}),
    "ge frfse": (TSE_T2, "t2", {"description": "AXT2 FRFSE"}),
    "ge sans injection": (SE_T1, "t1", {"description": "AX T1 SANS INJECTION"}),
    "ge apres gado": (SE_T1, "t1ce", {"description": "T1 AX apr\u00e8s GADO"}),
    "ge t2 star": ({"te": 20.0, "tr": 600.0, "kinds": "GR"}, "other", {"description": "AX T2* GRE"}),
    "ge swan": ({"te": 25.0, "tr": 45.0, "kinds": "GR"}, "other", {"description": "3D SWAN"}),
    # Philips, English, Dutch and Italian
    "philips tfe": (MPRAGE | {"tr": 8.1, "te": 3.7}, "t1", {"description": "sT1W_3D_TFE"}),
    "philips tfe gd": (MPRAGE | {"tr": 8.1, "te": 3.7}, "t1ce", {"description": "sT1W_3D_TFE GD"}),
    "philips zonder": (SE_T1, "t1", {"description": "T1W_SE zonder contrast"}),
    "philips mdc": (SE_T1, "t1ce", {"description": "T1W SE assiale dopo MDC"}),
    "philips senza mdc": (SE_T1, "t1", {"description": "T1W SE assiale senza MDC"}),
    "philips view flair": (FLAIR_3D, "flair", {"description": "3D VIEW FLAIR SHC"}),
    "philips t2 tse": (TSE_T2, "t2", {"description": "T2W_TSE"}),
    "philips ffe": ({"te": 7.0, "tr": 650.0, "kinds": "GR"}, "ambiguous", {"description": "WIP iso"}),
    "philips dti": ({"te": 61.0, "tr": 4571.0, "kinds": "SE"}, "other", {"description": "WIP dti_ax"}),
    # Canon / Toshiba, English, Japanese and Spanish
    "canon t1": (SE_T1, "t1", {"description": "T1 SE Ax"}),
    "canon zouei": (SE_T1, "t1ce", {"description": "T1 Ax \u9020\u5f71"}),
    "canon con contraste": (SE_T1, "t1ce", {"description": "T1 axial con contraste"}),
    "canon sin contraste": (SE_T1, "t1", {"description": "T1 axial sin contraste"}),
    "canon t2": (TSE_T2, "t2", {"description": "FSE T2 Ax"}),
    "canon flair": (FLAIR_2D, "flair", {"description": "FLAIR Ax"}),
    # UIH, English; and headers that say little or contradict themselves
    "uih t1": (MPRAGE, "t1", {"description": "t1_gre_fsp_3d_sag"}),
    "uih flair": (FLAIR_2D, "flair", {"description": "t2_fse_flair_tra"}),
    "no times": ({}, "flair", {"description": "FLAIR"}),
    "no text": (FLAIR_2D, "flair", {"description": "series"}),
    "no text, spoiled": (SPGR, "ambiguous", {"description": "volume"}),
    "text against times": (TSE_T2, "ambiguous", {"description": "T1 tra"}),
    "flair without inversion": (TSE_T2, "ambiguous", {"description": "FLAIR tra"}),
    "agent against text": (SE_T1, "ambiguous", {"description": "T1 nativ", "agent": "Dotarem"}),
    "agent none": (SE_T1, "t1", {"description": "T1 tra", "agent": "None"}),
    "subtraction": (SE_T1, "other", {"description": "SUB T1 KM", "image_type": "DERIVED SECONDARY SUBTRACT"}),
    "mpr": (MPRAGE, "other", {"description": "t1 mprage cor", "image_type": "DERIVED SECONDARY MPR"}),
    "spine": (TSE_T2, "other", {"description": "T2 TSE sag HWS"}),
}  # fmt: skip


def series(
    description: str = "", number: int = 1, time: str = "1000", image_type: str = "ORIGINAL PRIMARY", **physics: Any
) -> Series:
    """A head of 30 slices of 5 mm with these headers."""
    words = tuple(image_type.split())

    def instance(place: int) -> Instance:
        where, axial = (-120.0, -120.0, 5.0 * place), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
        echo = physics.get("te")
        frame = Frame(0, where, axial, (1.0, 1.0), 1.0, 0.0, echo, None, None, physics.get("b"), words)
        return Instance(
            source=FileSource(Path("nowhere")),
            transfer_syntax="1.2.840.10008.1.2.1",
            sop_class=MR_IMAGE,
            sop_uid=f"1.2.{number}.{place}",
            study_uid="1.1",
            series_uid=f"1.2.{number}",
            frame_of_reference="1.9",
            patient="p",
            modality="MR",
            manufacturer="Maker",
            station=physics.get("station", "MR1"),
            series_number=number,
            series_description=description,
            protocol=physics.get("protocol", ""),
            sequence_name="",
            image_type=words,
            scanning_sequence=tuple(physics.get("kinds", "").split()),
            sequence_variant=(),
            scan_options=(),
            acquisition_type=physics.get("dimension", "2D"),
            body_part="",
            echo_time=echo,
            repetition_time=physics.get("tr"),
            inversion_time=physics.get("ti"),
            flip_angle=physics.get("flip"),
            echo_train=None,
            contrast_agent=physics.get("agent", ""),
            acquisition_number=1,
            instance_number=place + 1,
            time=time,
            pixels=PixelFormat(240, 240, 1, 16, 16, 15, False, "MONOCHROME2"),
            frames=(frame,),
        )

    instances = [instance(place) for place in range(physics.get("slices", 30))]
    return Series(tuple(Slice(one, one.frames[0]) for one in instances))


def called(decision: Decision) -> str:
    return str(decision.role) if decision.verdict.value == "is" else decision.verdict.value


@pytest.mark.parametrize("name", HEADERS)
def test_every_header_set_is_what_the_table_says(name: str) -> None:
    physics, expected, texts = HEADERS[name]
    decision = decide(series(**{**physics, **texts}), RULES)
    assert called(decision) == expected, [str(reason) for reason in decision.reasons]
    assert decision.reasons


def test_the_table_has_forty_header_sets_and_more() -> None:
    assert len(HEADERS) >= 40


def answers(*found: Series) -> dict[str, tuple[str, str | None]]:
    answered = answers_of([decide(one, RULES) for one in found], RULES)
    return {
        one.role.value: (one.answer.value, None if one.chosen is None else one.chosen.series.label) for one in answered
    }


def test_two_t1_of_which_nothing_tells_the_agent_hold_the_study() -> None:
    found = answers(series("T1 tra", 1, "1000", **SE_T1), series("T1 tra", 2, "1100", **SE_T1))
    assert found["t1"] == ("ambiguous", None)
    assert found["t1ce"] == ("missing", None)


def test_an_unmarked_t1_after_the_agent_is_ambiguous_and_before_it_is_t1() -> None:
    given = series("T1 tra +KM", 2, "1100", **SE_T1)
    assert answers(series("T1 tra", 1, "1000", **SE_T1), given)["t1"] == ("found", "1")
    assert answers(given, series("T1 tra", 3, "1200", **SE_T1))["t1"] == ("ambiguous", None)


def test_of_two_alike_the_repeat_is_taken_and_norm_before_nd() -> None:
    repeat = [series("T2 tse", number, f"1{number}00", **TSE_T2) for number in (1, 2)]
    assert answers(*repeat)["t2"] == ("found", "2")
    pair = [series("T2 tse", 1, "1000", "ORIGINAL PRIMARY M NORM", **TSE_T2),
            series("T2 tse", 2, "1100", "ORIGINAL PRIMARY M ND", **TSE_T2)]  # fmt: skip
    assert answers(*pair)["t2"] == ("found", "1")


def test_what_is_not_sure_is_not_found_but_named() -> None:
    (answer,) = [one for one in answers_of([decide(series("FLAIR"), RULES)], RULES) if one.role is Modality.FLAIR]
    assert answer.answer is Answer.AMBIGUOUS
    assert [one.series.label for one in answer.candidates] == ["1"]
    assert answer.why == "confidence low, expected high"


def test_few_slices_a_b_value_and_a_thin_slab_are_none_of_the_four() -> None:
    several: tuple[dict[str, Any], ...] = ({"slices": 14}, {"b": 1000.0}, {"slices": 16})
    for changes in several:
        assert called(decide(series("T2 tse", **{**TSE_T2, **changes}), RULES)) == "other"


def test_a_site_decides_by_station_protocol_or_description(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(
        'minimum_confidence = "medium"\n'
        '[[series]]\nrole = "t1ce"\nstation = "MR7"\ndescription = "hirn*spezial"\n'
        '[[series]]\nrole = "none"\nprotocol = "Studie ?"\n'
    )
    rules = load_rules(path)
    assert rules.minimum_confidence is Confidence.MEDIUM
    assert called(decide(series("Hirn Spezial", station="MR7", **TSE_T2), rules)) == "t1ce"
    assert called(decide(series("T2 tse", protocol="Studie B", **TSE_T2), rules)) == "other"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[series]]\nrole = 't3'\nstation = 'x'", "expected role"),
        ("[[series]]\nrole = 't1'", "at least one of station"),
        ("[[series]]\nrole = 't1'\nstation = 3", "is no text"),
        ("series = 3", "no list of tables"),
        ("minimum_confidence = 'sure'", "expected low, medium or high"),
        ("code = 'x'", "'code' found"),
        ("= =", "not TOML"),
    ],
)
def test_unusable_rules_of_a_site_are_refused_by_name(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(text)
    with pytest.raises(DatasetError, match=f"site.toml: .*{message}"):
        load_rules(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("T1_SE tra+KM", "t1 se tra plus km"),
        ("t2*", "t2star"),
        ("Apr\u00e8s inj.", "apres inj"),
        ("T1 C-", "t1 c minus"),
        ("T1-C", "t1 c"),
        ("x" * 1000, "x" * 128),
    ],
)
def test_texts_are_normalised(text: str, expected: str) -> None:
    assert normalised(text) == expected
