"""What was found in a study, in words and as JSON."""

from __future__ import annotations

from typing import Any

from eenet_runtime.dicom.roles import Decision, Verdict
from eenet_runtime.dicom.studies import Answer, FoundStudies, RoleAnswer, Study
from eenet_runtime.printable import printable


def describe(found: FoundStudies, explain: bool = False) -> str:
    """Studies, their four contrasts, and with `explain` every series with every reason."""
    blocks = [describe_study(study, explain) for study in found.studies]
    skipped = [f"{count} file{'s' if count > 1 else ''}: {why}" for why, count in sorted(found.unreadable.items())]
    if found.other_files:
        skipped.append(f"{found.other_files} files that are no DICOM")
    return "\n\n".join([*blocks, *(["left out: " + "; ".join(skipped)] if skipped else [])])


def describe_study(study: Study, explain: bool) -> str:
    """One study."""
    files = len({piece.instance.sop_uid for one in study.decisions for piece in one.series.slices})
    lines = [f"study {study.number}: {len(study.decisions)} series, {files} files"]
    if study.problem:
        lines.append(f"  refused: {study.problem}")
    lines += [f"  {answer.role:<6}{_answer_in_words(answer)}" for answer in study.answers]
    if explain:
        for decision in study.decisions:
            lines.append(f"  series {_name(decision)}: {_verdict(decision)}")
            lines.append(f"    uid {decision.series.uid}")
            lines += [f"    {reason}" for reason in decision.reasons]
            lines += [f"    not usable: {decision.usable}"] if decision.usable else []
    return "\n".join(lines)


def as_json(found: FoundStudies) -> dict[str, Any]:
    """The same for programs; identifiers are the study's own."""
    return {
        "format": "eenet-classify-1",
        "studies": [_study_as_json(study) for study in found.studies],
        "other_files": found.other_files,
        "unreadable": dict(sorted(found.unreadable.items())),
    }


def _study_as_json(study: Study) -> dict[str, Any]:
    return {
        "number": study.number,
        "study_uid": study.uid,
        "problem": study.problem or None,
        "complete": study.complete,
        "roles": {
            answer.role.value: {
                "answer": answer.answer.value,
                "why": answer.why,
                "series": None if answer.chosen is None else answer.chosen.series.label,
                "candidates": [one.series.label for one in answer.candidates],
            }
            for answer in study.answers
        },
        "series": [
            {
                "series": one.series.label,
                "series_uid": one.series.uid,
                "description": printable(one.series.first.series_description),
                "slices": len(one.series.slices),
                "verdict": one.verdict.value,
                "role": None if one.role is None else one.role.value,
                "confidence": str(one.confidence),
                "reasons": [{"text": reason.text, "supports": reason.supports} for reason in one.reasons],
                "not_usable": one.usable or None,
            }
            for one in study.decisions
        ],
    }


def _answer_in_words(answer: RoleAnswer) -> str:
    if answer.chosen is not None:
        return f"series {_name(answer.chosen)}, confidence {answer.chosen.confidence} ({answer.why})"
    candidates = ", ".join(f"series {_name(one)}" for one in answer.candidates)
    named = f"; candidates: {candidates}" if candidates else ""
    state = "ambiguous" if answer.answer is Answer.AMBIGUOUS else "missing"
    return f"{state}: {answer.why}{named}"


def _name(decision: Decision) -> str:
    description = printable(decision.series.first.series_description)
    return f"{decision.series.label} ({description})" if description else decision.series.label


def _verdict(decision: Decision) -> str:
    if decision.verdict is Verdict.OTHER:
        return "none of the four"
    if decision.verdict is Verdict.AMBIGUOUS:
        return "ambiguous" if decision.role is None else f"ambiguous, perhaps {decision.role}"
    return f"{decision.role}, confidence {decision.confidence}"
