# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Folding: when very many sockets of one service cross at once, the first few notices pass singly, the rest as one.

Pure: no I/O, the clock is an argument. A crossing is passed on singly while fewer than `above` sockets of its group
(one service: protocol, local port, direction) crossed within the window before it. Each further crossing is
collected, and so are all later notices of its episode. What was collected is passed on when the window, or
`collect_ns`, has passed since its first notice: one `Folded` for each event. No notice is lost: the counts of the
`Folded` and the single notices add up to all notices.

A storm is a series of collected crossings without a pause as long as the window; its alerts have an id of their own.
While a storm lasts there is one `exceeded` in each window, each time about further sockets.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field, replace
from hashlib import blake2s
from typing import TYPE_CHECKING

from sockbpf.record.alert import CLEARED, EVENTS, EXCEEDED, ONGOING, Folded, Notice
from sockbpf.record.event import account_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sockbpf.counters import Counters

WORST = 5
"""How many sockets a folded notice names."""

FORGET_NS = 10 * 10**9
"""The interval at which collected episodes that have ended without a notice are forgotten."""

Group = tuple[object, ...]


def service_of(notice: Notice) -> Group:
    """Return the local service: protocol, local port, direction; what was over is not mixed."""
    return (notice.socket.protocol, notice.socket.local_port, notice.direction, notice.condition)


def user_of(notice: Notice) -> Group | None:
    """Return the user, the kind of queue and what was over; None for root, whose single alerts are not bounded."""
    uid = notice.socket.uid
    return (account_of(uid), notice.socket.protocol, notice.direction, notice.condition) if uid else None


@dataclass(slots=True)
class _Storm:
    """A series of collected crossings of one group, one soon after the other; `id` is that of its alerts."""

    id: str
    since_ns: int
    """When the first of its episodes began."""
    last_ns: int
    """When the last crossing was collected."""


@dataclass(slots=True)
class _Batch:
    """Collected notices of one event and one storm: what becomes one `Folded`."""

    count: int = 0
    crossings: int = 0
    ports: set[int] = field(default_factory=set)
    """The different local ports, up to two of them."""
    first_ns: int = 2**63
    last_ns: int = 0
    worst: list[Notice] = field(default_factory=list)

    def add(self, notice: Notice) -> None:
        self.count += 1
        self.crossings += notice.crossings
        if len(self.ports) < 2:  # noqa: PLR2004  more than one is all that matters
            self.ports.add(notice.socket.local_port)
        self.first_ns = min(self.first_ns, notice.ns)
        self.last_ns = max(self.last_ns, notice.ns)
        if len(self.worst) < WORST or notice.size > self.worst[-1].size:
            self.worst = sorted([*self.worst, notice], key=lambda one: -one.size)[:WORST]

    def folded(self, storm: _Storm) -> Folded:
        worst = self.worst[0]
        ns = self.first_ns if worst.event == EXCEEDED else self.last_ns
        port = worst.socket.local_port if len(self.ports) == 1 else 0
        socket = replace(worst.socket, local_port=port)
        notice = replace(
            worst,
            socket=socket,
            id=storm.id,
            ns=ns,
            since_ns=storm.since_ns,
            pid=0,
            comm="",
            crossings=self.crossings,
        )
        return Folded(notice, self.count, tuple((one.socket, one.size) for one in self.worst))


@dataclass(slots=True)
class _Collected:
    """The collected notices of one group, until they are passed on."""

    since_ns: int
    storms: dict[str, _Storm] = field(default_factory=dict)
    batches: dict[tuple[str, str], _Batch] = field(default_factory=dict)
    """(id of the storm, event) -> the notices."""
    ongoing: set[str] = field(default_factory=set)
    """Episodes with an `ongoing` in a batch: a second one must wait for the next batch."""

    def add(self, storm: _Storm, notice: Notice) -> None:
        self.storms[storm.id] = storm
        self.batches.setdefault((storm.id, notice.event), _Batch()).add(notice)
        if notice.event == ONGOING:
            self.ongoing.add(notice.id)

    def folded(self) -> list[Folded]:
        """Return one `Folded` for each storm and event, in the order of an episode's events."""
        return [
            self.batches[storm.id, event].folded(storm)
            for storm in self.storms.values()
            for event in EVENTS
            if (storm.id, event) in self.batches
        ]


@dataclass(slots=True)
class _Crossings:
    """The last crossings of one group."""

    at_ns: deque[int]
    """Their instants, the last `above` of them."""
    storm: _Storm | None = None


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
        group_of: Callable[[Notice], Group | None] = service_of,
        collect_ns: int | None = None,
    ) -> None:
        """Begin with nothing collected; `is_open` says whether the episode with this id is open.

        `group_of` returns the group with which a notice is folded, None if it is never folded; `collect_ns` is how
        long notices are collected, None for a window.
        """
        self.above = above
        self.window_ns = window_ns
        self._collect_ns = collect_ns
        self._group_of = group_of
        self._counters = counters
        self._is_open = is_open
        self._crossings: OrderedDict[Group, _Crossings] = OrderedDict()
        """The groups by the instant of their last crossing, oldest first."""
        self._storms: dict[str, _Storm] = {}
        """Id of an open episode that was collected -> its storm."""
        self._collected: OrderedDict[Group, _Collected] = OrderedDict()
        """The groups by the instant of their first collected notice, oldest first."""
        self._forget_ns = 0

    def on_notices(self, notices: Iterable[Notice | Folded], now_ns: int) -> list[Notice | Folded]:
        """Return what is passed on now; the other notices are collected. A `Folded` of an earlier stage passes."""
        passed_on = self._due(now_ns)
        for notice in notices:
            group = None if isinstance(notice, Folded) else self._group_of(notice)
            if group is None or isinstance(notice, Folded):
                passed_on.append(notice)
            elif storm := self._storm_of(group, notice, now_ns):
                passed_on += self._collect(group, storm, notice, now_ns)
            else:
                passed_on.append(notice)
        return passed_on

    def on_time(self, now_ns: int) -> list[Notice | Folded]:
        """Return the `Folded` that are due by now. All notices before must have been given to `on_notices`."""
        while self._crossings and now_ns - next(iter(self._crossings.values())).at_ns[-1] >= self.window_ns:
            self._crossings.popitem(last=False)
        if now_ns >= self._forget_ns:  # the `cleared` of an episode may never reach this stage
            self._forget_ns = now_ns + FORGET_NS
            self._storms = {id_: storm for id_, storm in self._storms.items() if self._is_open(id_)}
        return self._due(now_ns)

    def next_due_ns(self) -> int | None:
        """Return the instant at which `on_time` must be called; None if nothing is collected."""
        if not self._collected:
            return None
        collect_ns = self.window_ns if self._collect_ns is None else self._collect_ns
        return next(iter(self._collected.values())).since_ns + collect_ns

    def flush(self) -> list[Folded]:
        """Return all that was collected, without waiting for the window to end."""
        collected, self._collected = self._collected, OrderedDict()
        return [folded for each in collected.values() for folded in each.folded()]

    def _due(self, now_ns: int) -> list[Notice | Folded]:
        passed_on: list[Notice | Folded] = []
        while (due_ns := self.next_due_ns()) is not None and due_ns <= now_ns:
            passed_on += self._collected.popitem(last=False)[1].folded()
        return passed_on

    def _storm_of(self, group: Group, notice: Notice, now_ns: int) -> _Storm | None:
        """Return the storm that a notice belongs to; None if it is passed on singly."""
        if notice.event != EXCEEDED:
            return self._storms.get(notice.id)
        if not self.above:
            return None
        crossings = self._crossings.setdefault(group, _Crossings(deque()))
        self._crossings.move_to_end(group)
        at_ns = crossings.at_ns
        if at_ns.maxlen != self.above:
            at_ns = crossings.at_ns = deque(at_ns, self.above)
        is_single = len(at_ns) < self.above or now_ns - at_ns[0] >= self.window_ns
        at_ns.append(now_ns)
        if is_single:
            return None
        storm = crossings.storm
        if storm is None or now_ns - storm.last_ns >= self.window_ns:
            id_ = blake2s(f"fold {notice.id}".encode(), digest_size=8).hexdigest()
            storm = crossings.storm = _Storm(id_, notice.since_ns, now_ns)
        storm.since_ns = min(storm.since_ns, notice.since_ns)
        storm.last_ns = now_ns
        self._storms[notice.id] = storm
        return storm

    def _collect(self, group: Group, storm: _Storm, notice: Notice, now_ns: int) -> list[Folded]:
        self._counters.add("folded")
        if notice.event == CLEARED:
            del self._storms[notice.id]
        passed_on: list[Folded] = []
        collected = self._collected.get(group)
        if collected and notice.event == ONGOING and notice.id in collected.ongoing:
            passed_on = self._collected.pop(group).folded()  # one `ongoing` counts each socket once
        self._collected.setdefault(group, _Collected(now_ns)).add(storm, notice)
        return passed_on
