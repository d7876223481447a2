# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A watch looks again and again in its own thread; what it sees comes to its judge in the caller's thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sockbpf.counters import Counters
from sockbpf.monitor.watch import Watch
from sockbpf.record.alert import Notice
from tests.live.waiting import until


class Judge:
    """Keeps what it is given, and the thread that gave it."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, str]] = []

    def on_look(self, seen: int) -> list[Notice]:
        self.seen.append((seen, threading.current_thread().name))
        return []

    def on_time(self, now_ns: int) -> list[Notice]:
        return []

    def next_due_ns(self) -> int | None:
        return None

    def is_open(self, id_: str) -> bool:
        return False

    def __len__(self) -> int:
        return 0


class Looks:
    """Counts looks; each `fails`-th raises OSError."""

    def __init__(self, fails: int = 0) -> None:
        self.number, self.fails, self.at_four = 0, fails, threading.Event()

    def __call__(self) -> int:
        self.number += 1
        if self.number >= 4:
            self.at_four.set()
        if self.fails and self.number % self.fails == 0:
            raise OSError(24, "too many")
        return self.number


@contextmanager
def watching(
    looks: Callable[[], int], judge: Judge, counters: Counters
) -> Iterator[tuple[Watch[int], threading.Event]]:
    woken = threading.Event()
    watch = Watch("looks", looks, judge, 0.01, on_seen=woken.set, counters=counters)
    try:
        yield watch, woken
    finally:
        watch.stop()


def test_what_is_seen_comes_to_the_judge_in_the_callers_thread() -> None:
    looks, judge = Looks(), Judge()
    with watching(looks, judge, Counters()) as (watch, woken):
        assert looks.at_four.wait(60)
        assert watch.has_looked
        assert woken.is_set()
        assert judge.seen == []
        watch.notices()
    assert judge.seen[:3] == [(number, threading.current_thread().name) for number in (1, 2, 3)]


def test_a_look_that_fails_is_counted_and_the_next_one_works() -> None:
    looks, judge, counters = Looks(fails=2), Judge(), Counters()
    with watching(looks, judge, counters) as (watch, _):
        assert looks.at_four.wait(60)
    watch.notices()
    assert counters.snapshot()["watch_failed"] == looks.number // 2
    assert [number for number, _ in judge.seen[:2]] == [1, 3]


def test_until_the_first_look_it_has_not_looked() -> None:
    go_on = threading.Event()

    def look() -> int:
        go_on.wait(60)
        raise OSError(24, "too many")

    with watching(look, Judge(), Counters()) as (watch, _):
        assert not watch.has_looked
        go_on.set()
        until(lambda: watch.has_looked, "the first look")


def test_it_ends_when_asked() -> None:
    looks = Looks()
    with watching(looks, Judge(), Counters()):
        assert looks.at_four.wait(60)
    assert "looks" not in {thread.name for thread in threading.enumerate()}
