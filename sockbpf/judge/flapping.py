# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Flapping: a queue that crosses its threshold again and again is told at first, and then counted.

Pure: no I/O, the clock is given. Of one queue at most `above` words, `exceeded` and `cleared`, are told within the
window. The last `exceeded` that may be told of it begins a flap: an episode that goes on until the queue has been
back for a whole window. Crossings meanwhile are counted: `ongoing`, each repeat interval, and `cleared`, at the
end, tell how many since the last word. What is told and what is counted add up to all crossings.
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
"""So many queues are remembered for what was told of them; of more, the one that was told of longest ago is not."""

Queue = tuple[object, ...]


@dataclass(slots=True, eq=False)
class _Flap:
    """A queue that flaps. Times are nanoseconds of the clock that is given."""

    first: Notice
    """The word that began it: `exceeded`, which was told."""
    last: Notice
    """The latest word of the queue."""
    last_alert_ns: int
    peak: int
    over: set[str] = field(default_factory=set)
    """The ids of its episodes that go on: none while the queue is back, two while an end is on the way."""
    back_ns: int = 0
    """When it came back last."""
    crossings: int = 0
    """Since the last word that was told."""


class Flapping:
    """The stage behind the policy. `above` 0 has every queue told each time.

    `above`, `window_ns` and `repeat_ns` can be changed at any time.
    """

    def __init__(self, above: int, window_ns: int, repeat_ns: int, counters: Counters) -> None:
        self.above = above
        self.window_ns = window_ns
        self.repeat_ns = repeat_ns
        self._counters = counters
        self._alerts_ns: OrderedDict[Queue, array[int]] = OrderedDict()
        """Queue -> when it was told of, in arrays: a deque is 600 bytes, a storm has ten thousand queues.

        The queues are in the order of the last time.
        """
        self._flaps: dict[Queue, _Flap] = {}
        self._ids: set[str] = set()
        self._due = Waiting[Queue](lambda *_: True)
        """Each flap once."""

    def is_open(self, id_: str) -> bool:
        """Tell whether a flap of this id goes on."""
        return id_ in self._ids

    def on_notices(self, notices: Iterable[Notice], now_ns: int) -> list[Notice]:
        """Return what is to be told now; the rest is counted."""
        passed_on = self.on_time(now_ns)
        for notice in notices:
            queue = (*identity(notice.socket), notice.direction)
            flap = self._flaps.get(queue)
            if flap:
                self._count(flap, notice, now_ns)
            else:
                passed_on.append(notice)
                if notice.event != ONGOING and self.above:
                    self._note(queue, notice, now_ns)
        return passed_on

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
        """Take note that this was told; it may be the last of its queue that is told so."""
        before = self._alerts_ns.setdefault(queue, array("q"))
        self._alerts_ns.move_to_end(queue)
        past = bisect_right(before, now_ns - self.window_ns)
        # Its end, and the next crossing, would be two words more.
        if notice.event == EXCEEDED and len(before) - past + 3 > self.above:
            del self._alerts_ns[queue]
            self._flaps[queue] = _Flap(notice, notice, now_ns, notice.peak, {notice.id})
            self._ids.add(notice.id)
            self._due.add(now_ns + min(self.window_ns, self.repeat_ns), queue)
            return
        if 2 * past >= len(before):  # then no word is moved more than twice, whatever `above` is
            del before[:past]
        before.append(now_ns)
        if len(self._alerts_ns) > MOST_QUEUES:
            self._alerts_ns.popitem(last=False)

    def on_time(self, now_ns: int) -> list[Notice]:
        """Return what is to be told of flaps by now: that they go on, that they have ended."""
        while self._alerts_ns and now_ns - next(iter(self._alerts_ns.values()))[-1] >= self.window_ns:
            self._alerts_ns.popitem(last=False)
        passed_on: list[Notice] = []
        for queue in self._due.take(now_ns):
            flap = self._flaps.get(queue)
            if flap is None:  # flushed
                continue
            if not flap.over and now_ns - flap.back_ns >= self.window_ns:
                passed_on.append(self._ended(queue))
                continue
            if now_ns - flap.last_alert_ns >= self.repeat_ns:
                passed_on.append(_word(flap, ONGOING, now_ns))
                flap.last_alert_ns, flap.crossings = now_ns, 0
            back_ns = now_ns if flap.over else flap.back_ns
            self._due.add(min(back_ns + self.window_ns, flap.last_alert_ns + self.repeat_ns), queue)
        return passed_on

    def next_due_ns(self) -> int | None:
        """Return when `on_time` is wanted; None if nothing flaps."""
        return self._due.first_ns()

    def flush(self) -> list[Notice]:
        """Return the ends of what is back, without waiting."""
        return [self._ended(queue) for queue, flap in list(self._flaps.items()) if not flap.over]

    def _ended(self, queue: Queue) -> Notice:
        flap = self._flaps.pop(queue)
        self._ids.discard(flap.first.id)
        return _word(flap, CLEARED, flap.last.ns)


def _word(flap: _Flap, event: str, ns: int) -> Notice:
    return replace(
        flap.last,
        event=event,
        ns=ns,
        id=flap.first.id,
        since_ns=flap.first.since_ns,
        peak=flap.peak,
        crossings=flap.crossings,
    )
