"""The states of a study: what the table promises, whatever happens in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eenet_gateway.store.states import TRANSITIONS, Happening, State, TransitionError, after

BY_ITSELF = set(Happening) - {Happening.RETRY, Happening.RELEASE, Happening.DROP}
"""What needs no operator."""


@given(st.lists(st.sampled_from(Happening), max_size=60))
def test_whatever_happens_a_study_has_a_state_and_takes_images(
    happenings: list[Happening],
) -> None:
    state = State.RECEIVING
    for happening in happenings:
        try:
            state = after(state, happening)
        except TransitionError:
            assert (state, happening) not in TRANSITIONS
        assert (state, Happening.IMAGE) in TRANSITIONS
        assert after(state, Happening.DROP) is State.IGNORED


@given(st.lists(st.sampled_from(Happening), max_size=60))
def test_nothing_is_delivered_that_was_not_computed_and_nothing_computed_that_was_not_complete(
    happenings: list[Happening],
) -> None:
    state, passed = State.RECEIVING, []
    for happening in happenings:
        if (state, happening) in TRANSITIONS:
            state = after(state, happening)
            passed.append(happening)
    if state is State.DELIVERING:
        assert Happening.FINISHED in passed or Happening.UNCHANGED in passed
    if state is State.RUNNING:
        assert Happening.STARTED in passed
        assert Happening.COMPLETE in passed


@pytest.mark.parametrize("state", State)
def test_every_state_leads_to_done_and_none_is_out_of_reach(state: State) -> None:
    assert State.DONE in _reachable(state, set(Happening)) or state is State.DONE
    assert state in _reachable(State.RECEIVING, set(Happening))


def test_only_these_states_wait_for_an_operator_or_a_new_image() -> None:
    resting = {
        state
        for state in State
        if not any(before is state and what in BY_ITSELF - {Happening.IMAGE} for before, what in TRANSITIONS)
    }
    assert resting == {State.DONE, State.HELD, State.FAILED, State.IGNORED}


def test_an_image_makes_every_study_be_decided_again_but_the_one_that_runs() -> None:
    following = {state: after(state, Happening.IMAGE) for state in State}
    assert {state for state, new in following.items() if new is not State.RECEIVING} == {State.RUNNING}
    assert after(State.RUNNING, Happening.OVERTAKEN) is State.RECEIVING


def _reachable(start: State, happenings: set[Happening]) -> set[State]:
    found, todo = {start}, [start]
    while todo:
        here = todo.pop()
        for (before, what), following in TRANSITIONS.items():
            if before is here and what in happenings and following not in found:
                found.add(following)
                todo.append(following)
    return found
