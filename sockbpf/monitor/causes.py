# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Finds out why, for each alert: looks closely at its socket and at the threads of its owner, and asks the judge.

Only what becomes an alert is looked at, in the loop's thread: some 100 µs each, and only for so long in a second.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sockbpf.judge.causes import judged
from sockbpf.judge.evidence import is_stopped
from sockbpf.judge.symptoms import Symptoms
from sockbpf.kernel.look.close import CloseLook
from sockbpf.kernel.look.sharers import sharers_of
from sockbpf.kernel.look.threads import threads_of
from sockbpf.monitor.peers import Peers
from sockbpf.process.clock import monotonic_ns
from sockbpf.record.alert import CLEARED, EXCEEDED, ONGOING, Folded, Notice
from sockbpf.record.event import Direction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sockbpf.counters import Counters
    from sockbpf.judge.episodes import OwnerOf
    from sockbpf.record.closeup import Closeup, Thread
    from sockbpf.record.event import Socket
    from sockbpf.record.peer import Peer
    from sockbpf.record.why import Cause, Why

MOST_NS = {EXCEEDED: 30 * 10**6, ONGOING: 50 * 10**6}
"""So much CPU time is spent on causes in a second: further alerts of that second have none. What lasts has a share of
its own, which no number of crossings can use up.
"""

MOST_EPISODES = 2048
"""Episodes whose causes are remembered until they end; of more, the oldest are forgotten."""


@dataclass(slots=True)
class _Told:
    """What was said of one episode."""

    first: Closeup
    before: Closeup
    """The first look since which nothing has left the queue."""
    held_ns: dict[Cause, int] = field(default_factory=dict)
    """How long each cause held so far, but for the last one."""
    last: Why | None = None
    since_ns: int = 0
    """When the last one was found."""
    peer: Peer | None = None
    whys: dict[Cause, Why] = field(default_factory=dict)
    """What was said last of each cause."""

    def note(self, why: Why, ns: int) -> None:
        self.end(ns)
        self.last, self.since_ns = why, ns
        self.whys[why.cause] = why

    def end(self, ns: int) -> None:
        if self.last:
            cause = self.last.cause
            self.held_ns[cause] = self.held_ns.get(cause, 0) + ns - self.since_ns

    def longest(self) -> Why | None:
        """Return the cause that held longest; unknown only if no other was found."""
        known: dict[Cause, int] = {each: ns for each, ns in self.held_ns.items() if each.is_known}
        known = known or self.held_ns
        return self.whys[max(known, key=known.__getitem__)] if known else None


class Causes:
    """Gives each notice of one queue its cause. For the loop's thread."""

    def __init__(
        self,
        counters: Counters,
        owner_of: OwnerOf,
        known_owner_of: OwnerOf,
        stood_still_ns: Callable[[Socket, Direction, int], int] = lambda _socket, _direction, _now_ns: 0,
    ) -> None:
        """Begin with nothing told. `stood_still_ns` is that of Stalls.

        The others return pid and comm of the process that holds the socket of an inode; the latter without a search.
        """
        self._counters = counters
        self._look = CloseLook()
        self._peers = Peers(self._look, owner_of, known_owner_of)
        self._stood_still_ns = stood_still_ns
        self._told: OrderedDict[str, _Told] = OrderedDict()
        self._second = 0
        self._took_ns = dict.fromkeys(MOST_NS, 0)

    def __len__(self) -> int:
        """Return how many episodes are remembered."""
        return len(self._told)

    def explained(self, notices: Iterable[Notice | Folded]) -> list[Notice | Folded]:
        """Return the notices, each of one queue with its cause."""
        notices = list(notices)
        for one in notices:  # so that both ends of a connection name each other from their first alerts on
            if isinstance(one, Notice) and one.event != CLEARED:
                self._peers.note(one)
        return [one if isinstance(one, Folded) else self._with_cause(one) for one in notices]

    def latest(self, id_: str) -> Why | None:
        """Return what was said last of an open episode; None if nothing was."""
        told = self._told.get(id_)
        return told.last if told else None

    def close(self) -> None:
        """Let go of what looks."""
        self._look.close()

    def _with_cause(self, notice: Notice) -> Notice:
        socket = notice.socket
        if notice.direction is Direction.RATE or socket is None:
            return notice
        self._peers.note(notice)
        if notice.event == CLEARED:
            return self._ended(notice)
        if not self._may(notice.event, monotonic_ns()):
            return notice
        begun_ns = time.thread_time_ns()
        notice = self._explained(notice, socket)
        self._took_ns[notice.event] += time.thread_time_ns() - begun_ns
        return notice

    def _explained(self, notice: Notice, socket: Socket) -> Notice:
        now = self._look.look(socket, notice.pid) or notice.crossing
        if now is None:
            return notice
        told = self._told.get(notice.id)
        seen = _with_drops(notice, now, told.first if told else None)
        if notice.event == ONGOING:  # of `exceeded` they are those of the crossing
            notice = seen
        threads = readers(notice, socket) if notice.direction is not Direction.SEND else ()
        peer = self._peers.peer(notice, search=notice.event == ONGOING)
        still_s = self._stood_still_ns(socket, notice.direction, now.ns) / 1e9
        why = judged(Symptoms(seen, now, told.before if told else None, threads, peer, still_s))
        if not why.cause.is_known and notice.crossing:
            why = judged(Symptoms(seen, notice.crossing, None, threads, peer))
        notice = replace(notice, peer=peer, why=why)
        self._note(notice, why, now)
        return notice

    def _ended(self, notice: Notice) -> Notice:
        """Return the notice of an episode's end with the cause that held longest, and the last known peer."""
        told = self._told.pop(notice.id, None)
        if told is None:
            return notice
        told.end(notice.ns)
        return replace(notice, why=told.longest(), peer=told.peer)

    def _note(self, notice: Notice, why: Why, now: Closeup) -> None:
        told = self._told.setdefault(notice.id, _Told(now, now))
        if now.left(notice.direction) != told.before.left(notice.direction):
            told.before = now
        told.note(why, now.ns)
        told.peer = notice.peer or told.peer
        if len(self._told) > MOST_EPISODES:
            self._told.popitem(last=False)

    def _may(self, event: str, now_ns: int) -> bool:
        """Tell whether there is time for another one in this second."""
        if now_ns // 10**9 != self._second:
            self._second = now_ns // 10**9
            self._took_ns = dict.fromkeys(MOST_NS, 0)
        if self._took_ns[event] < MOST_NS[event]:
            return True
        self._counters.add("unexplained")
        return False


def readers(notice: Notice, socket: Socket) -> tuple[Thread, ...]:
    """Return the threads of the owner; if it is stopped, of the processes too that have inherited the socket.

    Of a listener always: a server's workers accept, not the process that has made it.
    """
    threads = threads_of(notice.pid) if notice.pid else ()
    if is_stopped(threads) or (threads and notice.direction is Direction.ACCEPT):
        threads += tuple(each for pid in sharers_of(notice.pid, socket.inode) for each in threads_of(pid))
    return threads


def _with_drops(notice: Notice, now: Closeup, first: Closeup | None) -> Notice:
    """Return the notice with the datagrams that were dropped up to now: no hook sees them."""
    if notice.direction is not Direction.RECV or now.tcp or not now.memory or now.memory.drops is None:
        return notice
    before = notice.facts.drops_before
    if before is None and first and first.memory:
        before = first.memory.drops
    if before is None:
        return notice
    drops = (now.memory.drops - before) % 2**32
    return (
        notice if drops == notice.facts.drops else replace(notice, facts=replace(notice.facts, drops=drops))
    )
