# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a fold collects: storms of crossings, and the notices of a storm that become one.

Pure: no I/O, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sockbpf.record.alert import EXCEEDED, ONGOING, Common, Folded, Notice, socket_of
from sockbpf.record.event import account_of

if TYPE_CHECKING:
    from collections.abc import Iterator

WORST = 5
"""How many sockets a folded notice names."""

PATIENCE = 8

MOST_MEMBERS = 16_384
"""So many crossings of one folded notice are kept for a later run: the journal keeps no more."""

Group = tuple[Common, tuple[object, ...]]
"""What is common to the sockets, and its value."""


def _kind(notice: Notice) -> tuple[object, ...]:
    """Return what is never mixed in one alert, the rule that applied among it."""
    return (socket_of(notice).protocol, notice.direction, notice.condition, notice.severity, notice.applied)


def service_of(notice: Notice) -> Iterator[Group]:
    """Yield the local service."""
    yield Common.LOCAL_SERVICE, (socket_of(notice).local_port, *_kind(notice))


def common_of(notice: Notice) -> Iterator[Group]:
    """Yield all that a socket can have in common with others; what names the most comes first."""
    socket, kind = socket_of(notice), _kind(notice)
    yield Common.LOCAL_SERVICE, (socket.local_port, *kind)
    if socket.remote_port:
        yield Common.REMOTE_SERVICE, (socket.remote_ip, socket.remote_port, *kind)
    if notice.pid:
        yield Common.PROCESS, (notice.pid, *kind)
    else:  # in a storm not every owner is found
        yield Common.USER, (account_of(socket.uid), *kind)
    if notice.applied.rule:
        yield Common.RULE, kind


def user_of(notice: Notice) -> Iterator[Group]:
    """Yield the user; nothing for root, whose single alerts are not bounded."""
    if uid := socket_of(notice).uid:
        yield Common.USER, (account_of(uid), *_kind(notice))


def _of_one(notice: Notice) -> dict[str, object]:
    """Return the fields that name one socket and its process; those that are not known are left out."""
    socket = socket_of(notice)
    fields: dict[str, object] = {
        "local_ip": socket.local_ip,
        "local_port": socket.local_port,
        "remote_ip": socket.remote_ip,
        "remote_port": socket.remote_port,
        "netns": socket.netns,
    }
    return fields | {"pid": notice.pid, "comm": notice.comm} if notice.pid else fields


@dataclass(slots=True)
class Batch:
    """Collected notices of one event and one storm: what becomes one `Folded`."""

    count: int = 0
    crossings: int = 0
    shared: dict[str, object] = field(default_factory=dict)
    """The fields that are the same for all sockets."""
    first_ns: int = 2**63
    last_ns: int = 0
    worst: list[Notice] = field(default_factory=list)
    members: list[Notice] = field(default_factory=list)
    """Of `exceeded` the notices themselves."""

    def add(self, notice: Notice) -> None:
        of_one = _of_one(notice)
        self.shared = dict(self.shared.items() & of_one.items()) if self.count else of_one
        self.count += 1
        self.crossings += notice.crossings
        self.first_ns = min(self.first_ns, notice.ns)
        self.last_ns = max(self.last_ns, notice.ns)
        if notice.event == EXCEEDED and len(self.members) < MOST_MEMBERS:
            self.members.append(notice)
        if len(self.worst) < WORST or notice.size > self.worst[-1].size:
            self.worst = sorted([*self.worst, notice], key=lambda one: -one.size)[:WORST]


@dataclass(slots=True, eq=False)
class Storm:
    """A series of collected crossings of one group, one soon after the other; `id` is that of its alerts."""

    id: str
    group: Group
    since_ns: int
    """When the first of its episodes began."""
    last_ns: int
    """When the last crossing was collected."""
    peak: int = 0
    open: int = 0
    """How many of its episodes have not ended."""
    told: int = 0
    """How often an `exceeded` was passed on."""
    begun: Batch = field(default_factory=Batch)
    """The `exceeded` that wait to be passed on."""
    going: Batch = field(default_factory=Batch)
    ongoing: set[str] = field(default_factory=set)
    """Episodes with an `ongoing` in the batch: a second one must wait for the next batch."""
    ended: Batch = field(default_factory=Batch)
    """The `cleared`, which wait until no episode of the storm is open."""
    is_over: bool = False
    """Whether its `cleared` was passed on: a later crossing is another storm's."""

    def add(self, notice: Notice) -> None:
        """Collect a notice of one of its episodes."""
        self.peak = max(self.peak, notice.peak)
        if notice.event == EXCEEDED:
            self.open += 1
            self.since_ns = min(self.since_ns, notice.since_ns)
            self.begun.add(notice)
        elif notice.event == ONGOING:
            self.ongoing.add(notice.id)
            self.going.add(notice)
        else:
            self.open -= 1
            self.ended.add(notice)

    @property
    def is_due(self) -> bool:
        """Whether a notice was collected that can be passed on."""
        return bool(self.begun.count or self.going.count or (self.ended.count and not self.open))

    @property
    def patience(self) -> int:
        """How many times longer than those of other storms its further crossings are collected."""
        return min(2**self.told, PATIENCE) if self.begun.count else 1

    def take(self, *, all_that_ended: bool = False) -> list[Folded]:
        """Return one `Folded` for each event, in their order, and begin anew.

        The ends wait while an episode is open, unless `all_that_ended` are wanted.
        """
        batches = [self.begun, self.going]
        self.told += self.begun.count > 0
        self.begun, self.going, self.ongoing = Batch(), Batch(), set()
        if all_that_ended or not self.open:
            self.is_over = self.is_over or self.ended.count > 0
            batches.append(self.ended)
            self.ended = Batch()
        return [self._folded(batch) for batch in batches if batch.count]

    def _folded(self, batch: Batch) -> Folded:
        worst, shared = batch.worst[0], batch.shared
        socket = socket_of(worst)
        notice = replace(
            worst,
            socket=socket if "local_port" in shared else replace(socket, local_port=0),
            id=self.id,
            ns=batch.first_ns if worst.event == EXCEEDED else batch.last_ns,
            since_ns=self.since_ns,
            peak=self.peak,
            pid=worst.pid if "pid" in shared else 0,
            comm=worst.comm if "comm" in shared else "",
            crossings=batch.crossings,
        )
        sizes = tuple((socket_of(one), one.size) for one in batch.worst)
        members = tuple(batch.members)
        return Folded(notice, batch.count, sizes, self.group[0], frozenset(shared), members)
