# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Folding: when very many sockets with something in common cross at once, the first few pass singly, the rest as one.

Pure: no I/O, the clock is an argument. Sockets can have in common their local service, the remote service, their
process, or their user where the process is not known, or the rule that applied: these are their groups. A crossing is
passed on singly while of each of its groups fewer than `above` sockets crossed within the window before it. Otherwise
it is collected, with the first of its groups that has as many, and so are all later notices of its episode. What was
collected is passed on when the window, or `collect_ns`, has passed since its first notice: one `Folded` for each
event. Further crossings of a storm are collected for twice as long each time, up to `PATIENCE` times as long: the
longer it lasts the fewer alerts. No notice is lost: the counts of the `Folded` and the single notices add up to all
notices.

A crossing that passed singly counts in all of its groups, one that was collected only in the group that it was
collected with: a storm of one service does not make a storm of each process that has a socket in it.

A storm is a series of collected crossings without a pause as long as the window; its alerts have an id of their own.
While a storm lasts there is now and then an `exceeded`, each time about further sockets. Its `cleared` comes when
all of its episodes have ended: an id that has cleared is about nothing that is still over.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import blake2s
from typing import TYPE_CHECKING

from sockbpf.judge.due import Waiting
from sockbpf.judge.storm import Group, Storm, common_of
from sockbpf.record.alert import CLEARED, EXCEEDED, ONGOING, Common, Folded, Notice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sockbpf.counters import Counters
    from sockbpf.record.left import Left

FORGET_NS = 10 * 10**9
"""The interval at which collected episodes that have ended without a notice are forgotten."""

MOST_GROUPS = 65_536
"""Past crossings are kept for so many groups; of more, the group whose last crossing is oldest is forgotten."""


@dataclass(slots=True)
class _Crossings:
    """The last crossings of one group."""

    at_ns: array[int] = field(default_factory=lambda: array("q"))
    """Their instants, at least the last `above` of them. A deque is 600 bytes, a storm has ten thousand groups."""
    storm: Storm | None = None


@dataclass(slots=True)
class _Collected:
    """The storms of one group with notices that wait to be passed on."""

    due_ns: int
    storms: dict[str, Storm] = field(default_factory=dict)


class Fold:
    """A stage that passes a notice on singly or collects it. Times are nanoseconds of one monotonic clock.

    `above` and `window_ns` can be changed at any time; with `above` 0 no further crossing is collected.
    """

    def __init__(
        self,
        above: int,
        window_ns: int,
        *,
        counters: Counters,
        is_open: Callable[[str], bool],
        groups_of: Callable[[Notice], Iterable[Group]] = common_of,
        collect_ns: int | None = None,
    ) -> None:
        """Begin with nothing collected; `is_open` says whether the episode with this id is open.

        `groups_of` returns the groups with which a notice can be folded, the preferred one first; `collect_ns` is how
        long notices are collected, None for a window.
        """
        self.above = above
        self.window_ns = window_ns
        self._collect_ns = collect_ns
        self._groups_of = groups_of
        self._counters = counters
        self._is_open = is_open
        self._crossings: OrderedDict[Group, _Crossings] = OrderedDict()
        """The groups by the instant of their last crossing, oldest first."""
        self._storms: dict[str, Storm] = {}
        """Id of an open episode that was collected -> its storm."""
        self._collected: dict[Group, _Collected] = {}
        self._due = Waiting[Group](self._is_due)
        self._forget_ns = 0

    def on_notices(self, notices: Iterable[Notice | Folded], now_ns: int) -> list[Notice | Folded]:
        """Return what is passed on now; the other notices are collected.

        A `Folded` of an earlier stage passes, and so does a rate: there is one of a counter.
        """
        passed_on = self._take_due(now_ns)
        for notice in notices:
            if isinstance(notice, Notice) and notice.socket and (storm := self._storm_of(notice, now_ns)):
                passed_on += self._collect(storm, notice, now_ns)
            else:
                passed_on.append(notice)
        return passed_on

    def on_time(self, now_ns: int) -> list[Notice | Folded]:
        """Return the `Folded` that are due by now. All notices before must have been given to `on_notices`."""
        while self._crossings and now_ns - next(iter(self._crossings.values())).at_ns[-1] >= self.window_ns:
            self._crossings.popitem(last=False)
        if now_ns >= self._forget_ns:  # the `cleared` of an episode may never reach this stage
            self._forget_ns = now_ns + FORGET_NS
            self._forget(now_ns)
        return self._take_due(now_ns)

    def next_due_ns(self) -> int | None:
        """Return the instant at which `on_time` must be called; None if nothing is to be passed on."""
        return self._due.first_ns()

    def take_up(self, left: Left, members: Iterable[str]) -> None:
        """Go on with a storm that an earlier run told, of the episodes with these ids; none joins it any more."""
        group: Group = (Common(left.common), ("of an earlier run", left.id))
        storm = Storm(left.id, group, left.since_ns, left.told_ns, left.peak)
        for id_ in members:
            self._storms[id_] = storm
            storm.open += 1

    def pass_on(self) -> list[Notice | Folded]:
        """Return what was collected until now, without waiting for the window to end."""
        return [folded for group in list(self._collected) for folded in self._take(group)]

    def flush(self) -> list[Folded]:
        """Return all that was collected, without waiting for the window to end, nor for what is still over."""
        storms = {storm.id: storm for each in self._collected.values() for storm in each.storms.values()}
        storms |= {storm.id: storm for storm in self._storms.values()}
        self._collected.clear()
        return [folded for storm in storms.values() for folded in storm.take(all_that_ended=True)]

    def _is_due(self, group: Group, due_ns: int) -> bool:
        return group in self._collected and self._collected[group].due_ns == due_ns

    def _take_due(self, now_ns: int) -> list[Notice | Folded]:
        due = dict.fromkeys(self._due.take(now_ns))
        return [folded for group in due for folded in self._take(group)]

    def _take(self, group: Group) -> list[Folded]:
        return [folded for storm in self._collected.pop(group).storms.values() for folded in storm.take()]

    def _forget(self, now_ns: int) -> None:
        for id_ in [id_ for id_ in self._storms if not self._is_open(id_)]:
            storm = self._storms.pop(id_)
            storm.open -= 1
            self._await(storm, now_ns)

    def _await(self, storm: Storm, now_ns: int) -> None:
        """Have what the storm has collected passed on in time."""
        if not storm.is_due:
            return
        if storm.group not in self._collected:
            collect_ns = self.window_ns if self._collect_ns is None else self._collect_ns
            due_ns = now_ns + collect_ns * storm.patience
            self._collected[storm.group] = _Collected(due_ns)
            self._due.add(due_ns, storm.group)
        self._collected[storm.group].storms[storm.id] = storm

    def _storm_of(self, notice: Notice, now_ns: int) -> Storm | None:
        """Return the storm that a notice belongs to; None if it is passed on singly."""
        if notice.event != EXCEEDED:
            return self._storms.get(notice.id)
        if not self.above:
            return None
        groups = list(self._groups_of(notice))
        full = next((group for group in groups if self._is_full(group, now_ns)), None)
        if full is None:
            for group in groups:
                self._note(group, now_ns)
            return None
        crossings = self._note(full, now_ns)
        storm = crossings.storm
        if storm is None or storm.is_over or now_ns - storm.last_ns >= self.window_ns:
            id_ = blake2s(f"fold {notice.id}".encode(), digest_size=8).hexdigest()
            storm = crossings.storm = Storm(id_, full, notice.since_ns, now_ns)
        storm.last_ns = now_ns
        self._storms[notice.id] = storm
        return storm

    def _is_full(self, group: Group, now_ns: int) -> bool:
        if (crossings := self._crossings.get(group)) is None:
            return False
        past = bisect_right(crossings.at_ns, now_ns - self.window_ns)
        return len(crossings.at_ns) - past >= self.above

    def _note(self, group: Group, now_ns: int) -> _Crossings:
        """Take note of a crossing of this group."""
        crossings = self._crossings.setdefault(group, _Crossings())
        self._crossings.move_to_end(group)
        crossings.at_ns.append(now_ns)
        if len(crossings.at_ns) > 2 * self.above:
            del crossings.at_ns[: -self.above]
        if len(self._crossings) > MOST_GROUPS:
            self._crossings.popitem(last=False)
        return crossings

    def _collect(self, storm: Storm, notice: Notice, now_ns: int) -> list[Folded]:
        self._counters.add("folded")
        passed_on: list[Folded] = []
        if notice.event == CLEARED:
            del self._storms[notice.id]
        elif notice.event == ONGOING and notice.id in storm.ongoing:
            passed_on = self._take(storm.group)  # one `ongoing` counts each socket once
        storm.add(notice)
        self._await(storm, now_ns)
        return passed_on
