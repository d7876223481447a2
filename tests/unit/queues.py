# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A queue with a clock that is moved by hand, and steps that can be taken with it."""

from __future__ import annotations

from hypothesis import strategies as st

from sockbpf.delivery.breaker import Breaker, Bucket
from sockbpf.delivery.owed import Owed
from sockbpf.delivery.queue import Queue


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def queue(clock: Clock, capacity: int = 1000, rate: float = 0, burst: int = 1) -> Queue:
    return Queue(capacity=capacity, breaker=Breaker(1, 8), bucket=Bucket(rate, burst), clock=clock)


def owed(n: int, episode: str = "", made_s: float = 0) -> Owed:
    return Owed(n, "http", episode or f"episode {n}", 0.0, "{}", boot="boot", boot_s=made_s)


def ready(asked: Queue, clock: Clock) -> Owed | None:
    """Take what is due now, without waiting."""
    taken = ready_all(asked, clock, 1)
    return taken[0] if taken else None


def ready_all(asked: Queue, clock: Clock, most: int) -> list[Owed]:
    """Take a batch of what is due now, without waiting."""
    with asked._changed:
        due_s = asked._due_s(clock.now_s)
        return asked._begin(most, clock.now_s) if due_s is not None and due_s <= clock.now_s else []


def steps(most: st.SearchStrategy[int], *ended: str) -> st.SearchStrategy[list[tuple[str, int]]]:
    """Return histories of a queue; `most` is how many are taken, `ended` how what was taken can end."""
    return st.lists(
        st.one_of(
            st.tuples(st.just("offer"), st.integers(0, 4)),
            st.tuples(st.just("take"), most),
            st.tuples(st.sampled_from(ended), st.integers(0, 3)),
            st.tuples(st.just("wait"), st.integers(1, 9)),
            st.tuples(st.just("expire"), st.integers(0, 40)),
        ),
        max_size=200,
    )
