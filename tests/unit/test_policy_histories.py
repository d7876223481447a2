# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Random histories of queues: each true episode is told once, whatever is lost and in whatever order it is read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sockbpf.counters import NAMES
from sockbpf.record.alert import CLEARED, EXCEEDED, Notice
from sockbpf.record.event import Direction, Protocol, Socket
from sockbpf.record.sweep import Reading, Sweep
from tests.unit.policies import (
    CLEAR,
    HISTORIES,
    NETNS,
    QUEUES,
    RECV,
    RINGS,
    SEND,
    THRESHOLD,
    Kernel,
    Model,
    S,
    assert_forgotten,
    counted,
    policy,
    words,
)

QUEUE = st.integers(0, QUEUES - 1)
SIZE = st.sampled_from([0, 1, CLEAR, CLEAR + 1, THRESHOLD, THRESHOLD + 1, 2003, 4001])
RING = st.integers(0, RINGS - 1)


def steps(loss: st.SearchStrategy[bool]) -> st.SearchStrategy[list[tuple[object, ...]]]:
    change = st.tuples(st.just("change"), QUEUE, SIZE, RING, loss)
    read = st.tuples(st.just("read"), RING, st.integers(1, 4))
    look = st.tuples(st.just("look"), st.lists(change, max_size=4))
    return st.lists(st.one_of(change, change, change, read, look), max_size=60)


def play(model: Model, history: list[tuple[object, ...]]) -> None:
    for name, *rest in history:
        if name == "change":
            queue, size, ring, lost = rest
            model.change(queue, size, ring, lost=lost)  # type: ignore[arg-type]
        elif name == "read":
            model.read(*rest)  # type: ignore[arg-type]
        else:  # as the monitor does: the rings, then the table, and the kernel does not wait in between
            model.read_all()
            play(model, rest[0])  # type: ignore[arg-type]
            model.look()
        model.assert_books()


def finish(model: Model) -> None:
    """Empty every queue, read all that was not lost, look until what was lost must have been found."""
    for queue in range(QUEUES):
        model.change(queue, 0, queue % RINGS, lost=False)
    for _ in range(3):
        model.read_all()
        model.look()


def assert_each_begun_and_ended_once(model: Model) -> None:
    by_episode: dict[tuple[object, ...], list[Notice]] = {}
    for notice in model.notices:
        by_episode.setdefault((notice.socket, notice.direction, notice.since_ns), []).append(notice)
    known = [truth for truth in model.truths if truth.known]
    assert len(by_episode) == len(known)
    for truth in known:
        socket, direction, _ = HISTORIES[truth.queue]
        begun, ended = by_episode[socket, direction, truth.since_ns]
        assert (begun.event, begun.ns, begun.size, begun.peak) == (
            EXCEEDED, truth.since_ns, truth.since_size, truth.since_size,
        )  # fmt: skip
        assert (ended.event, ended.id) == (CLEARED, begun.id)
        if truth.back:
            assert (ended.ns, ended.size, ended.peak) == (truth.back.ns, truth.back.size, truth.peak)
        else:
            assert (ended.ns, ended.size, ended.peak) == (truth.known_ns, 0, truth.known_peak)
    assert max(Counter(notice.id for notice in model.notices).values(), default=2) == 2


@settings(max_examples=150, deadline=None)
@given(steps(st.just(value=False)))
def test_without_loss_every_true_episode_begins_and_ends_once(history: list[tuple[object, ...]]) -> None:
    model = Model()
    play(model, history)
    finish(model)
    assert all(truth.known for truth in model.truths)
    assert all(truth.back for truth in model.truths)
    assert_each_begun_and_ended_once(model)
    assert counted(model.policy) == {}
    assert_forgotten(model.policy)


@settings(max_examples=150, deadline=None)
@given(steps(st.booleans()))
def test_with_loss_every_episode_heard_of_begins_and_ends_once(history: list[tuple[object, ...]]) -> None:
    model = Model()
    play(model, history)
    finish(model)
    assert_each_begun_and_ended_once(model)
    assert counted(model.policy) == ({"recovered": model.recovered} if model.recovered else {})
    assert_forgotten(model.policy)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.lists(
            st.sampled_from([0, CLEAR, CLEAR + 1, THRESHOLD, THRESHOLD + 1, 2003]), min_size=4, max_size=4
        )
    )
)
def test_sweeps_alone_tell_what_they_saw(looks: list[list[int]]) -> None:
    rules = policy()
    notices: list[Notice] = []
    open_: dict[int, int] = {}
    begun = ended = 0
    for number, sizes in enumerate([*looks, [0] * QUEUES], start=1):
        readings: dict[Socket, dict[Direction, int]] = {}
        for queue, size in enumerate(sizes):
            socket, direction, _ = HISTORIES[queue]
            readings.setdefault(socket, {SEND: 0, RECV: 0})[direction] = size
            if queue in open_:
                open_[queue] = max(open_[queue], size)
                if size <= CLEAR:
                    del open_[queue]
                    ended += 1
            elif size > THRESHOLD:
                open_[queue] = size
                begun += 1
        rules.sweep_begins()
        read = tuple(Reading(socket, directions) for socket, directions in readings.items())
        taken = Sweep(
            number * S,
            number * S + 1009,
            frozenset((NETNS, protocol) for protocol in Protocol),
            frozenset(),
            read,
        )
        notices += rules.on_sweep(taken, Kernel().reap)
        peaks = {(episode.socket, episode.direction): episode.peak for episode in rules.open.values()}
        assert peaks == {HISTORIES[queue][:2]: peak for queue, peak in open_.items()}
    counts = rules.counters.snapshot()
    assert begun == ended
    assert counts == dict.fromkeys(NAMES, 0) | {"begun_by_sweep": begun, "ended_by_sweep": ended}
    assert words(notices).count(EXCEEDED) == words(notices).count(CLEARED) == begun
    assert len({notice.id for notice in notices}) == begun
    assert_forgotten(rules)


@dataclass
class Loop(Model):
    """The model, and the monitor's loop: the time is taken before all that was said until then is read."""

    def tick(self, history: list[tuple[object, ...]]) -> None:
        now_ns = self.now_ns
        play(self, history)  # the kernel does not wait
        self.read_all()
        self.look()
        self.notices += self.policy.on_time(now_ns)
        due_ns = self.policy.next_due_ns()
        assert due_ns is None or due_ns > now_ns
        held = {e.hold_ends_ns for e in self.policy.open.values() if e.held and not e.missed}
        assert due_ns == min(held, default=None)

    def wake(self) -> None:
        """Sleep until something is due, and a moment too short before."""
        due_ns = self.policy.next_due_ns()
        if due_ns is None:
            return
        if due_ns > self.now_ns:
            assert self.policy.on_time(due_ns - 1) == []
            self.now_ns = due_ns
        self.tick([])


def held_steps() -> st.SearchStrategy[list[tuple[object, ...]]]:
    change = st.tuples(st.just("change"), QUEUE, SIZE, RING, st.booleans())
    read = st.tuples(st.just("read"), RING, st.integers(1, 4))
    tick = st.tuples(st.just("tick"), st.lists(change, max_size=4))
    return st.lists(st.one_of(change, change, change, read, tick, st.just(("wake",))), max_size=60)


@settings(max_examples=150, deadline=None)
@given(
    history=held_steps(),
    hold_ns=st.sampled_from([1, 1009, 1010, 3 * 1009, 10**5]),
    some_are_lost=st.booleans(),
)
def test_what_is_held_has_notices_if_and_only_if_it_lasted(
    history: list[tuple[Any, ...]], hold_ns: int, *, some_are_lost: bool
) -> None:
    model = Loop(policy(hold_ns=hold_ns))
    for name, *rest in history:
        if name == "change":
            model.change(*rest[:3], lost=some_are_lost and rest[3])
        elif name == "read":
            model.read(*rest)
        elif name == "tick":
            model.tick([(*step[:4], some_are_lost and step[4]) for step in rest[0]])
        else:
            model.wake()
        model.assert_books()
        known = len(model.notices) - 2 * len({n.id for n in model.notices if n.event == CLEARED})
        assert known == sum(not episode.held for episode in model.policy.open.values())
    finish(model)
    by_episode: dict[tuple[object, ...], list[str]] = {}
    for notice in model.notices:
        by_episode.setdefault((notice.socket, notice.direction, notice.since_ns), []).append(notice.event)
    assert all(events == [EXCEEDED, CLEARED] for events in by_episode.values())
    lasted: dict[tuple[object, ...], int] = {
        (*HISTORIES[truth.queue][:2], truth.since_ns): truth.ns - truth.since_ns for truth in model.truths
    }
    assert all(lasted[truth] >= hold_ns for truth in by_episode)
    if not some_are_lost:
        assert by_episode.keys() == {truth for truth, ns in lasted.items() if ns >= hold_ns}
    known = sum(truth.known for truth in model.truths)
    assert counted(model.policy).get("held_back", 0) == known - len(by_episode)
    assert_forgotten(model.policy)
