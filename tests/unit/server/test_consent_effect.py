"""What follows from what was said: properties that no order of events may break."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.server.privacy.consent.effect import Consents, Said, State, consents

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
REFUSED = ("advertise", "personalise")
TARGETS = st.tuples(
    st.sampled_from(["advertise", "promotion", "named_sharing"]), st.sampled_from(["", "somebody"])
)
EVENTS = st.lists(
    st.builds(
        Said,
        target=TARGETS,
        state=st.sampled_from(State),
        mentions_gpc=st.booleans(),
        until=st.none() | st.integers(-3, 3).map(lambda days: NOW + timedelta(days=days)),
    ),
    max_size=12,
)


def come_to(events: list[Said]) -> Consents:
    return consents(events, refused_by_gpc=REFUSED, now=NOW)


def allowed(found: Consents) -> set[tuple[str, str, bool]]:
    return {(*target, False) for target in found.granted} | {(*target, True) for target in found.despite_gpc}


@given(EVENTS, TARGETS, st.sampled_from([State.DENIED, State.WITHDRAWN, State.SIGNALLED]))
@pytest.mark.clause("A5")
def test_neither_a_refusal_nor_a_signal_ever_allows_anything(
    events: list[Said], target: tuple[str, str], state: State
) -> None:
    assert allowed(come_to([*events, Said(target, state)])) <= allowed(come_to(events))


@given(EVENTS)
def test_sending_the_signal_never_allows_anything(events: list[Said]) -> None:
    found = come_to(events)
    assert found.despite_gpc <= found.granted


@given(EVENTS)
def test_what_nobody_granted_is_refused(events: list[Said]) -> None:
    said_yes = {said.target for said in events if said.state is State.GRANTED}
    assert come_to(events).granted <= said_yes


@given(EVENTS, TARGETS)
def test_after_a_withdrawal_nothing_is_left_of_a_grant(events: list[Said], target: tuple[str, str]) -> None:
    found = come_to([*events, Said(target, State.WITHDRAWN)])
    assert target not in found.granted


@given(EVENTS)
def test_a_grant_for_one_purpose_or_recipient_is_none_for_another(events: list[Said]) -> None:
    for target in come_to(events).granted:
        others = [said for said in events if said.target != target]
        assert target not in come_to(others).granted


@pytest.mark.clause("A5")
def test_the_signal_is_beaten_only_by_a_later_grant_that_spoke_of_it() -> None:
    target = ("advertise", "")
    plain, told = Said(target, State.GRANTED), Said(target, State.GRANTED, mentions_gpc=True)
    signal = Said(("", ""), State.SIGNALLED)
    assert come_to([plain]).allows("advertise")
    assert not come_to([plain]).allows("advertise", gpc=True)
    assert come_to([told]).allows("advertise", gpc=True)
    assert not come_to([plain, signal]).allows("advertise")
    assert not come_to([told, signal]).allows("advertise")
    assert not come_to([signal, plain]).allows("advertise")
    assert come_to([signal, told]).allows("advertise", gpc=True)


def test_the_signal_leaves_alone_what_it_is_not_about() -> None:
    signal, grant = Said(("", ""), State.SIGNALLED), Said(("promotion", ""), State.GRANTED)
    assert come_to([grant, signal]).allows("promotion", gpc=True)


@pytest.mark.parametrize("seconds", [0, 1])
def test_a_grant_lapses_by_itself(seconds: int) -> None:
    grant = Said(("named_sharing", "somebody"), State.GRANTED, until=NOW + timedelta(seconds=1))
    assert come_to([grant]).allows("named_sharing", recipient="somebody")
    lapsed = dataclasses.replace(grant, until=NOW - timedelta(seconds=seconds))
    assert not come_to([lapsed]).allows("named_sharing", recipient="somebody")
