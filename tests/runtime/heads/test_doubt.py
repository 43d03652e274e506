"""What speaks against a raw case: each figure at its limits, and what a limit is worth."""

from __future__ import annotations

from dataclasses import replace

import pytest

from eenet_runtime.cases.content_checks import CheckPolicy, Severity, judge
from eenet_runtime.cases.content_checks.finding import _IN_SHORT
from eenet_runtime.errors import CaseError
from eenet_runtime.heads.doubt import RULES, find_doubts
from eenet_runtime.heads.figures import HeadFigures, PairFigures, PoseFigures
from eenet_runtime.heads.stripping import BrainFigures
from eenet_runtime.volumes.labels import CHANNEL_ORDER, Modality

SURE, UNSURE = Severity.CERTAIN, Severity.SUSPECTED


def _pair(moving: Modality) -> PairFigures:
    return PairFigures(Modality.T1CE, moving, 1.2, 0.04, 0.06, 12, 12, 0.9, 140.0, 8.0, "native", 1.0)


GOOD = HeadFigures(
    sources={modality: f"{modality.value}.nii.gz" for modality in CHANNEL_ORDER},
    pairs=tuple(_pair(moving) for moving in (Modality.T1, Modality.T2, Modality.FLAIR)),
    loop_mm=0.3,
    brain=BrainFigures(1600.0, 1.18, 0.001, 0.98),
    pose=PoseFigures(1.28, 0.025, 12),
    t1ce_spacing_mm=(1.0, 1.0, 1.0),
)


def _with_t2(**changes: float) -> HeadFigures:
    t1, t2, flair = GOOD.pairs
    return replace(GOOD, pairs=(t1, replace(t2, **changes), flair))  # type: ignore[arg-type]


def _with_brain(**changes: float) -> HeadFigures:
    assert GOOD.brain is not None
    return replace(GOOD, brain=replace(GOOD.brain, **changes))


def test_a_good_head_leaves_no_doubt() -> None:
    assert find_doubts(GOOD) == ()
    assert find_doubts(HeadFigures(GOOD.sources)) == ()


@pytest.mark.parametrize(
    ("figures", "rule", "severity"),
    [
        (_with_t2(consensus=3, sharpness=0.0269), "registration-starts", SURE),
        (_with_t2(consensus=4, sharpness=0.0269), "registration-starts", UNSURE),
        (_with_t2(sharpness=0.0119), "registration-peak", SURE),
        (_with_t2(sharpness=0.0121), "registration-peak", UNSURE),
        (_with_t2(sharpness=float("nan")), "registration-peak", SURE),
        (_with_t2(rotation_degrees=46.0), "turned-series", UNSURE),
        (_with_t2(covered_mm=24.0), "slab", SURE),
        (_with_t2(covered_mm=44.0), "slab", UNSURE),
        (replace(GOOD, loop_mm=1.1), "registration-loop", UNSURE),
        (replace(GOOD, loop_mm=3.1), "registration-loop", SURE),
        (_with_brain(volume_ml=590.0), "brain-volume", SURE),
        (_with_brain(volume_ml=2410.0), "brain-volume", SURE),
        (_with_brain(volume_ml=2150.0), "brain-volume", UNSURE),
        (_with_brain(compactness=0.75), "brain-shape", SURE),
        (_with_brain(compactness=0.89), "brain-shape", UNSURE),
        (_with_brain(border_share=0.014), "brain-border", UNSURE),
        (_with_brain(agreement=0.89), "brain-agreement", SURE),
        (replace(GOOD, pose=PoseFigures(1.12, 0.001, 1)), "template", UNSURE),
        (replace(GOOD, stripped=(Modality.T2,)), "mixed-series", SURE),
        (replace(GOOD, t1ce_spacing_mm=(0.9, 0.9, 5.5)), "coarse-voxels", UNSURE),
    ],
)
def test_one_figure_beyond_its_limit_speaks_alone(figures: HeadFigures, rule: str, severity: Severity) -> None:
    (finding,) = find_doubts(figures)
    assert (finding.rule, finding.severity) == (rule, severity)
    assert ".nii.gz" in finding.message
    assert "\n" not in finding.message


def test_a_flat_peak_of_a_slab_is_only_a_suspicion() -> None:
    found = {finding.rule: finding.severity for finding in find_doubts(_with_t2(covered_mm=44.0, sharpness=0.011))}
    assert found == {"slab": UNSURE, "registration-peak": UNSURE}


def test_a_finding_names_the_series_its_figure_and_what_was_expected() -> None:
    (finding,) = find_doubts(_with_t2(sharpness=0.0028))
    assert finding.message.startswith("t2.nii.gz (t2, registered to the t1ce): ")
    assert "0.0028 found, at least 0.02 expected" in finding.message


def test_the_policy_decides_as_for_the_checks_of_contents() -> None:
    wrong, odd = find_doubts(_with_t2(sharpness=0.001)), find_doubts(_with_t2(sharpness=0.015))
    for findings, policy in ((wrong, CheckPolicy.DEFAULT), (odd, CheckPolicy.STRICT)):
        with pytest.raises(CaseError, match="case A: "):
            judge(findings, policy, "A")
    assert len(judge(odd, CheckPolicy.DEFAULT, "A")) == 1
    assert len(judge(wrong, CheckPolicy.WARN, "A")) == 1


def test_every_rule_has_words_for_the_picture() -> None:
    assert set(RULES) - {"coarse-voxels"} <= set(_IN_SHORT)


def test_a_sharp_peak_is_believed_though_one_start_found_it() -> None:
    assert find_doubts(_with_t2(consensus=1, sharpness=0.027)) == ()
