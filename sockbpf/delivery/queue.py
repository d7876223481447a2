# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The alerts owed to one destination, in memory: which is next, when it may be tried, and which are given up."""

from __future__ import annotations

import threading
import time
from itertools import chain
from typing import TYPE_CHECKING

from sockbpf.delivery.backlog import Backlog
from sockbpf.delivery.pauses import Pauses
from sockbpf.delivery.turns import Kind, Turns
from sockbpf.process.life import REST_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sockbpf.delivery.breaker import Breaker, Bucket
    from sockbpf.delivery.owed import Owed

TIDY_FROM = 64
"""So many episodes without alerts may stand in the turns before the turns are tidied."""


class Queue:
    """At most `capacity` alerts, given out one by one or in batches, and in order for each episode.

    Episodes do not wait for each other, except that a destination that is taken for dead gets one request at a
    time, and that a batch fails as a whole. Safe from several threads. `clock` is monotonic, in seconds.

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
        self._backlog = Backlog()
        self._ready = Turns()
        self._pauses = Pauses()
        self._goes_s = float("inf")
        """When the batch that waits for more alerts is given out even though it is not full."""
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
            has_rate = self._bucket.rate > 0
            for owed in alerts:
                if self._backlog.add(owed, earlier=earlier, has_rate=has_rate):
                    self._is_ready(owed.episode)
            due_s = self._due_s(now_s)
            # While no alert may be tried no worker is woken: that would take time from the other destinations.
            if due_s is not None and (due_s <= now_s or before_s is None or due_s < before_s):
                self._changed.notify()  # a worker that begins a try wakes the next
            return self._shrink(self.capacity)

    def _is_ready(self, episode: str) -> None:
        if self._backlog.waits(episode):
            head = self._backlog.first(episode)
            kind = Kind.BEGINS if head.begins else Kind.REPEATS if head.repeats else Kind.NEWS
            newest_first = kind is Kind.BEGINS and self._is_behind()
            self._ready.add(episode, head.account, head.service, kind, newest_first=newest_first)

    def _is_behind(self) -> bool:
        return self._bucket.is_behind(len(self._backlog.owed), self._clock())

    def take_ended(self) -> list[list[Owed]]:
        """If the destination is behind, forget and return what began and ended meanwhile, for each summary to be."""
        with self._changed:
            if not self._is_behind():
                return []
            taken = self._backlog.ended()
            for owed in chain.from_iterable(taken):
                self._forget(owed)
            return taken

    def _shrink(self, capacity: int) -> list[Owed]:
        """Give up the alerts beyond the capacity, those of the account that has most."""
        given_up: list[Owed] = []
        while len(self._backlog.owed) > capacity and (owed := self._backlog.victim()):
            given_up.append(owed)
            self._forget(owed)
        if len(self._ready) > 2 * len(self._backlog.episodes) + TIDY_FROM:
            self._ready.keep(self._backlog.waits)  # episodes whose alerts were given up are still in there
        return given_up + self._give_up(len(self._backlog.owed) - capacity)

    def expire(self, made_before_s: float) -> list[Owed]:
        """Give up the alerts that were made before this, CLOCK_BOOTTIME; return them."""
        with self._changed:
            return self._give_up(len(self._backlog.owed), made_before_s)

    def _give_up(self, most: int, made_before_s: float = float("inf")) -> list[Owed]:
        given_up = self._backlog.oldest(most, made_before_s)
        for owed in given_up:
            self._forget(owed)
        return given_up

    def _forget(self, owed: Owed) -> None:
        """Drop an alert. An episode that has none left is skipped when its turn comes."""
        if self._backlog.forget(owed):
            self._pauses.failures.pop(owed.episode, None)

    def hand_over(self, shift: object, *, capacity: int, breaker: Breaker, bucket: Bucket) -> list[Owed]:
        """Give the alerts to this shift from now on, none waits for a retry; return those given up by `capacity`."""
        with self._changed:
            self._shift = shift
            self.capacity, self._breaker, self._bucket = capacity, breaker, bucket
            self._pauses.failures.clear()
            self._pauses.end_all()
            self._changed.notify_all()
            return self._shrink(capacity)

    def end(self) -> list[Owed]:
        """Give out no alert any more; forget those that are not being tried, and return them."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            return self._give_up(len(self._backlog.owed))

    def take(self, shift: object = None, beat: Callable[[], None] = lambda: None) -> Owed | None:
        """Wait for the next alert that is due and return it, None if there will be none: `take_all` of one."""
        taken = self.take_all(1, 0.0, shift, beat)
        return taken[0] if taken else None

    def take_all(
        self, most: int, wait_s: float, shift: object = None, beat: Callable[[], None] = lambda: None
    ) -> list[Owed]:
        """Wait for alerts that are due, return at most `most`; `worked` or `failed` must be called with each.

        Fewer than that wait `wait_s` seconds for more, unless the queue is closed. Several may be of one episode,
        in its order. `beat` is called now and then while it waits. Return none when this shift is over, or when the
        queue is closed and no further alert will be due in time.
        """
        with self._changed:
            while True:
                beat()
                now_s = self._clock()
                if self._ended or shift is not self._shift or now_s >= self._closes_s:
                    self._changed.notify_all()
                    return []
                due_s = self._due_s(now_s)
                if due_s is not None and due_s <= now_s:
                    if not wait_s or self._goes(most, wait_s, now_s):
                        return self._begin(most, now_s)
                    due_s = self._goes_s
                else:
                    self._goes_s = float("inf")
                if self._closing and self._is_done(due_s):
                    self._changed.notify_all()
                    return []
                wake_s = min(self._closes_s, float("inf") if due_s is None else due_s)
                self._changed.wait(min(REST_S, wake_s - now_s))

    def due_s(self) -> float | None:
        """Return when the next alert may be tried, on the clock; None if none may be until something changes."""
        with self._changed:
            return self._due_s(self._clock())

    def _goes(self, most: int, wait_s: float, now_s: float) -> bool:
        """Whether a batch is given out now: because it is full, because it has waited or because the end is near."""
        self._goes_s = min(self._goes_s, now_s + wait_s)
        if self._closing or now_s >= self._goes_s or len(self._ready) >= most:
            return True
        backlog = self._backlog
        may_be_full = len(backlog.owed) - len(backlog.under_way) >= most
        return may_be_full and backlog.number_of(self._ready) >= most

    @property
    def _closing(self) -> bool:
        return self._closes_s < float("inf")

    def _is_done(self, due_s: float | None) -> bool:
        """Whether no alert is due before the deadline, and no try under way can make one due."""
        return due_s >= self._closes_s if due_s is not None else not self._backlog.under_way

    def _due_s(self, now_s: float) -> float | None:
        """Return when the next alert may be tried; None if none may be until another thread changes that."""
        for episode in self._pauses.over(now_s):
            self._is_ready(episode)
        due_s = now_s if self._next() is not None else self._pauses.first_s(self._backlog.waits)
        if due_s is None:
            return None
        allowed_s = self._breaker.due_s()
        if allowed_s is None:
            return None
        return max(due_s, allowed_s, self._bucket.due_s(now_s))

    def _next(self) -> str | None:
        """Return the ready episode whose turn it is."""
        while (first := self._ready.first()) is not None and not self._backlog.waits(first):
            self._ready.skip()
        return first

    def _begin(self, most: int, now_s: float) -> list[Owed]:
        most = self._bucket.allowed(most, now_s)
        probe = self._breaker.began()
        taken: list[Owed] = []
        while len(taken) < most and self._next() is not None:
            owed = self._backlog.first(self._ready.take() or "")
            taken.append(self._backlog.begin(owed, self._shift, probe=probe))
        if len(taken) < most:
            following = self._backlog.following(taken, most - len(taken))
            taken += [self._backlog.begin(owed, self._shift, probe=probe) for owed in following]
        self._bucket.take(len(taken))
        self._goes_s = float("inf")
        if self._ready:
            self._changed.notify()
        return taken

    def worked(self, *alerts: Owed) -> None:
        """Take note that the destination took these alerts, or refused them for good: they are not owed any more."""
        with self._changed:
            for owed in alerts:
                shift, _ = self._backlog.under_way.pop(owed.n)
                if shift is self._shift:
                    if self._breaker.is_open:  # the destination answers again: no retry need wait
                        self._pauses.end_all()
                    self._breaker.worked()
                self._pauses.failures.pop(owed.episode, None)
                self._forget(owed)
            for episode in dict.fromkeys(owed.episode for owed in alerts):
                self._is_ready(episode)
            self._changed.notify_all()

    def failed(self, owed: Owed, asked_s: float, *, absent: bool = False) -> bool:
        """Take note that the try of one alert failed; return whether it is still owed: see `failed_all`."""
        return not self.failed_all([owed], asked_s, absent=absent)

    def failed_all(self, alerts: Sequence[Owed], asked_s: float, *, absent: bool = False) -> list[Owed]:
        """Take note that one try of these alerts failed; return those not owed any more: all if the queue has ended.

        `asked_s` is how long the destination asked to be left alone; `absent` says that nobody listens there at all.
        """
        with self._changed:
            shifts = [self._backlog.under_way.pop(owed.n) for owed in alerts]
            if self._ended:
                for owed in alerts:
                    self._forget(owed)
                return list(alerts)
            firsts = {owed.episode: owed.n for owed in reversed(alerts)}
            shift, probe = shifts[0]
            if shift is self._shift:
                now_s = self._clock()
                self._breaker.failed(now_s, asked_s, probe=probe, absent=absent)
                self._pauses.begin(firsts, now_s, self._breaker.retry_first_s, self._breaker.retry_max_s)
            else:  # a try by earlier settings says nothing of the destination now
                for episode in firsts:
                    self._is_ready(episode)
            self._changed.notify_all()
            return []

    def close(self, deadline_s: float) -> None:
        """Try each waiting alert once more, at once; give out none after the deadline, monotonic seconds."""
        with self._changed:
            self._closes_s = deadline_s
            self._breaker.try_now()
            self._pauses.end_all()
            self._changed.notify_all()

    def owed(self) -> list[Owed]:
        """Return all owed alerts, those being tried included, oldest first."""
        with self._changed:
            return list(self._backlog.owed.values())

    def has_room_for_first(self, episode: str) -> bool:
        """Whether no alert of this episode is owed, and one more alert may be."""
        with self._changed:
            return episode not in self._backlog.episodes and len(self._backlog.owed) < self.capacity

    def depth(self) -> int:
        """Return how many alerts are owed."""
        with self._changed:
            return len(self._backlog.owed)

    def oldest_s(self) -> float | None:
        """Return when the oldest alert was made, CLOCK_BOOTTIME."""
        with self._changed:
            return next((owed.boot_s for owed in self._backlog.owed.values()), None)

    def is_broken(self) -> bool:
        """Whether the destination is taken for dead."""
        with self._changed:
            return self._breaker.is_open
