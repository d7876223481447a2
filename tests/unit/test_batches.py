# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Batches: how many alerts go together, when they go, in which order; and one at fault has no other refused."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockbpf.delivery.breaker import Breaker, Bucket
from sockbpf.delivery.owed import Owed
from sockbpf.delivery.queue import Queue
from sockbpf.delivery.transport import TransportError
from sockbpf.delivery.worker import TRIES
from tests.unit.offices import Fields, Scripted, ScriptedBatches, alert, office, rows, until
from tests.unit.queues import Clock, owed, queue, ready_all, steps

LONG_S = 3600.0


def numbers(alerts: list[Owed]) -> list[int]:
    return [one.n for one in alerts]


def real_queue(rate: float = 0, burst: int = 1) -> Queue:
    return Queue(capacity=10_000, breaker=Breaker(0.001, 0.004), bucket=Bucket(rate, burst))


# which


def test_first_comes_one_of_each_episode_then_what_follows_in_them() -> None:
    clock = Clock()
    asked = queue(clock)
    asked.offer([owed(1, "a"), owed(2, "a"), owed(3, "b"), owed(4, "a"), owed(5, "c"), owed(6, "c")])
    assert numbers(ready_all(asked, clock, 5)) == [1, 3, 5, 2, 6]
    assert ready_all(asked, clock, 5) == [], "all three episodes are under way"
    asked.worked(*[one for one in asked.owed() if one.n != 4])
    assert numbers(ready_all(asked, clock, 5)) == [4]


def test_a_batch_that_failed_goes_together_again() -> None:
    clock = Clock()
    asked = queue(clock)
    asked.offer([owed(n, f"{n % 7}") for n in range(1, 18)])
    batch = ready_all(asked, clock, 13)
    assert asked.failed_all(batch, 0) == []
    assert not asked.is_broken(), "that was one failure"
    assert numbers(ready_all(asked, clock, 13)) == [], "each episode waits"
    clock.now_s += 8
    assert numbers(ready_all(asked, clock, 13)) == numbers(batch)


def test_alerts_beyond_the_rate_are_in_no_batch() -> None:
    clock = Clock()
    asked = queue(clock, rate=10, burst=5)
    asked.offer([owed(n) for n in range(1, 100)])
    sent = 0
    for _ in range(40):
        sent += len(ready_all(asked, clock, 1000))
        clock.now_s += 0.05
    assert 5 + 18 <= sent <= 5 + 20


STEPS = steps(st.integers(1, 7), "worked", "half", "failed", "asked")


@given(STEPS, st.integers(1, 12))
@settings(max_examples=150, deadline=None)
def test_whatever_happens_all_are_delivered_in_order_or_given_up(  # noqa: C901, one branch for each step
    steps: list[tuple[str, int]], capacity: int
) -> None:
    clock = Clock()
    asked = queue(clock, capacity=capacity)
    under_way: list[list[Owed]] = []
    done: dict[str, list[int]] = defaultdict(list)
    made, gone = 0, set()

    def work(alerts: list[Owed]) -> None:
        for one in alerts:
            done[one.episode].append(one.n)
        asked.worked(*alerts)

    for step, number in steps:
        if step == "offer":
            made += 1
            gone |= {one.n for one in asked.offer([owed(made, f"episode {number}", made_s=made)])}
        elif step == "take":
            batch = ready_all(asked, clock, number)
            busy = {one.episode for one in chain.from_iterable(under_way)}
            assert not busy & {one.episode for one in batch}
            assert len(batch) <= number
            under_way += [batch] if batch else []
        elif step == "wait":
            clock.now_s += number
        elif step == "expire":
            gone |= {one.n for one in asked.expire(number)}
        elif under_way:
            batch = under_way.pop(number % len(under_way))
            half = 0 if step in {"failed", "asked"} else len(batch) if step == "worked" else len(batch) // 2
            if half:
                work(batch[:half])
            if batch[half:]:
                asked.failed_all(batch[half:], 3 if step == "asked" else 0)
        assert asked.depth() <= capacity + sum(map(len, under_way))
    for batch in under_way:
        work(batch)
    while asked.depth():
        clock.now_s += 9
        while batch := ready_all(asked, clock, 5):
            work(batch)
    delivered = [n for some in done.values() for n in some]
    assert sorted([*delivered, *gone]) == list(range(1, made + 1)), "each once: delivered or given up"
    assert all(some == sorted(some) for some in done.values())
    assert not asked._backlog.episodes
    assert not asked._pauses.failures
    assert not asked._backlog.under_way


def test_batches_of_a_storm_are_taken_without_delay() -> None:
    """Linear in its size: a scan of all for each batch would take minutes."""
    clock, number = Clock(), 100_003
    asked = queue(clock, capacity=number)
    asked.offer([owed(n, f"{n % 20_011}") for n in range(number)])
    while asked.depth():
        asked.worked(*ready_all(asked, clock, 1000))


# when


def test_a_full_batch_does_not_wait() -> None:
    asked = real_queue()
    asked.offer([owed(n, f"{n % 3}") for n in range(1, 14)])
    assert len(asked.take_all(13, LONG_S)) == 13


def test_what_may_not_be_taken_does_not_make_a_batch_full() -> None:
    asked = real_queue()
    asked.offer([owed(n, "a") for n in range(1, 14)])
    asked.take_all(2, 0)
    asked.offer([owed(20, "b")])
    begun = time.monotonic()
    assert numbers(asked.take_all(5, 0.05)) == [20]
    assert time.monotonic() - begun >= 0.05


def test_a_batch_goes_when_it_gets_full_or_has_waited() -> None:
    asked = real_queue()
    asked.offer([owed(1)])
    taken: list[list[Owed]] = []
    waiting = threading.Thread(target=lambda: taken.append(asked.take_all(3, LONG_S)))
    waiting.start()
    until(lambda: asked._goes_s < float("inf"))
    asked.offer([owed(2)])
    asked.offer([owed(3)])
    waiting.join(60)
    assert [numbers(batch) for batch in taken] == [[1, 2, 3]]
    asked.offer([owed(4)])
    begun = time.monotonic()
    assert numbers(asked.take_all(3, 0.05)) == [4]
    assert time.monotonic() - begun >= 0.05


@pytest.mark.parametrize("ends", [True, False])
def test_the_end_is_not_waited_for(ends: bool) -> None:
    asked = real_queue()
    asked.offer([owed(1)])
    taken: list[list[Owed]] = []
    waiting = threading.Thread(target=lambda: taken.append(asked.take_all(3, LONG_S)))
    waiting.start()
    until(lambda: asked._goes_s < float("inf"))
    if ends:
        assert numbers(asked.end()) == [1]
    else:
        asked.close(time.monotonic() + LONG_S)
    waiting.join(60)
    assert [numbers(batch) for batch in taken] == ([[]] if ends else [[1]])


def test_what_a_shift_gathers_goes_to_the_next_one() -> None:
    asked = real_queue()
    asked.offer([owed(1)])
    taken: list[list[Owed]] = []
    waiting = threading.Thread(target=lambda: taken.append(asked.take_all(3, LONG_S)))
    waiting.start()
    until(lambda: asked._goes_s < float("inf"))
    shift = object()
    asked.hand_over(shift, capacity=9, breaker=Breaker(1, 8), bucket=Bucket(0, 1))
    waiting.join(60)
    assert taken == [[]]
    assert numbers(asked.take_all(1, LONG_S, shift)) == [1]


# what becomes of it


def test_a_slow_destination_of_batches_delays_no_other(tmp_path: Path) -> None:
    go = threading.Event()

    def hang(_: Sequence[Fields]) -> Mapping[int, str]:
        assert go.wait(60)
        return {}

    slow, quick, single = ScriptedBatches(7, answer=hang), ScriptedBatches(7), Scripted()
    at = office(tmp_path / "journal", {"slow": slow, "quick": quick, "single": single})
    at.put(*(alert(str(n % 11), n) for n in range(1, 102)))
    until(lambda: len(quick.seqs()) == len(single.took) == 101)
    assert not slow.took
    go.set()
    assert at.stop() == 0
    assert sorted(slow.seqs()) == list(range(1, 102))
    assert rows(tmp_path / "journal") == []
    assert quick.closed == 3


def test_rows_that_are_refused_are_given_up_and_named_with_the_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse_odd(alerts: Sequence[Fields]) -> Mapping[int, str]:
        return {at: "size: expected a whole number" for at, one in enumerate(alerts) if int(one["seq"]) % 2}

    destination = ScriptedBatches(100, LONG_S, refuse_odd)
    at = office(tmp_path / "journal", {"store": destination}, workers=1)
    at.put(*(alert(str(n), n) for n in range(1, 101)))
    until(lambda: at.counted("delivered", "given_up") == (50, 50))
    assert at.counted("retried") == (0,)
    assert at.stop() == 0
    assert sorted(destination.seqs()) == list(range(2, 101, 2))
    assert rows(tmp_path / "journal") == []
    assert "given up, size: expected a whole number: store 1/exceeded/1, store 3/exceeded/3" in caplog.text


@pytest.mark.parametrize("is_defect", [True, False])
def test_one_alert_at_fault_has_no_other_refused(tmp_path: Path, is_defect: bool) -> None:
    requests = 0

    def refuse_some(alerts: Sequence[Fields]) -> Mapping[int, str]:
        nonlocal requests
        requests += 1
        if any(one["seq"] in {"13", "77"} for one in alerts):
            raise LookupError if is_defect else TransportError("answered 400", permanent=True)
        return {}

    destination = ScriptedBatches(101, 0.05, refuse_some)
    at = office(tmp_path / "journal", {"store": destination}, workers=1)
    at.put(*(alert(str(n % 7), n) for n in range(1, 102)))
    until(lambda: at.counted("delivered") == (99,))
    assert at.stop() == 0
    assert at.counted("set_aside" if is_defect else "given_up") == (2,)
    assert sorted(destination.seqs()) == [n for n in range(1, 102) if n not in {13, 77}]
    assert requests < (2 * TRIES if is_defect else 1) * 40
    assert rows(tmp_path / "journal") == []


class Whims:
    """A receiver that takes a batch, refuses it or some rows, fails before or after it, or says nonsense."""

    def __init__(self, seed: int, most: int) -> None:
        self.most, self.wait_s = most, 0.001
        self._random = Random(seed)
        self._lock = threading.Lock()
        self.took: list[int] = []
        self.by_episode: dict[str, list[int]] = defaultdict(list)
        self.refused: set[int] = set()
        self.failed_after: set[int] = set()

    def send_all(self, alerts: Sequence[Fields]) -> Mapping[int, str]:
        with self._lock:
            whim = self._random.choices(
                ["take", "refuse rows", "fail", "fail after", "permanent", "asks"], [6, 2, 2, 2, 1, 1]
            )[0]
            if whim == "fail":
                raise TransportError("answered 500")
            if whim == "asks":
                raise TransportError("answered 429", retry_after_s=0.001)
            if whim == "permanent":
                if len(alerts) == 1:
                    self.refused.add(int(alerts[0]["seq"]))
                raise TransportError("answered 400", permanent=True)
            refused = {
                at: "no" for at in range(len(alerts)) if whim == "refuse rows" and self._random.random() < 0.3
            }
            self.refused |= {int(alerts[at]["seq"]) for at in refused}
            for at, one in enumerate(alerts):
                if at not in refused:
                    self.took.append(int(one["seq"]))
                    self.by_episode[one["id"]].append(int(one["seq"]))
            if whim == "fail after":
                self.failed_after |= {int(one["seq"]) for one in alerts}
                raise TransportError("no answer")
            return refused

    def close(self) -> None:
        """Nothing is open."""


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 4), st.integers(1, 30))
@settings(max_examples=25, deadline=None)
def test_whatever_a_receiver_does_all_arrive_in_order_or_are_refused(
    seed: int, most: int, workers: int, episodes: int
) -> None:
    receiver = Whims(seed, most)
    at = office(None, {"store": receiver}, workers=workers)
    random = Random(seed)
    total = 211
    at.put(*(alert(str(random.randrange(episodes)), n) for n in range(1, total + 1)))
    until(lambda: sum(at.counted("delivered", "given_up")) == total, 60)
    assert at.stop() == 0
    assert set(receiver.took) | receiver.refused == set(range(1, total + 1)), "nothing is lost"
    assert at.counted("given_up") == (len(receiver.refused),)
    twice = {n for n, times in Counter(receiver.took).items() if times > 1}
    assert twice <= receiver.failed_after, "nothing is told twice without a failure"
    for told in receiver.by_episode.values():
        firsts = list(dict.fromkeys(told))
        assert firsts == sorted(firsts)
