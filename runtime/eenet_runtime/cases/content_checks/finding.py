"""What a check of the images' content says, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

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


def judge(findings: Iterable[Finding], policy: CheckPolicy, case_id: str) -> tuple[str, ...]:
    """Refuse the case, or hand back its findings as warnings.

    Args:
        findings: of one case.
        policy: which of them refuse it.
        case_id: the case's name, for the message.

    Returns:
        One warning for each finding, on one line whatever the files' names hold.

    Raises:
        CaseError: at least one finding refuses the case; the message names all that do.
    """
    findings = tuple(findings)
    refusing = [finding.message for finding in findings if policy.refuses(finding.severity)]
    if refusing:
        raise CaseError(f"case {case_id}: {'; '.join(refusing)}")
    return tuple(printable(finding.message) for finding in findings)
