# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The alerts owed to one destination, in memory: which is next, when it may be tried, and which are given up."""

from __future__ import annotations

import heapq
import threading
import time
from itertools import chain
from typing import TYPE_CHECKING

from sockbpf.delivery.breaker import Breaker, Bucket, backoff_s
from sockbpf.delivery.meanwhile import Meanwhile
from sockbpf.delivery.shares import Shares
from sockbpf.delivery.turns import Kind, Turns
from sockbpf.process.life import REST_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sockbpf.delivery.owed import Owed

TIDY_FROM = 64
"""So many episodes without alerts may stand in the turns before the turns are tidied."""


class Queue:
    """At most `capacity` alerts, given out one by one and in order for each episode.

    Episodes do not wait for each other, except that a destination that is taken for dead gets one request at a
    time. Safe from several threads. `clock` is monotonic, in seconds.

    The workers that take from it belong to a shift: an object, None at first. `hand_over` begins the next shift, for
    instance with other settings: from then on the shift before gets no alert, and only reports how the deliveries
    end that it has begun.
    """

    def __init__(
        self,
        *,
        capacity: int,
        breaker: Breaker,
        bucket: Bucket,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.capacity = capacity
        self._breaker = breaker
        self._bucket = bucket
        self._clock = clock
        self._changed = threading.Condition()
        self._owed: dict[int, Owed] = {}
        """By n, oldest first."""
        self._episodes: dict[str, list[int]] = {}
        self._shares = Shares()
        self._meanwhile = Meanwhile()
        self._ready = Turns()
        self._later: list[tuple[float, int, str]] = []
        """A heap of (when, n of its first alert, episode): the episodes whose last try failed."""
        self._failures: dict[str, int] = {}
        self._under_way: dict[int, tuple[object, bool]] = {}
        """n of an alert that is being tried -> the shift that tries it, and whether the try is a probe."""
        self._shift: object = None
        self._ended = False
        self._closes_s = float("inf")

    def offer(self, alerts: Iterable[Owed], *, earlier: bool = False) -> list[Owed]:
        """Queue alerts; return those that are given up because there are too many.

        `earlier` says that an earlier monitor owed them: it may have sent some.
        """
        with self._changed:
            now_s = self._clock()
            before_s = self._due_s(now_s)
            for owed in alerts:
                self._owed[owed.n] = owed
                self._shares.add(owed)
                waiting = self._episodes.setdefault(owed.episode, [])
                waiting.append(owed.n)
                if self._bucket.rate:
                    self._meanwhile.offered(owed, self._owed[waiting[0]], earlier=earlier)
                if len(waiting) == 1:
                    self._is_ready(owed.episode)
            due_s = self._due_s(now_s)
            # While no alert may be tried no worker is woken: that would take time from the other destinations.
            if due_s is not None and (due_s <= now_s or before_s is None or due_s < before_s):
                self._changed.notify()  # a worker that begins a try wakes the next
            return self._shrink(self.capacity)

    def _is_ready(self, episode: str) -> None:
        if self._waits(episode):
            head = self._owed[self._episodes[episode][0]]
            kind = Kind.BEGINS if head.begins else Kind.REPEATS if head.repeats else Kind.NEWS
            newest_first = kind is Kind.BEGINS and self._is_behind()
            self._ready.add(episode, head.account, head.service, kind, newest_first=newest_first)

    def _is_behind(self) -> bool:
        return self._bucket.is_behind(len(self._owed), self._clock())

    def take_ended(self) -> list[list[Owed]]:
        """If the destination is behind, forget and return what began and ended meanwhile, for each summary to be."""
        with self._changed:
            if not self._is_behind():
                return []
            taken = [
                [self._owed[n] for episode in episodes for n in self._episodes[episode]]
                for episodes in self._meanwhile.take()
            ]
            for owed in chain.from_iterable(taken):
                self._forget(owed)
            return taken

    def _shrink(self, capacity: int) -> list[Owed]:
        """Give up the alerts beyond the capacity, those of the account that has most."""
        given_up: list[Owed] = []
        while len(self._owed) > capacity and (n := self._shares.victim(self._under_way)) is not None:
            given_up.append(self._owed[n])
            self._forget(self._owed[n])
        if len(self._ready) > 2 * len(self._episodes) + TIDY_FROM:
            self._ready.keep(self._waits)  # episodes whose alerts were given up are still in there
        return given_up + self._give_up(len(self._owed) - capacity, float("inf"))

    def expire(self, made_before_s: float) -> list[Owed]:
        """Give up the alerts that were made before this, CLOCK_BOOTTIME; return them."""
        with self._changed:
            return self._give_up(len(self._owed), made_before_s)

    def _give_up(self, most: int, made_before_s: float) -> list[Owed]:
        given_up: list[Owed] = []
        if most <= 0:
            return given_up
        for owed in self._owed.values():
            if len(given_up) == most or owed.boot_s >= made_before_s:
                break
            if owed.n not in self._under_way:
                given_up.append(owed)
        for owed in given_up:
            self._forget(owed)
        return given_up

    def _forget(self, owed: Owed) -> None:
        """Drop an alert. An episode that has none left is skipped when its turn comes."""
        del self._owed[owed.n]
        self._shares.remove(owed)
        waiting = self._episodes[owed.episode]
        waiting.remove(owed.n)
        self._meanwhile.forgotten(owed, is_last=not waiting)
        if not waiting:
            del self._episodes[owed.episode]
            self._failures.pop(owed.episode, None)

    def hand_over(self, shift: object, *, capacity: int, breaker: Breaker, bucket: Bucket) -> list[Owed]:
        """Give the alerts to this shift from now on, none waits for a retry; return those given up by `capacity`."""
        with self._changed:
            self._shift = shift
            self.capacity, self._breaker, self._bucket = capacity, breaker, bucket
            self._failures.clear()
            self._all_at_once()
            self._changed.notify_all()
            return self._shrink(capacity)

    def end(self) -> list[Owed]:
        """Give out no alert any more; forget those that are not being tried, and return them."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            return self._give_up(len(self._owed), float("inf"))

    def take(self, shift: object = None, beat: Callable[[], None] = lambda: None) -> Owed | None:
        """Wait for the next alert that is due and return it; `worked` or `failed` must be called with it.

        `beat` is called now and then while it waits. Return None when this shift is over, or when the queue is closed
        and no further alert will be due in time.
        """
        with self._changed:
            while True:
                beat()
                now_s = self._clock()
                if self._ended or shift is not self._shift or now_s >= self._closes_s:
                    self._changed.notify_all()
                    return None
                due_s = self._due_s(now_s)
                if due_s is not None and due_s <= now_s:
                    return self._begin()
                if self._closing and self._is_done(due_s):
                    self._changed.notify_all()
                    return None
                wake_s = min(self._closes_s, float("inf") if due_s is None else due_s)
                self._changed.wait(min(REST_S, wake_s - now_s))

    @property
    def _closing(self) -> bool:
        return self._closes_s < float("inf")

    def _is_done(self, due_s: float | None) -> bool:
        """Whether no alert is due before the deadline, and no try under way can make one due."""
        return due_s >= self._closes_s if due_s is not None else not self._under_way

    def _due_s(self, now_s: float) -> float | None:
        """Return when the next alert may be tried; None if none may be until another thread changes that."""
        while self._later and self._later[0][0] <= now_s:
            self._is_ready(heapq.heappop(self._later)[2])
        while (first := self._ready.first()) is not None and not self._waits(first):
            self._ready.skip()
        while self._later and not self._waits(self._later[0][2]):
            heapq.heappop(self._later)
        if self._ready:
            due_s = now_s
        elif self._later:
            due_s = self._later[0][0]
        else:
            return None
        allowed_s = self._breaker.due_s()
        if allowed_s is None:
            return None
        return max(due_s, allowed_s, self._bucket.due_s(now_s))

    def _waits(self, episode: str) -> bool:
        waiting = self._episodes.get(episode, [])
        return bool(waiting) and waiting[0] not in self._under_way

    def _begin(self) -> Owed:
        owed = self._owed[self._episodes[self._ready.take() or ""][0]]
        self._meanwhile.tried(owed)
        self._under_way[owed.n] = (self._shift, self._breaker.began())
        self._bucket.take()
        if self._ready:
            self._changed.notify()
        return owed

    def worked(self, owed: Owed) -> None:
        """Take note that the destination took the alert, or refused it for good: it is not owed any more."""
        with self._changed:
            shift, _ = self._under_way.pop(owed.n)
            if shift is self._shift:
                if self._breaker.is_open:  # the destination answers again: no retry need wait
                    self._all_at_once()
                self._breaker.worked()
            self._failures.pop(owed.episode, None)
            self._forget(owed)
            if owed.episode in self._episodes:
                self._is_ready(owed.episode)
            self._changed.notify_all()

    def failed(self, owed: Owed, asked_s: float, *, absent: bool = False) -> bool:
        """Take note that a try failed; `asked_s` is how long the destination asked to be left alone.

        `absent` says that nobody listens there at all.

        Return whether the alert is still owed: in a queue that has ended it is not.
        """
        with self._changed:
            shift, probe = self._under_way.pop(owed.n)
            if self._ended:
                self._forget(owed)
                return False
            if shift is not self._shift:  # a try by earlier settings says nothing of the destination now
                self._is_ready(owed.episode)
                self._changed.notify_all()
                return True
            now_s = self._clock()
            self._breaker.failed(now_s, asked_s, probe=probe, absent=absent)
            failures = self._failures[owed.episode] = self._failures.get(owed.episode, 0) + 1
            wait_s = backoff_s(failures, self._breaker.retry_first_s, self._breaker.retry_max_s)
            heapq.heappush(self._later, (now_s + wait_s, owed.n, owed.episode))
            self._changed.notify_all()
            return True

    def close(self, deadline_s: float) -> None:
        """Try each waiting alert once more, at once; give out none after the deadline, monotonic seconds."""
        with self._changed:
            self._closes_s = deadline_s
            self._breaker.try_now()
            self._all_at_once()
            self._changed.notify_all()

    def _all_at_once(self) -> None:
        self._later = [(0.0, n, episode) for _, n, episode in self._later]
        heapq.heapify(self._later)

    def owed(self) -> list[Owed]:
        """Return all owed alerts, those being tried included, oldest first."""
        with self._changed:
            return list(self._owed.values())

    def depth(self) -> int:
        """Return how many alerts are owed."""
        with self._changed:
            return len(self._owed)

    def oldest_s(self) -> float | None:
        """Return when the oldest alert was made, CLOCK_BOOTTIME."""
        with self._changed:
            return next((owed.boot_s for owed in self._owed.values()), None)

    def is_broken(self) -> bool:
        """Whether the destination is taken for dead."""
        with self._changed:
            return self._breaker.is_open
