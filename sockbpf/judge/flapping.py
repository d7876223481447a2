# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Flapping: of a queue that crosses its threshold again and again the first notices pass, then crossings are counted.

Pure: no I/O, the clock is an argument. At most `above` notices of one queue, `exceeded` and `cleared`, are passed on
within the window. The last of these `exceeded` begins a flap: one episode that lasts until the queue has been back
for a whole window. Meanwhile crossings are counted: the flap's `ongoing`, at each repeat interval, and its `cleared`,
at the end, say how many there were since the notice before. The `exceeded` that were passed on and the crossings that
were counted add up to all crossings.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sockbpf.judge.due import Waiting
from sockbpf.judge.episodes import identity
from sockbpf.record.alert import CLEARED, EXCEEDED, ONGOING, Notice

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sockbpf.counters import Counters

MOST_QUEUES = 65_536
"""The instants of past notices are kept for so many queues; of more, that with the oldest notice is forgotten."""

Queue = tuple[object, ...]


@dataclass(slots=True, eq=False)
class _Flap:
    """A queue that flaps. Times are nanoseconds of the caller's clock."""

    first: Notice
    """The `exceeded` that began the flap; it was passed on."""
    last: Notice
    """The latest notice of the queue, passed on or counted."""
    last_alert_ns: int
    peak: int
    over: set[str] = field(default_factory=set)
    """The ids of the queue's open episodes: none while it is back, two while a `cleared` is still to come."""
    back_ns: int = 0
    """When the queue came back last."""
    crossings: int = 0
    """Those counted since the last notice that was passed on."""


class Flapping:
    """The first stage behind the policy. With `above` 0 every notice is passed on.

    `above`, `window_ns` and `repeat_ns` can be changed at any time.
    """

    def __init__(self, above: int, window_ns: int, repeat_ns: int, counters: Counters) -> None:
        self.above = above
        self.window_ns = window_ns
        self.repeat_ns = repeat_ns
        self._counters = counters
        self._alerts_ns: OrderedDict[Queue, array[int]] = OrderedDict()
        """Queue -> the instants of its notices, in arrays: a deque is 600 bytes, a storm has ten thousand queues.

        The queue with the newest notice comes last.
        """
        self._flaps: dict[Queue, _Flap] = {}
        self._ids: set[str] = set()
        self._longest_ns = 0
        """The longest window of a rule whose queues had notices."""
        self._due = Waiting[Queue](lambda *_: True)
        """The queues that flap, each once, by the instant at which `on_time` must look at them."""

    def is_open(self, id_: str) -> bool:
        """Tell whether the flap with this id is open."""
        return id_ in self._ids

    def on_notices(self, notices: Iterable[Notice], now_ns: int) -> list[Notice]:
        """Return the notices that are passed on now; the others are counted."""
        passed_on = self.on_time(now_ns)
        for notice in notices:
            queue = _queue_of(notice)
            flap = self._flaps.get(queue)
            if flap:
                self._count(flap, notice, now_ns)
            else:
                passed_on.append(notice)
                if notice.event != ONGOING and self._above(notice):
                    self._note(queue, notice, now_ns)
        return passed_on

    def _above(self, notice: Notice) -> int:
        above = notice.applied.flapping_above
        return self.above if above is None else above

    def _window_ns(self, notice: Notice) -> int:
        window_ns = notice.applied.flapping_window_ns
        return self.window_ns if window_ns is None else window_ns

    def _repeat_ns(self, notice: Notice) -> int:
        repeat_ns = notice.applied.repeat_ns
        return self.repeat_ns if repeat_ns is None else repeat_ns

    def _count(self, flap: _Flap, notice: Notice, now_ns: int) -> None:
        self._counters.add("flapped")
        flap.last = notice
        flap.peak = max(flap.peak, notice.peak)
        if notice.event == EXCEEDED:
            flap.crossings += 1
            flap.over.add(notice.id)
        elif notice.event == CLEARED:
            flap.over.discard(notice.id)
            flap.back_ns = now_ns

    def _note(self, queue: Queue, notice: Notice, now_ns: int) -> None:
        """Take note of a notice that is passed on; an `exceeded` that no further notice may follow begins a flap."""
        before = self._alerts_ns.setdefault(queue, array("q"))
        self._alerts_ns.move_to_end(queue)
        window_ns = self._window_ns(notice)
        self._longest_ns = max(self._longest_ns, window_ns)
        past = bisect_right(before, now_ns - window_ns)
        # Its `cleared`, and the `exceeded` of the next crossing, would be two notices more.
        if notice.event == EXCEEDED and len(before) - past + 3 > self._above(notice):
            del self._alerts_ns[queue]
            self._flaps[queue] = _Flap(notice, notice, now_ns, notice.peak, {notice.id})
            self._ids.add(notice.id)
            self._due.add(now_ns + min(window_ns, self._repeat_ns(notice)), queue)
            return
        if 2 * past >= len(before):  # then no instant is moved more than twice, whatever `above` is
            del before[:past]
        before.append(now_ns)
        if len(self._alerts_ns) > MOST_QUEUES:
            self._alerts_ns.popitem(last=False)

    def on_time(self, now_ns: int) -> list[Notice]:
        """Return the flaps' notices that are due by now: `ongoing`, and `cleared` of those that have ended."""
        longest_ns = max(self.window_ns, self._longest_ns)
        while self._alerts_ns and now_ns - next(iter(self._alerts_ns.values()))[-1] >= longest_ns:
            self._alerts_ns.popitem(last=False)
        passed_on: list[Notice] = []
        for queue in self._due.take(now_ns):
            flap = self._flaps.get(queue)
            if flap is None:  # flushed
                continue
            window_ns, repeat_ns = self._window_ns(flap.first), self._repeat_ns(flap.first)
            if not flap.over and now_ns - flap.back_ns >= window_ns:
                passed_on.append(self._ended(queue))
                continue
            if now_ns - flap.last_alert_ns >= repeat_ns:
                passed_on.append(_notice_of(flap, ONGOING, now_ns))
                flap.last_alert_ns, flap.crossings = now_ns, 0
            back_ns = now_ns if flap.over else flap.back_ns
            self._due.add(min(back_ns + window_ns, flap.last_alert_ns + repeat_ns), queue)
        return passed_on

    def next_due_ns(self) -> int | None:
        """Return the instant at which `on_time` must be called; None if no queue flaps."""
        return self._due.first_ns()

    def flush(self) -> list[Notice]:
        """Return the `cleared` of each flap whose queue is back, without waiting for the window to end."""
        return [self._ended(queue) for queue, flap in list(self._flaps.items()) if not flap.over]

    def _ended(self, queue: Queue) -> Notice:
        flap = self._flaps.pop(queue)
        self._ids.discard(flap.first.id)
        return _notice_of(flap, CLEARED, flap.last.ns)


def _queue_of(notice: Notice) -> Queue:
    """Return what stays the same of all notices of a queue, or of a counter, at one severity."""
    if notice.socket is None:
        return (notice.counter, notice.condition, notice.severity)
    return (*identity(notice.socket), notice.direction, notice.condition, notice.severity)


def _notice_of(flap: _Flap, event: str, ns: int) -> Notice:
    return replace(
        flap.last,
        event=event,
        ns=ns,
        id=flap.first.id,
        since_ns=flap.first.since_ns,
        peak=flap.peak,
        crossings=flap.crossings,
    )
