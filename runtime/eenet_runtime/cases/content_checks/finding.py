"""What a check of the images' content says, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from eenet_runtime.codes import Reason
from eenet_runtime.errors import CaseError
from eenet_runtime.printable import printable


class Severity(StrEnum):
    """How sure a rule is.

    Attributes:
        CERTAIN: follows from what the files hold; no case for this network can look like that.
        SUSPECTED: the images look unlike what they should be, by a threshold that was measured on few heads.
    """

    CERTAIN = "certain"
    SUSPECTED = "suspected"


class CheckPolicy(StrEnum):
    """What a finding does to the case.

    Attributes:
        DEFAULT: certain findings refuse it, suspicions are warnings.
        STRICT: every finding refuses it.
        WARN: every finding is a warning.
    """

    DEFAULT = "default"
    STRICT = "strict"
    WARN = "warn"

    def refuses(self, severity: Severity) -> bool:
        """Whether a finding of this severity refuses the case."""
        return self is CheckPolicy.STRICT or (self is CheckPolicy.DEFAULT and severity is Severity.CERTAIN)


ROUTINE_RULES: Final = frozenset({"coarse-voxels"})
"""Rules whose findings say what a case is, not that something may be wrong with it."""

_IN_SHORT: Final[Mapping[str, str]] = {
    "duplicate": "two images are the same",
    "label-volume": "an image looks like a label",
    "negative": "an image has negative voxels",
    "spikes": "few voxels may rule an image's normalisation",
    "uneven-slices": "an image may have a bad slice",
    "background": "the background may not be exactly 0",
    "not-stripped": "the skull may not be stripped",
    "head-size": "the head has an unusual size or shape",
    "coverage": "an image shows only a part of the head",
    "two-orientations": "two orientations contradict each other",
    "stripped-ct": "an image may be a CT",
    "misaligned": "the images may not be registered",
    "t2-exchanged": "the T2 may be exchanged with another image",
    "flair-exchanged": "the FLAIR may be exchanged with another image",
    "t1ce-exchanged": "the T1ce may be exchanged with another image",
    "registration-starts": "a series may not be registered",
    "registration-peak": "a series may not be registered, or another patient's",
    "registration-loop": "the registrations disagree with each other",
    "slab": "a series shows only a slab of the head",
    "turned-series": "a series is turned far from its header",
    "brain-volume": "the brain mask has an unusual volume",
    "brain-shape": "the brain mask has an unusual shape",
    "brain-border": "the brain mask runs into the border of the image",
    "brain-agreement": "the brain masks of T1 and T1ce disagree",
    "template": "the head does not fit the template",
    "mixed-series": "some series are stripped, others are not",
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or looks wrong, with the images of a case.

    Attributes:
        rule: name of the rule, as docs/input-checks.md lists it.
        severity: how sure the rule is.
        message: a plain sentence: the files, what was found, what was expected.
    """

    rule: str
    severity: Severity
    message: str

    @property
    def is_suspicion(self) -> bool:
        """Whether somebody should look into it before the mask is used; otherwise it is a routine notice."""
        return self.rule not in ROUTINE_RULES

    @property
    def in_short(self) -> str:
        """It in a few words that hold nothing of the case, for a picture."""
        return _IN_SHORT.get(self.rule, f"the check {self.rule} found something")


def judge(findings: Iterable[Finding], policy: CheckPolicy, case_id: str) -> tuple[Reason, ...]:
    """Refuse the case, or hand back its findings as warnings.

    Args:
        findings: of one case.
        policy: which of them refuse it.
        case_id: the case's name, for the message.

    Returns:
        One warning for each finding, with its rule as its code, on one line whatever the files' names hold.

    Raises:
        CaseError: at least one finding refuses the case; the message names all that do, its code is the first's rule.
    """
    findings = tuple(findings)
    refusing = [finding for finding in findings if policy.refuses(finding.severity)]
    if refusing:
        messages = "; ".join(finding.message for finding in refusing)
        raise CaseError(f"case {case_id}: {messages}", code=refusing[0].rule)
    return tuple(Reason(finding.rule, printable(finding.message)) for finding in findings)
