# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a silence leaves untold, and what is told when it has ended: as a plain model has it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from sockbpf.judge.silenced import Silenced
from sockbpf.record.alert import CLEARED, EXCEEDED, ONGOING, Notice
from tests.unit.notices import notice as notice_of


class Case:
    """Episodes of which some are silenced."""

    def __init__(self) -> None:
        self.silent: set[str] = set()
        self.count = 0
        self.silenced = Silenced(lambda notice: notice.id in self.silent, self._count)

    def _count(self, number: int) -> None:
        self.count += number

    def told(self, event: str, id_: str = "e", ns: int = 7, **changes: int) -> list[Notice]:
        return self.silenced.on_notices([replace(notice_of(event, 1, ns), id=id_, since_ns=5, **changes)])  # type: ignore[arg-type]


def test_what_begins_and_ends_in_silence_is_never_told() -> None:
    case = Case()
    case.silent = {"e"}
    assert [case.told(event) for event in (EXCEEDED, ONGOING, CLEARED)] == [[], [], []]
    assert (case.count, len(case.silenced)) == (3, 0)
    case.silent = set()
    assert case.silenced.ended() == []


def test_of_what_was_told_before_the_end_is_told() -> None:
    case = Case()
    assert len(case.told(EXCEEDED)) == 1
    case.silent = {"e"}
    assert case.told(ONGOING) == []
    assert len(case.told(CLEARED)) == 1
    assert case.count == 1


def test_what_is_over_still_is_told_when_the_silence_ends_since_it_began() -> None:
    case = Case()
    case.silent = {"e"}
    case.told(EXCEEDED, size=100, peak=100)
    case.told(ONGOING, ns=60, size=300, peak=400)
    assert case.silenced.ended() == []
    case.silent = set()
    (begun,) = case.silenced.ended()
    assert (begun.event, begun.ns, begun.since_ns, begun.size, begun.peak) == (EXCEEDED, 5, 5, 300, 400)
    assert case.silenced.ended() == []
    assert len(case.told(CLEARED)) == 1


def test_an_ongoing_after_the_silence_is_its_beginning() -> None:
    case = Case()
    case.silent = {"e"}
    case.told(EXCEEDED)
    case.silent = set()
    assert [(each.event, each.ns) for each in case.told(ONGOING, ns=60)] == [(EXCEEDED, 5)]
    assert [each.event for each in case.told(ONGOING, ns=120)] == [ONGOING]


def test_of_a_flapping_queue_its_ongoing_is_left_out_and_its_end_is_not() -> None:
    case = Case()
    case.silent = {"e"}
    flap = [notice_of(event, 1, 7) for event in (ONGOING, CLEARED)]
    case.silent = {flap[0].id}
    assert case.silenced.go_on(flap) == flap[1:]
    assert case.count == 1


STEPS = st.lists(
    st.tuples(st.sampled_from(["over", "back", "silence", "sound"]), st.sampled_from("abc")), max_size=60
)


@given(STEPS)
def test_every_receiver_has_a_true_picture(steps: list[tuple[str, str]]) -> None:
    """Whatever is told begins before it ends, and once no silence lasts what is told is open is what is open."""
    case, is_open, heard = Case(), dict[str, bool](), dict[str, bool]()

    def hear(notices: list[Notice]) -> None:
        for each in notices:
            assert heard.get(each.id, False) == (each.event != EXCEEDED)
            heard[each.id] = each.event != CLEARED

    for step, id_ in steps:
        if step == "over" or (step == "back" and is_open.get(id_)):
            event = CLEARED if step == "back" else ONGOING if is_open.get(id_) else EXCEEDED
            is_open[id_] = event != CLEARED
            told = case.told(event, id_)
            assert not (told and id_ in case.silent and event != CLEARED)
            hear(told)
        elif step != "back":
            case.silent = case.silent | {id_} if step == "silence" else case.silent - {id_}
            hear(case.silenced.ended())
    case.silent = set()
    hear(case.silenced.ended())
    assert {id_ for id_ in heard if heard[id_]} == {id_ for id_ in is_open if is_open[id_]}
    assert len(case.silenced) == 0
