"""Studies: what lies in a folder, and for each of the four contrasts the series that it is, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby
from pathlib import Path

from eenet_runtime.dicom.pixels import read_series
from eenet_runtime.dicom.role_rules import RoleRules, load_rules
from eenet_runtime.dicom.roles import Decision, Verdict, decide
from eenet_runtime.dicom.scanning import DEFAULT_SCAN_LIMITS, ScanLimits, scan
from eenet_runtime.dicom.series import series_of
from eenet_runtime.errors import CaseError, DatasetError
from eenet_runtime.files.nifti import Volume
from eenet_runtime.volumes.labels import Modality


class Answer(StrEnum):
    """What a study says about one contrast."""

    FOUND = "found"
    AMBIGUOUS = "ambiguous"
    MISSING = "missing"


@dataclass(frozen=True)
class RoleAnswer:
    """One contrast of a study.

    Attributes:
        answer: whether there is a series for it.
        chosen: the series, where it was found.
        candidates: all series that could be it, the best first.
        why: one line.
    """

    role: Modality
    answer: Answer
    chosen: Decision | None
    candidates: tuple[Decision, ...]
    why: str

    @property
    def in_words(self) -> str:
        """One that was not found, in one line that names no patient: `flair ambiguous (why); candidates: series 3`."""
        named = ", ".join(f"series {one.series.label}" for one in self.candidates)
        return f"{self.role} {self.answer} ({self.why}){f'; candidates: {named}' if named else ''}"


@dataclass(frozen=True)
class Study:
    """One study.

    Attributes:
        number: its place among those that were found, from 1: what messages call it.
        uid: Study Instance UID.
        decisions: of all series, in order of time.
        answers: for T1, T1ce, T2 and FLAIR.
        problem: why the study as a whole is refused, "" if it is not.
    """

    number: int
    uid: str
    decisions: tuple[Decision, ...]
    answers: tuple[RoleAnswer, ...]
    problem: str = ""

    @property
    def complete(self) -> bool:
        """Whether all four contrasts were found."""
        return not self.problem and all(answer.answer is Answer.FOUND for answer in self.answers)

    @property
    def case_id(self) -> str:
        """Its name as a case: a number, for its own name and identifiers are the patient's."""
        return f"study-{self.number}"

    def settled(self, choices: Mapping[Modality, str]) -> Study:
        """The study with what somebody chose by hand; see `settle`."""
        return replace(self, answers=settle(self, choices))

    def chosen(self, allow_missing: frozenset[Modality] = frozenset()) -> dict[Modality, Decision]:
        """The series to use.

        Args:
            allow_missing: contrasts that may have no series; one that is ambiguous is refused all the same, for it may
                be there.

        Raises:
            CaseError: the study as a whole is refused, or a contrast is ambiguous or missing; every such contrast is
                named, with its candidates.
        """
        if self.problem:
            raise CaseError(f"study {self.number}: {self.problem}", code="two-patients")
        found, lacking = {}, []
        for answer in self.answers:
            if answer.chosen is not None:
                found[answer.role] = answer.chosen
            elif answer.answer is Answer.AMBIGUOUS or answer.role not in allow_missing:
                lacking.append(answer.in_words)
        if lacking:
            words = f"study {self.number}: {'; '.join(lacking)}"
            if any(answer.answer is Answer.AMBIGUOUS for answer in self.answers):
                raise CaseError(words, code="ambiguous-series")
            raise CaseError(words, code="missing-modality")
        return found

    def read_volumes(
        self, allow_missing: frozenset[Modality] = frozenset(), threads: int | None = None
    ) -> dict[Modality, Volume]:
        """The volumes of the series to use, each on its own grid; their files are opened again.

        Raises:
            CaseError: see `chosen` and `read_series`.
        """
        chosen = self.chosen(allow_missing)
        return {modality: read_series(decision.series, threads) for modality, decision in chosen.items()}


@dataclass(frozen=True)
class FoundStudies:
    """What `find_studies` found.

    Attributes:
        studies: in order of time.
        other_files: files that are no DICOM.
        unreadable: reason -> DICOM files that could not be used for it.
    """

    studies: tuple[Study, ...]
    other_files: int
    unreadable: dict[str, int]


def find_studies(
    folder: Path,
    site_rules: Path | None = None,
    limits: ScanLimits = DEFAULT_SCAN_LIMITS,
    threads: int | None = None,
) -> FoundStudies:
    """Scan a folder tree, a medium, a ZIP or a file, and say of every series which contrast it is. Headers only.

    Args:
        folder: where the studies are.
        site_rules: a site's rules (`role_rules.load_rules`).
        limits: what scanning may cost.
        threads: files that are read at a time; by default as many as this process may use.

    Raises:
        DatasetError: the folder is not there or costs too much, no DICOM is in it, or the site's rules are unusable.
    """
    rules = load_rules(site_rules)
    found = scan(folder, limits, threads)
    if not found.instances:
        count = found.other_files + sum(found.unreadable.values())
        reasons = "".join(f"; {files}: {why}" for why, files in sorted(found.unreadable.items())[:3])
        raise DatasetError(f"{folder}: no usable DICOM file found among {count}, expected a study" + reasons)
    ordered = sorted(found.instances, key=lambda instance: instance.study_uid)
    studies = []
    for uid, group in groupby(ordered, key=lambda instance: instance.study_uid):
        instances = list(group)
        decisions = tuple(decide(series, rules) for series in series_of(instances))
        several = len({instance.patient for instance in instances}) > 1
        problem = "files of two patients or more, expected one" if several else ""
        studies.append(Study(0, uid, decisions, answers_of(decisions, rules), problem))
    studies.sort(key=lambda study: (study.decisions[0].series.first.time, study.uid))
    numbered = tuple(Study(i, s.uid, s.decisions, s.answers, s.problem) for i, s in enumerate(studies, 1))
    return FoundStudies(numbered, found.other_files, found.unreadable)


def answers_of(decisions: Sequence[Decision], rules: RoleRules) -> tuple[RoleAnswer, ...]:
    """For each contrast the series that it is, from what is said about each series."""
    decisions = _held_against_each_other(decisions)
    return tuple(_answer(role, decisions, rules) for role in Modality)


def settle(study: Study, choices: Mapping[Modality, str]) -> tuple[RoleAnswer, ...]:
    """The answers with what somebody chose by hand: contrast -> Series Instance UID, or `Series.label`.

    Raises:
        DatasetError: no series or several of the study are called so, or its slices are no regular stack.
    """
    answers = []
    for answer in study.answers:
        wanted = choices.get(answer.role)
        if wanted is None:
            answers.append(answer)
            continue
        named = [decision for decision in study.decisions if wanted in (decision.series.uid, decision.series.label)]
        if len(named) != 1:
            called = f"called {printable_choice(wanted)} for {answer.role}"
            raise DatasetError(f"study {study.number}: {len(named)} series {called}, expected one")
        if named[0].usable:
            raise DatasetError(f"study {study.number}: {named[0].usable}")
        answers.append(RoleAnswer(answer.role, Answer.FOUND, named[0], (named[0],), "chosen by hand"))
    return tuple(answers)


def printable_choice(wanted: str) -> str:
    """A number as it is; a UID by its end, for whole ones are a patient's."""
    return wanted if len(wanted) <= 8 else f"...{wanted[-6:]}"


def _held_against_each_other(decisions: Sequence[Decision]) -> list[Decision]:
    """What the series say about each other: a T1 without a word on the agent, taken after one with it, is doubtful."""
    given = [one.series.first.time for one in decisions if one.role is Modality.T1CE and one.verdict is Verdict.IS]
    first = min((time for time in given if time), default="")
    unsaid = [one for one in decisions if _is(one, Modality.T1) and one.agent_by_text is None]
    held = []
    for one in decisions:
        time = one.series.first.time
        if any(one is other for other in unsaid) and first and time > first:
            one = one.ambiguous("taken after a series with contrast agent, and nothing says that it is without")
        held.append(one)
    return held


def _is(decision: Decision, role: Modality) -> bool:
    return decision.verdict is Verdict.IS and decision.role is role


def _answer(role: Modality, decisions: Sequence[Decision], rules: RoleRules) -> RoleAnswer:
    sure = sorted((one for one in decisions if _is(one, role) and not one.usable), key=_rank)
    doubtful = [one for one in decisions if one.verdict is Verdict.AMBIGUOUS and _could_be(one, role)]
    unusable = [one for one in decisions if _is(one, role) and one.usable]
    candidates = (*sure, *doubtful, *unusable)
    if not candidates:
        return RoleAnswer(role, Answer.MISSING, None, (), "no series looks like it")
    if not sure:
        if not doubtful:
            return RoleAnswer(role, Answer.MISSING, None, candidates, unusable[0].usable)
        return RoleAnswer(role, Answer.AMBIGUOUS, None, candidates, "only series that are doubtful")
    best = sure[0]
    if best.confidence < rules.minimum_confidence:
        why = f"confidence {best.confidence}, expected {rules.minimum_confidence}"
        return RoleAnswer(role, Answer.AMBIGUOUS, None, candidates, why)
    if role in (Modality.T1, Modality.T1CE) and (why := _unsaid_pair(role, sure, decisions)):
        return RoleAnswer(role, Answer.AMBIGUOUS, None, candidates, why)
    why = "the only one" if len(sure) == 1 else f"the best of {len(sure)}"
    return RoleAnswer(role, Answer.FOUND, best, candidates, why)


def _unsaid_pair(role: Modality, sure: Sequence[Decision], decisions: Sequence[Decision]) -> str:
    """Several T1 of which nothing tells which came before the agent and which after it."""
    other = Modality.T1CE if role is Modality.T1 else Modality.T1
    if len(sure) < 2 or any(_is(one, other) for one in decisions):
        return ""
    if any(one.agent_by_text is not None for one in sure):
        return ""
    return "several series, and nothing tells which was taken before and which after contrast agent"


def _could_be(decision: Decision, role: Modality) -> bool:
    pair = (Modality.T1, Modality.T1CE)
    return decision.role is role or (decision.role in pair and role in pair)


def _rank(decision: Decision) -> tuple[object, ...]:
    """Best first: sure, original, normalised (Siemens NORM over ND), 3D, small voxels, and the latest: a repeat."""
    first = decision.series.first
    volume = decision.series.geometry.grid.voxel_ml
    return (
        -decision.confidence,
        "DERIVED" in first.image_type,
        "ND" in first.image_type and "NORM" not in first.image_type,
        first.acquisition_type != "3D",
        round(volume, 6),
        tuple(-ord(letter) for letter in first.time),
        first.series_number or 0,
    )
