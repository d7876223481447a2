# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A destination behind its rate gets what is now: new incidents first, one alert for what ended meanwhile."""

from __future__ import annotations

from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sockbpf.delivery.journal_lines import read
from sockbpf.delivery.meanwhile import summary_of
from sockbpf.delivery.owed import Owed, body_of
from sockbpf.delivery.queue import Queue
from tests.unit.offices import Scripted, alert, office, rows, until
from tests.unit.queues import Clock, queue, ready

RATE, BURST = 0.5, 10


def owed(n: int, episode: str, event: str, account: int = 0, **fields: str) -> Owed:
    body = {"id": episode, "event": event, "seq": str(n), "peak": "9", "threshold": "3"} | fields
    return Owed(n, "http", episode, 0.0, body_of(body), account, f"tcp RECV {n}", "boot", float(n))


def pair(n: int, account: int = 0, **fields: str) -> list[Owed]:
    """Return the alerts of episode n, numbered 2n and 2n + 1."""
    return [
        owed(2 * n + at, f"e{n}", event, account, **fields)
        for at, event in enumerate(("exceeded", "cleared"))
    ]


def behind(clock: Clock) -> Queue:
    """Return a queue whose burst is used up."""
    asked = queue(clock, rate=RATE, burst=BURST)
    for n in range(BURST):
        asked.offer([owed(n, f"before {n}", "exceeded")])
        one = ready(asked, clock)
        assert one
        asked.worked(one)
    return asked


def numbers(taken: list[list[Owed]]) -> list[list[int]]:
    return [[one.n for one in alerts] for alerts in taken]


def test_what_began_and_ended_meanwhile_is_taken_out() -> None:
    clock = Clock()
    asked = behind(clock)
    asked.offer([*pair(50), *pair(51), *pair(52), owed(200, "goes on", "exceeded")])
    assert numbers(asked.take_ended()) == [[100, 101, 102, 103, 104, 105]]
    assert [one.n for one in asked.owed()] == [200]
    assert asked.take_ended() == []


def test_a_destination_that_is_not_behind_gets_everything() -> None:
    clock = Clock()
    asked = queue(clock, rate=RATE, burst=BURST)
    asked.offer([each for n in range(6) for each in pair(n)])  # ten at once, the other two in four seconds
    assert asked.take_ended() == []
    asked.offer([each for n in range(6, 9) for each in pair(n)])
    assert len(asked.take_ended()) == 1


def test_a_destination_without_a_rate_gets_everything() -> None:
    clock = Clock()
    asked = queue(clock)
    asked.offer([each for n in range(400) for each in pair(n)])
    assert asked.take_ended() == []


def test_the_end_of_what_was_sent_is_not_left_out() -> None:
    clock = Clock()
    asked = behind(clock)
    asked.offer([owed(60, "sent", "exceeded"), owed(62, "failed", "exceeded")])
    clock.now_s += 4
    for _ in range(2):
        one = ready(asked, clock)
        assert one
        if one.episode == "sent":
            asked.offer([owed(61, "sent", "cleared")])  # while it is under way
            asked.worked(one)
        else:
            asked.failed(one, 0)
    asked.offer([owed(63, "failed", "cleared"), *pair(50), *pair(51), *pair(52)])
    assert numbers(asked.take_ended()) == [[100, 101, 102, 103, 104, 105]]
    assert {one.n for one in asked.owed()} == {61, 62, 63}


def test_what_an_earlier_monitor_may_have_sent_is_not_left_out() -> None:
    clock = Clock()
    asked = behind(clock)
    asked.offer([*pair(50), *pair(51), *pair(52), owed(120, "e60", "exceeded")], earlier=True)
    asked.offer([owed(121, "e60", "cleared"), *pair(61), *pair(62)])
    assert numbers(asked.take_ended()) == [[122, 123, 124, 125]]


def test_a_folded_alert_is_not_left_out() -> None:
    clock = Clock()
    asked = behind(clock)
    asked.offer([*pair(50, count="7"), *pair(51), *pair(52, count="7"), *pair(53)])
    assert numbers(asked.take_ended()) == [[102, 103, 106, 107]]


def test_one_episode_alone_is_sent_as_it_is() -> None:
    clock = Clock()
    asked = behind(clock)
    asked.offer([*pair(50), *(owed(n, f"goes on {n}", "exceeded") for n in range(200, 210))])
    assert asked.take_ended() == []


def test_no_user_hides_what_is_another_users() -> None:
    clock = Clock()
    asked = behind(clock)
    asked.offer([*pair(50, 1009), *pair(51), *pair(52, 1009)])
    assert numbers(asked.take_ended()) == [[100, 101, 104, 105]]
    asked.offer(pair(53))
    asked.offer([owed(n, f"goes on {n}", "exceeded") for n in range(200, 210)])
    assert numbers(asked.take_ended()) == [[102, 103, 106, 107]]


def test_a_summary_is_the_end_of_the_worst_and_says_how_many() -> None:
    ongoing = owed(104, "e50", "ongoing", peak="99")
    alerts = [*pair(50, peak="5"), *pair(51, peak="9000"), ongoing, *pair(52, peak="6")]
    made = summary_of(alerts, 300)
    assert made.fields == pair(51, peak="9000")[1].fields | {"ended": "3", "unsent": "6"}
    assert (made.n, made.episode, made.boot_s) == (300, "e51", 105.0)
    critical = pair(53, peak="5", severity="critical")
    assert summary_of([*alerts, *critical], 301).fields["id"] == "e53"
    more = summary_of([*pair(54), made], 302)
    assert (more.fields["id"], more.fields["ended"], more.fields["unsent"]) == ("e51", "4", "8")


def test_an_earlier_summary_becomes_part_of_the_next_unless_it_was_tried() -> None:
    clock = Clock()
    asked = behind(clock)
    asked.offer([each for n in range(50, 55) for each in pair(n)])
    (taken,) = asked.take_ended()
    first = summary_of(taken, 300)
    asked.offer([first, *pair(60), *(owed(n, f"goes on {n}", "exceeded") for n in range(200, 210))])
    (taken,) = asked.take_ended()
    assert [one.n for one in taken] == [120, 121, 300]
    asked.offer([summary_of(taken, 301)])
    clock.now_s += 8
    tried = [ready(asked, clock) for _ in range(4)]
    assert 301 in {one.n for one in tried if one}  # one turn of four is for ends
    asked.offer([*pair(61), *pair(62), *pair(63)])
    assert numbers(asked.take_ended()) == [[122, 123, 124, 125, 126, 127]]


def test_the_newest_incident_goes_first_when_it_is_behind() -> None:
    clock = Clock()
    asked = behind(clock)
    asked.offer([owed(n, f"old {n}", "exceeded") for n in range(200, 300)])
    asked.offer([owed(300, "new", "exceeded")])
    clock.now_s += 2
    one = ready(asked, clock)
    assert one
    assert one.episode == "new"


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.integers(0, 1)),
        st.tuples(st.just("end"), st.integers(0, 50)),
        st.tuples(st.just("take"), st.just(0)),
        st.tuples(st.just("worked"), st.integers(0, 3)),
        st.tuples(st.just("failed"), st.integers(0, 3)),
        st.tuples(st.just("summarise"), st.just(0)),
        st.tuples(st.just("wait"), st.integers(1, 9)),
    ),
    max_size=200,
)


class History:
    """A queue whose every alert is sent or stood for."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.queue = queue(self.clock, rate=RATE, burst=2)
        self.n = count(1)
        self.made = 0
        self.open: list[tuple[str, int]] = []
        self.under_way: list[Owed] = []
        self.sent: list[dict[str, str]] = []

    def begin(self, account: int) -> None:
        self.made += 1
        self.open.append((f"e{self.made}", account))
        self.queue.offer([owed(next(self.n), f"e{self.made}", "exceeded", account)])

    def end(self, which: int) -> None:
        if self.open:
            episode, account = self.open.pop(which % len(self.open))
            self.made += 1
            self.queue.offer([owed(next(self.n), episode, "cleared", account)])

    def take(self, _: int) -> None:
        if one := ready(self.queue, self.clock):
            self.under_way.append(one)

    def worked(self, which: int) -> None:
        if self.under_way:
            one = self.under_way.pop(which % len(self.under_way))
            self.queue.worked(one)
            self.sent.append(one.fields)

    def failed(self, which: int) -> None:
        if self.under_way:
            self.queue.failed(self.under_way.pop(which % len(self.under_way)), 0)

    def summarise(self, _: int) -> None:
        for alerts in self.queue.take_ended():
            self.queue.offer([summary_of(alerts, next(self.n))])

    def wait(self, seconds: int) -> None:
        self.clock.now_s += seconds


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_every_alert_is_sent_or_counted_and_nothing_stays_over_at_the_receiver(
    steps: list[tuple[str, int]],
) -> None:
    at = History()
    for name, number in steps:
        getattr(at, name)(number)
    while at.open:
        at.end(0)
    at.summarise(0)
    while at.under_way:
        at.worked(0)
    while at.queue.depth():
        at.wait(9)
        at.take(0)
        at.worked(0)
    assert len(at.sent) + sum(int(fields.get("unsent", "0")) for fields in at.sent) == at.made
    events = Counter((fields["id"], fields["event"]) for fields in at.sent)
    assert set(events.values()) <= {1}
    begun = {id_ for id_, event in events if event == "exceeded"}
    assert begun <= {id_ for id_, event in events if event == "cleared"}
    left = at.queue._backlog._meanwhile
    assert not left._sent
    assert not left._ended
    assert not left._summaries


def test_the_outbox_writes_the_summary_and_owes_no_more_what_it_stands_for(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    slow = Scripted()
    at = office(path, {"slack": slow}, rate=0.001, burst=1)
    at.put(alert("first", 1))
    until(lambda: len(slow.took) == 1)
    at.put(*(each for n in range(2, 40, 2) for each in (alert(f"e{n}", n), alert(f"e{n}", n + 1, "cleared"))))
    at.put(alert("goes on", 40))
    until(lambda: len(rows(path)) == 2)
    summary = next(fields for fields in journal(path) if "ended" in fields)
    assert (summary["event"], summary["ended"], summary["unsent"]) == ("cleared", "19", "37")
    assert at.counted("summarised", "given_up", "dropped") == (37, 0, 0)
    assert at.stop(0) == 2
    fast = Scripted()
    again = office(path, {"slack": fast})  # whoever comes later owes the summary
    until(lambda: len(fast.took) == 2)
    assert {fields["id"] for fields in fast.took} == {summary["id"], "goes on"}
    assert again.stop() == 0


def journal(path: Path) -> list[dict[str, Any]]:
    return [one.fields for one in read(path.read_bytes()).owed.values()]
