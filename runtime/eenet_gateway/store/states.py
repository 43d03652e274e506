"""The states of a study, and the one table that says what becomes of it."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Final


class State(StrEnum):
    """Where a study stands."""

    RECEIVING = "receiving"
    """Images came, and it is not decided yet whether they are all."""
    READY = "ready"
    """Its four series are there; it waits for the worker."""
    RUNNING = "running"
    """The worker computes it."""
    DELIVERING = "delivering"
    """Results are written, and not all of them at every destination yet."""
    DONE = "done"
    """Every destination has every result."""
    HELD = "held"
    """Something about it is ambiguous, incomplete or refused; somebody must decide."""
    FAILED = "failed"
    """It was tried as often as allowed, or a destination refuses its results for good."""
    IGNORED = "ignored"
    """No study for this gateway, or dropped by hand."""


class Happening(StrEnum):
    """What happens to a study."""

    IMAGE = "image"
    """An image was received that was not known."""
    COMPLETE = "complete"
    """All four series were found, and there is no result of them yet."""
    UNCHANGED = "unchanged"
    """All four series were found, and they are those that the results were made of."""
    UNCLEAR = "unclear"
    """It is ambiguous or incomplete."""
    NOT_OURS = "not ours"
    """None of its series looks like one of the four."""
    STARTED = "started"
    """The worker took it."""
    FINISHED = "finished"
    """Its results are written."""
    OVERTAKEN = "overtaken"
    """Its results are written, and images came meanwhile."""
    REFUSED = "refused"
    """The model's checks refuse it."""
    STUMBLED = "stumbled"
    """The computation went wrong; it may be tried again."""
    SPENT = "spent"
    """The computation went wrong, as often as is allowed."""
    DELIVERED = "delivered"
    """The last destination has the last result."""
    UNDELIVERABLE = "undeliverable"
    """Nothing is left to send, and a destination refused a result for good."""
    RETRY = "retry"
    """Somebody asks for another try."""
    RELEASE = "release"
    """Somebody decided what was unclear."""
    DROP = "drop"
    """Somebody does not want it computed."""
    RESTARTED = "restarted"
    """The gateway starts and finds it so."""


_S, _H = State, Happening

TRANSITIONS: Final = MappingProxyType(
    {
        (_S.RECEIVING, _H.IMAGE): _S.RECEIVING,
        (_S.RECEIVING, _H.COMPLETE): _S.READY,
        (_S.RECEIVING, _H.UNCHANGED): _S.DELIVERING,
        (_S.RECEIVING, _H.UNCLEAR): _S.HELD,
        (_S.RECEIVING, _H.NOT_OURS): _S.IGNORED,
        (_S.READY, _H.IMAGE): _S.RECEIVING,
        (_S.READY, _H.STARTED): _S.RUNNING,
        (_S.RUNNING, _H.IMAGE): _S.RUNNING,
        (_S.RUNNING, _H.FINISHED): _S.DELIVERING,
        (_S.RUNNING, _H.OVERTAKEN): _S.RECEIVING,
        (_S.RUNNING, _H.REFUSED): _S.HELD,
        (_S.RUNNING, _H.STUMBLED): _S.READY,
        (_S.RUNNING, _H.SPENT): _S.FAILED,
        (_S.RUNNING, _H.RESTARTED): _S.READY,
        (_S.DELIVERING, _H.IMAGE): _S.RECEIVING,
        (_S.DELIVERING, _H.DELIVERED): _S.DONE,
        (_S.DELIVERING, _H.UNDELIVERABLE): _S.FAILED,
        (_S.DONE, _H.IMAGE): _S.RECEIVING,
        (_S.HELD, _H.IMAGE): _S.RECEIVING,
        (_S.HELD, _H.RETRY): _S.RECEIVING,
        (_S.HELD, _H.RELEASE): _S.RECEIVING,
        (_S.FAILED, _H.IMAGE): _S.RECEIVING,
        (_S.FAILED, _H.RETRY): _S.RECEIVING,
        (_S.IGNORED, _H.IMAGE): _S.RECEIVING,
        (_S.IGNORED, _H.RETRY): _S.RECEIVING,
        **{(state, _H.DROP): _S.IGNORED for state in State},
    }
)
"""(state, what happens) -> state. What is not here cannot happen."""


class TransitionError(Exception):
    """Something happened to a study that its state does not allow."""


def after(state: State, happening: Happening) -> State:
    """The state after something happened.

    Raises:
        TransitionError: it cannot happen in that state.
    """
    following = TRANSITIONS.get((state, happening))
    if following is None:
        raise TransitionError(f"a study that is {state} knows no '{happening}'")
    return following
