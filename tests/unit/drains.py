# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The rule of bpf/episode.h and bpf/drained.h for one TCP queue, written again: what its hooks say, and the truth."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

from sockbpf.record.event import What

MOST = 2**32


def steps(most: int, threshold: int, clear: int) -> st.SearchStrategy[list[tuple[str, int]]]:
    """Return what is done to a queue, in any order: as likely as anything else it crosses its levels."""
    levels = st.sampled_from([1, clear, clear + 1, threshold, threshold + 1, most])
    size = st.one_of(levels, st.integers(1, most))
    return st.lists(
        st.one_of(
            st.tuples(st.just("grow"), st.one_of(size, st.integers(threshold + 1, most))),
            st.tuples(st.just("drain"), st.one_of(size, st.just(MOST // 2))),  # all of it
            st.tuples(st.sampled_from(["attach", "detach", "look"]), st.just(0)),
        ),
        min_size=13,
        max_size=40,
    )


def distance(behind: int, ahead: int) -> int:
    """Return how far a sequence number is ahead of another; 0 if it is not."""
    ahead_by = (ahead - behind) % MOST
    return ahead_by if ahead_by < MOST // 2 else 0


@dataclass
class Truth:
    """What whoever saw every change of the queue would say."""

    threshold: int
    clear: int
    size: int = 0
    is_over: bool = False
    said: list[What] = field(default_factory=list)

    def change(self, by: int) -> None:
        self.size += by
        if not self.is_over and self.size > self.threshold:
            self.is_over = True
            self.said.append(What.OVER)
        elif self.is_over and self.size <= self.clear:
            self.is_over = False
            self.said.append(What.BACK)


@dataclass
class Rule:
    """What the hooks say: those of growth always, those of drains while they are attached."""

    threshold: int
    clear: int
    filled_to: int = 0
    drained_to: int = 0
    attached: bool = False
    kept: int | None = None
    """`filled_to` when the queue was last judged; None: no episode is open."""
    said: list[What] = field(default_factory=list)

    @property
    def size(self) -> int:
        return distance(self.drained_to, self.filled_to)

    def grow(self, by: int) -> None:
        """Add to a receive queue: the hook runs behind the addition."""
        self.filled_to = (self.filled_to + by) % MOST
        self._judge(None if self.kept is None else distance(self.drained_to, self.kept))

    def send(self, chunks: list[int]) -> None:
        """Add to a send queue by one call: the hooks run ahead of each chunk, and at the end of the call."""
        for chunk in chunks:
            self._judge(self.size)
            self.filled_to = (self.filled_to + chunk) % MOST
        self._judge(self.size)

    def drain(self, by: int) -> None:
        self.drained_to = (self.drained_to + by) % MOST
        if self.attached:
            self._judge(self.size)

    def look(self) -> None:
        """User space asks, as it does when hooks on demand have been attached."""
        if self.kept is not None and self.size <= self.clear:
            self._end()

    def _judge(self, least: int | None) -> None:
        """`least` is the least that the queue is known to have held since it was judged before."""
        if self.kept is not None and least is not None:
            if least > self.clear:
                self.kept = self.filled_to
                return
            self._end()
        if self.size > self.threshold:
            self.kept = self.filled_to
            self.said.append(What.OVER)

    def _end(self) -> None:
        self.kept = None
        self.said.append(What.BACK)
