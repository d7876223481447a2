# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Both ends of a connection within the host are told once, by the end that is the cause."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockbpf.delivery.incidents import MOST_ENDS, Incidents, Told, led
from sockbpf.record.alert import CLEARED, EXCEEDED, ONGOING, Folded, Notice
from sockbpf.record.event import Direction
from sockbpf.record.peer import Peer
from sockbpf.record.why import Cause, Why
from tests.unit.notices import notice

READER = {"id": "r", "type": "RECV", "peer_id": "s", "cause": "reader-stopped"}
SENDER = {"id": "s", "type": "SEND", "peer_id": "r", "cause": "peer-not-reading"}
KINDS = pytest.mark.parametrize("kind", list(Told))


def without(fields: Mapping[str, str], name: str) -> dict[str, str]:
    return {key: text for key, text in fields.items() if key != name}


class Teller:
    """What a destination is told, as `id event`."""

    def __init__(self, kind: Told) -> None:
        self.held_back = 0
        self.incidents = Incidents(kind, self._hold_back)

    def _hold_back(self) -> None:
        self.held_back += 1

    def tells(self, *alerts: tuple[Mapping[str, str], str]) -> list[str]:
        return [
            f"{fields['id']} {event}"
            for fields, event in alerts
            if self.incidents.tells({**fields, "event": event})
        ]


@KINDS
def test_the_end_that_leads_is_told_and_the_other_is_not(kind: Told) -> None:
    teller = Teller(kind)
    told = teller.tells(
        (READER, EXCEEDED), (SENDER, EXCEEDED), (SENDER, ONGOING), (READER, ONGOING), (SENDER, CLEARED),
        (READER, CLEARED),
    )  # fmt: skip
    assert told == ["r exceeded", "r ongoing", "r cleared"]
    assert teller.held_back == 3
    assert len(teller.incidents) == 0


@KINDS
def test_it_is_enough_that_one_names_the_other(kind: Told) -> None:
    assert Teller(kind).tells((without(READER, "peer_id"), EXCEEDED), (SENDER, EXCEEDED)) == ["r exceeded"]
    sender = without(SENDER, "peer_id")
    told = Teller(kind).tells((READER, EXCEEDED), (sender, EXCEEDED), (READER, ONGOING), (sender, ONGOING))
    assert told[0::2] == ["r exceeded", "r ongoing"]  # known for one from the second alert of the reader on
    assert ("s ongoing" in told) == (kind is Told.STATES)


def test_if_the_other_was_told_first_the_leading_one_follows_and_messages_go_on_with_it() -> None:
    alerts = (
        (without(SENDER, "peer_id"), EXCEEDED), (READER, EXCEEDED), (SENDER, ONGOING), (READER, ONGOING),
        (READER, CLEARED), (SENDER, CLEARED),
    )  # fmt: skip
    assert Teller(Told.MESSAGES).tells(*alerts) == ["s exceeded", "r exceeded", "r ongoing", "s cleared"]
    assert Teller(Told.STATES).tells(*alerts) == [f"{fields['id']} {event}" for fields, event in alerts]


def test_messages_have_the_end_when_both_have_ended_states_that_of_each_that_was_told() -> None:
    alerts = ((READER, EXCEEDED), (SENDER, EXCEEDED), (READER, CLEARED), (SENDER, CLEARED))
    assert Teller(Told.MESSAGES).tells(*alerts) == ["r exceeded", "s cleared"]
    assert Teller(Told.STATES).tells(*alerts) == ["r exceeded", "r cleared"]


def test_as_long_as_none_is_known_to_be_the_cause_both_states_are_told_and_one_message() -> None:
    one, other = (fields | {"cause": "unknown"} for fields in (SENDER, READER))
    alerts = ((one, EXCEEDED), (other, EXCEEDED), (one, CLEARED), (other, ONGOING), (other, CLEARED))
    assert Teller(Told.STATES).tells(*alerts) == [f"{fields['id']} {event}" for fields, event in alerts]
    assert Teller(Told.MESSAGES).tells(*alerts) == ["s exceeded", "r ongoing", "r cleared"]


@KINDS
def test_what_is_left_over_is_told_by_itself(kind: Told) -> None:
    teller = Teller(kind)
    teller.tells((READER, EXCEEDED), (SENDER, EXCEEDED), (READER, CLEARED))
    assert teller.tells((SENDER, ONGOING), (SENDER, CLEARED)) == ["s ongoing", "s cleared"]


@KINDS
def test_the_next_episode_of_one_end_belongs_to_the_other_too(kind: Told) -> None:
    teller = Teller(kind)
    teller.tells((READER, EXCEEDED), (SENDER, EXCEEDED), (SENDER, CLEARED))
    again = SENDER | {"id": "s2"}
    assert teller.tells((again, EXCEEDED), (READER | {"peer_id": "s2"}, ONGOING)) == ["r ongoing"]
    assert teller.tells((again, CLEARED), (READER, CLEARED)) == ["r cleared"]


@KINDS
@pytest.mark.parametrize(
    "other",
    [
        {"type": "RECV"}, {"peer_id": "elsewhere"}, {"peer_id": ""}, {"type": "ACCEPT"}, {"type": "RATE"},
        {"count": "7"},
    ],
)  # fmt: skip
def test_others_are_told(kind: Told, other: dict[str, str]) -> None:
    one = without(READER, "peer_id")
    assert Teller(kind).tells((one, EXCEEDED), (SENDER | other, EXCEEDED)) == ["r exceeded", "s exceeded"]
    assert Teller(kind).incidents.tells({"event": "heartbeat"})


def test_no_more_are_remembered_than_there_may_be_and_the_forgotten_are_told() -> None:
    teller = Teller(Told.MESSAGES)
    for n in range(MOST_ENDS + 7):
        teller.tells((READER | {"id": str(n)}, EXCEEDED))
    assert len(teller.incidents) == MOST_ENDS
    assert teller.tells((READER | {"id": "0"}, CLEARED)) == ["0 cleared"]


@KINDS
@settings(deadline=None)
@given(
    events=st.lists(
        st.tuples(st.sampled_from("rs"), st.booleans(), st.booleans(), st.sampled_from(list(Cause))),
        max_size=20,
    )
)
def test_whatever_comes_an_incident_is_told_and_ends(
    kind: Told, events: list[tuple[str, bool, bool, Cause]]
) -> None:
    teller, is_open, since = Teller(kind), set[str](), list[str]()
    for id_, ends, names_it, cause in events:
        if ends and id_ not in is_open:
            continue
        fields = (READER if id_ == "r" else SENDER) | {"cause": cause.value}
        since += teller.tells(
            (fields if names_it else without(fields, "peer_id"), CLEARED if ends else ONGOING)
        )
        (is_open.discard if ends else is_open.add)(id_)
        if is_open:
            assert since
        if since and kind is Told.STATES:
            told_open = {line[0] for line in since if line.endswith(ONGOING)}
            ended = {line[0] for line in since if line.endswith(CLEARED)}
            assert told_open - is_open <= ended
        if not is_open and since:
            assert since[-1].endswith(CLEARED) or kind is Told.STATES
            assert sum(line.endswith(CLEARED) for line in since) >= 1
            since.clear()
    assert len(teller.incidents) == len(is_open)


def begun(number: int, way: Direction, peer: int, cause: Cause | None) -> Notice:
    one = replace(notice(EXCEEDED, number, 1, direction=way), id=f"id-{number}", peer=Peer(id=f"id-{peer}"))
    return replace(one, why=Why(cause)) if cause else one


def test_of_what_ends_at_once_the_leading_end_comes_last() -> None:
    reader = replace(begun(2, Direction.RECV, 1, Cause.READER_STOPPED), event=CLEARED)
    sender = replace(begun(1, Direction.SEND, 2, Cause.PEER_NOT_READING), event=CLEARED)
    other = notice(CLEARED, 9, 1)
    assert led([reader, other, sender]) == [other, sender, reader]
    assert led([sender, reader, other]) == [sender, reader, other]


def test_of_what_begins_at_once_the_leading_end_comes_first_and_all_else_stays() -> None:
    other, folded = notice(ONGOING, 9, 1), Folded(notice(EXCEEDED, 8, 1), 3, ())
    sender = begun(1, Direction.SEND, 2, Cause.PEER_NOT_READING)
    ended = replace(sender, event=CLEARED)
    reader = begun(2, Direction.RECV, 1, Cause.READER_STOPPED)
    assert led([other, sender, folded, ended, reader]) == [other, reader, sender, folded, ended]
    assert led([reader, sender, other]) == [reader, sender, other]
    for follows in (
        replace(reader, why=None), begun(2, Direction.RECV, 7, Cause.READER_STOPPED), replace(reader, event=ONGOING)
    ):  # fmt: skip
        assert led([sender, follows]) == [sender, follows]


EVENTS_OF_ONE = st.tuples(
    st.integers(1, 5), st.booleans(), st.integers(1, 5), st.sampled_from(list(Cause)), st.booleans()
)


@settings(deadline=None)
@given(st.lists(EVENTS_OF_ONE, max_size=40))
def test_no_notice_is_lost_and_episodes_keep_their_order(
    made: list[tuple[int, bool, int, Cause, bool]],
) -> None:
    known, over = set[int](), set[int]()
    notices: list[Notice | Folded] = []
    for number, is_sent, peer, cause, ends in made:
        if number in over:
            continue
        one = replace(
            begun(number, Direction.SEND if is_sent else Direction.RECV, peer, cause), ns=len(notices)
        )
        if number in known:
            one = replace(one, event=CLEARED if ends else ONGOING)
            over |= {number} if ends else set()
        notices.append(one)
        known.add(number)
    ordered = led(notices)
    for number in known:
        its = [
            [one for one in each if isinstance(one, Notice) and one.id == f"id-{number}"]
            for each in (notices, ordered)
        ]
        assert its[0] == its[1]
    assert len(ordered) == len(notices)


def test_of_three_each_comes_before_the_one_it_leads() -> None:
    made = [
        begun(1, Direction.SEND, 2, None),
        begun(2, Direction.RECV, 1, Cause.BUFFER_FULL),
        begun(3, Direction.SEND, 2, Cause.PEER_CLOSED),
    ]
    assert led(made) == made[::-1]
