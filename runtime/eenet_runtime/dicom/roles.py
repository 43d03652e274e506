"""Which contrast one series is, with every reason for and against, and how sure that is.

Three witnesses: times of the sequence (physics), texts of the technologist, and what says that a contrast agent was
given. Where they contradict each other the answer is `ambiguous`: a wrong series in the network's place is worse than
none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from eenet_runtime.dicom.instance import Instance
from eenet_runtime.dicom.role_rules import Confidence, Physics, RoleRules
from eenet_runtime.dicom.role_text import normalised
from eenet_runtime.dicom.series import Series
from eenet_runtime.volumes.labels import Modality


class Verdict(StrEnum):
    """What is said about a series."""

    IS = "is"
    """It is the contrast that is named."""
    AMBIGUOUS = "ambiguous"
    """It may be one; witnesses contradict each other, or none of them is enough."""
    OTHER = "other"
    """It is none of the four."""


@dataclass(frozen=True)
class Reason:
    """One thing that was seen, and whether it speaks for the decision."""

    text: str
    supports: bool = True

    def __str__(self) -> str:
        return f"{'+' if self.supports else '-'} {self.text}"


@dataclass(frozen=True)
class Decision:
    """What a series is.

    Attributes:
        verdict: how it was decided.
        role: the contrast; of an ambiguous series the one that it most likely is, if any.
        confidence: how sure that is.
        reasons: everything that spoke for or against it.
        usable: why its volume cannot be had (its slices are no regular stack); "" where it can.
        agent_by_text: whether a text says that an agent was given (True) or not (False); None: no text says anything.
    """

    series: Series
    verdict: Verdict
    role: Modality | None
    confidence: Confidence
    reasons: tuple[Reason, ...]
    usable: str = ""
    agent_by_text: bool | None = None

    def ambiguous(self, why: str) -> Decision:
        """The same with one more reason, which makes it ambiguous."""
        reasons = (*self.reasons, Reason(why, supports=False))
        return replace(self, verdict=Verdict.AMBIGUOUS, confidence=Confidence.LOW, reasons=reasons)


def decide(series: Series, rules: RoleRules) -> Decision:
    """Decide what one series is, from its headers alone."""
    found = series.geometry_or_obstacle
    usable = found if isinstance(found, str) else ""
    site = next((rule for rule in rules.site if rule.matches(series.first)), None)
    if site is not None:
        verdict = Verdict.OTHER if site.role is None else Verdict.IS
        return Decision(series, verdict, site.role, Confidence.HIGH, (Reason("a rule of this site"),), usable)
    against = exclusions(series, rules)
    if against:
        reasons = tuple(Reason(text) for text in against)
        return Decision(series, Verdict.OTHER, None, Confidence.HIGH, reasons, usable)
    return replace(_weigh(series, rules), usable=usable)


def exclusions(series: Series, rules: RoleRules) -> list[str]:
    """Everything that says that a series is none of the four contrasts."""
    first = series.first
    if not first.is_mr_image or first.modality not in ("MR", ""):
        return ["no MR image"]
    found = []
    words = set(first.image_type) | set(series.slices[0].frame.image_type)
    for why, unwanted in rules.not_image_type:
        if hit := sorted(unwanted & words):
            found.append(f"image type {hit[0]}: {why}")
    for why, pattern in rules.not_text:
        if hit_name := next((name for name, text in texts(first) if pattern.search(text)), None):
            found.append(f"{hit_name}: {why}")
    if "EP" in first.scanning_sequence:
        found.append("echo planar imaging")
    if any((piece.frame.b_value or 0) > 0 for piece in series.slices):
        found.append("a b-value above 0: diffusion")
    if series.parts > 1 and len({piece.frame.b_value for piece in series.slices}) == 1:
        found += _several_images(series)
    geometry = series.geometry_or_obstacle
    if len(series.slices) < rules.least_slices:
        found.append(f"{len(series.slices)} slices, expected at least {rules.least_slices}")
    elif not isinstance(geometry, str) and (cover := min(_cover(series))) < rules.least_cover_mm:
        found.append(f"covers {cover:.0f} mm, expected at least {rules.least_cover_mm:.0f}")
    return found


def texts(instance: Instance) -> list[tuple[str, str]]:
    """The texts that rules look at, with their names, normalised."""
    found = {
        "description": instance.series_description,
        "protocol": instance.protocol,
        "sequence name": instance.sequence_name,
    }
    return [(name, normalised(text)) for name, text in found.items() if text]


def _several_images(series: Series) -> list[str]:
    """A series of many time points, or of echoes of a gradient, is no structural image."""
    found = []
    if series.parts > 4:
        found.append(f"one of {series.parts} images of its series")
    if "GR" in series.first.scanning_sequence and (series.first.echo_train or 0) == 2:
        found.append("two gradient echoes: a field map")
    return found


def _cover(series: Series) -> tuple[float, ...]:
    grid = series.geometry.grid
    return tuple(size * count for size, count in zip(grid.spacing_mm, grid.shape, strict=True))


def _weigh(series: Series, rules: RoleRules) -> Decision:
    first = series.first
    text_role, text_reason = _by_text(first, rules)
    row = next((row for row in rules.physics if row.matches(first)), None)
    timed = first.echo_time is not None and first.repetition_time is not None
    times = _times(first)
    reasons = [Reason(text_reason)] if text_reason else []
    if row is not None:
        agrees = text_role in (None, row.role)
        reasons.append(Reason(f"{times}: {row.role} ({row.why})", agrees))
    elif timed:
        reasons.append(Reason(f"{times}: like none of the four", supports=False))
    else:
        reasons.append(Reason("no echo and repetition times in the header", supports=False))
    role = text_role or (row.role if row is not None else None)
    if role is None:
        return Decision(series, Verdict.OTHER, None, Confidence.LOW, (*reasons, Reason("no text names a contrast")))
    confidence = _confidence(text_role, row, timed)
    if "DERIVED" in first.image_type and "SECONDARY" in first.image_type:
        confidence = min(confidence, Confidence.MEDIUM)
        reasons.append(Reason("derived from another series", supports=False))
    decision = Decision(series, Verdict.IS, role, confidence, tuple(reasons))
    if text_role is not None and row is not None and text_role != row.role:
        return decision.ambiguous("text and times contradict each other")
    if text_role is None and row is not None and not row.strong:
        return decision.ambiguous("no text names a contrast, and the times alone are not enough")
    return _with_agent(decision, rules) if role is Modality.T1 else decision


def _confidence(text_role: Modality | None, row: Physics | None, timed: bool) -> Confidence:
    if text_role is not None and row is not None:
        return Confidence.HIGH
    if row is not None or timed:
        return Confidence.MEDIUM
    return Confidence.LOW


def _by_text(instance: Instance, rules: RoleRules) -> tuple[Modality | None, str]:
    """The contrast that the first text names that names one: a protocol may be named after its first series."""
    for name, text in texts(instance):
        for role, called, pattern in rules.text:
            if pattern.search(text):
                return role, f"{name}: {called}"
    return None, ""


def _with_agent(decision: Decision, rules: RoleRules) -> Decision:
    """T1 before or after a contrast agent."""
    first = decision.series.first
    by_text = _agent_by_text(first, rules)
    tag = first.contrast_agent.strip()
    by_tag = bool(tag) and tag.casefold().rstrip(".") not in rules.no_agent
    decision = replace(decision, agent_by_text=by_text)
    reasons = list(decision.reasons)
    if by_text is not None:
        reasons.append(Reason(f"text: contrast agent {'given' if by_text else 'not given'}"))
    if tag:
        reasons.append(Reason(f"tag: contrast agent {'given' if by_tag else 'not given'}", by_text in (None, by_tag)))
    decision = replace(decision, reasons=tuple(reasons))
    if by_text is not None and tag and by_text != by_tag:
        return decision.ambiguous("text and tag contradict each other about the contrast agent")
    if by_text or (by_text is None and by_tag):
        return replace(decision, role=Modality.T1CE)
    return decision


def _agent_by_text(instance: Instance, rules: RoleRules) -> bool | None:
    for name, text in texts(instance):
        if name == "sequence name":
            continue
        for given, pattern in rules.agent_text:
            if pattern.search(text):
                return given
    return None


def _times(instance: Instance) -> str:
    named = (("TE", instance.echo_time), ("TR", instance.repetition_time), ("TI", instance.inversion_time))
    kinds = "\\".join(instance.scanning_sequence)
    shown = [f"{name} {value:.4g}" for name, value in named if value is not None]
    return ", ".join(part for part in (*shown, kinds, instance.acquisition_type) if part)
