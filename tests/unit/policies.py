# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A policy, what the kernel side and sweeps tell it, and a model of what is true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sockbpf.counters import Counters
from sockbpf.judge.episodes import OwnerOf
from sockbpf.judge.levels import levels_by_direction, same_for_all
from sockbpf.judge.policy import Policy, identity
from sockbpf.record.alert import Notice
from sockbpf.record.event import Direction, Event, Mode, Protocol, Socket, What
from sockbpf.record.sweep import Reading, Sweep

THRESHOLD = 1009
CLEAR = 504
"""Half the threshold, rounded down."""
S = 10**9
NETNS = 4026531840
SEND, RECV = Direction.SEND, Direction.RECV

TCP = Socket(Protocol.TCP, "192.0.2.1", 443, "192.0.2.2", 40009, NETNS, 8191)
UDP = Socket(Protocol.UDP, "0.0.0.0", 53, "0.0.0.0", 0, NETNS, 8209)


class Kernel:
    """What `reap` finds: the episodes that the kernel side still holds."""

    def __init__(self, *held: tuple[int, Direction]) -> None:
        self.held = set(held)
        self.asked: list[tuple[int, Direction]] = []

    def reap(self, address: int, direction: Direction) -> bool:
        self.asked.append((address, direction))
        if (address, direction) not in self.held:
            return False
        self.held.remove((address, direction))
        return True


def nobody(_inode: int) -> tuple[int, str]:
    return 0, ""


LEVELS: dict[str, Any] = {
    "thresholds": {SEND: THRESHOLD, RECV: THRESHOLD},
    "clear_ratio": 0.5,
    "repeat_ns": 30 * S,
    "hold_ns": 0,
}


def policy(*, owner_of: OwnerOf = nobody, salt: str = "salt", **changed: Any) -> Policy:
    return Policy(same_for_all(levels_by_direction(**(LEVELS | changed))), Counters(), salt, owner_of)


def event(what: What, since_ns: int, ns: int, size: int, peak: int = 0, **changed: Any) -> Event:
    """Return an event about the receive queue of TCP at address 17, that crossed with 2003 bytes."""
    crossed = Event(
        what=what, mode=Mode.EBPF, direction=RECV, socket=TCP, address=17, ns=ns, since_ns=since_ns, size=size,
        since_size=2003, peak=peak or max(size, 2003), threshold=THRESHOLD, pid=0, comm="",
    )  # fmt: skip
    return replace(crossed, **changed)


def over(since_ns: int, **changed: Any) -> Event:
    return event(What.OVER, since_ns, since_ns, 2003, **changed)


def back(since_ns: int, ns: int, size: int = 401, peak: int = 2003, **changed: Any) -> Event:
    return event(What.BACK, since_ns, ns, size, peak, **changed)


def sweep(
    begun_ns: int,
    *readings: tuple[Socket, int, int],
    netns: Sequence[int] = (NETNS,),
    not_found: Sequence[int] = (),
    ended_ns: int = 0,
    unsure: int = 0,
) -> Sweep:
    """Return a sweep that read these (socket, send, recv), a thousandth of a second long."""
    read = tuple(Reading(socket, {SEND: send, RECV: recv}, unsure) for socket, send, recv in readings)
    return Sweep(
        begun_ns,
        ended_ns or begun_ns + S // 1000,
        frozenset((number, protocol) for number in netns for protocol in Protocol),
        frozenset(not_found),
        read,
    )


def words(notices: list[Notice]) -> list[str]:
    return [notice.event for notice in notices]


def counted(rules: Policy) -> dict[str, int]:
    return {name: count for name, count in rules.counters.snapshot().items() if count}


def assert_forgotten(rules: Policy) -> None:
    """Nothing is open, and nothing is remembered of what was, once late words cannot come any more."""
    rules.on_time(2**62)
    assert rules.next_due_ns() is None
    assert not rules.open
    assert not rules.episodes._known
    assert not rules.episodes._ids
    assert not rules._early
    assert not rules._unheard


# other rules while it runs


def changed(rules: Policy, **other: Any) -> None:
    rules.use_levels(same_for_all(levels_by_direction(**(LEVELS | other))))


# random histories

RINGS, QUEUES = 3, 4
PEER = replace(TCP, local_port=8443, inode=8219)
HISTORIES = ((TCP, RECV, 17), (TCP, SEND, 17), (UDP, RECV, 19), (PEER, RECV, 23))
"""The queues of a history: socket, direction, address."""


@dataclass
class Truth:
    """One true episode, how far its words came, and what may be known of its peak."""

    queue: int
    since_ns: int
    since_size: int
    size: int
    peak: int
    ns: int
    ended: bool = False
    back: Event | None = None
    """Its BACK, once that was read."""
    known: bool = False
    unheard: bool = False
    """Known from the table alone, since the last look."""
    known_peak: int = 0
    known_ns: int = 0
    misses: int = 0
    """Looks that did not find it, while it was taken for open."""

    def event(self, what: What) -> Event:
        socket, direction, address = HISTORIES[self.queue]
        return Event(
            what, Mode.EBPF, direction, socket, address, self.ns, self.since_ns, self.size, self.since_size,
            self.peak, THRESHOLD, 0, "",
        )  # fmt: skip


@dataclass
class Model:
    """The kernel side, its rings, and the reader before the policy."""

    policy: Policy = field(default_factory=policy)
    now_ns: int = S
    truths: list[Truth] = field(default_factory=list)
    table: dict[int, Truth] = field(default_factory=dict)
    rings: list[list[tuple[Event, Truth]]] = field(default_factory=lambda: [[] for _ in range(RINGS)])
    notices: list[Notice] = field(default_factory=list)
    recovered: int = 0

    def change(self, queue: int, size: int, ring: int, *, lost: bool) -> None:
        """Let a queue have a size, as bpf/episode.h judges it."""
        self.now_ns += 1009
        truth = self.table.get(queue)
        if truth:
            truth.size, truth.peak, truth.ns = size, max(truth.peak, size), self.now_ns
            if size > CLEAR:
                return
            truth.ended = True
            del self.table[queue]
            word = truth.event(What.BACK)
        elif size > THRESHOLD:
            truth = self.table[queue] = Truth(queue, self.now_ns, size, size, size, self.now_ns)
            self.truths.append(truth)
            word = truth.event(What.OVER)
        else:
            return
        if not lost:
            self.rings[ring].append((word, truth))

    def read(self, ring: int, most: int) -> None:
        """Read at most so many events of a ring."""
        taken, self.rings[ring] = self.rings[ring][:most], self.rings[ring][most:]
        for word, truth in taken:
            truth.known, truth.unheard = True, False
            truth.known_peak = max(truth.known_peak, word.peak)
            if word.what is What.BACK:
                truth.back = word
            elif not truth.known_ns:
                truth.known_ns = word.ns
            self.notices += self.policy.on_event(word)

    def read_all(self) -> None:
        for ring in range(RINGS):
            self.read(ring, len(self.rings[ring]))

    def look(self) -> None:
        """Take the table, which may have changed since the rings were read."""
        for truth in self.truths:
            self.recovered += truth.unheard
            truth.unheard = False
            if not truth.ended:
                truth.unheard = not truth.known
                truth.known = True
                truth.known_peak, truth.known_ns = truth.peak, truth.ns
            elif truth.known and not truth.back:
                truth.misses += 1
                self.recovered += truth.misses == 2
        self.notices += self.policy.on_table([truth.event(What.OVER) for truth in self.table.values()])

    def assert_books(self) -> None:
        """Assert that each open episode is known by its queue, and nothing else is."""
        books = Counter((identity(e.socket), e.direction) for e in self.policy.open.values())
        assert self.policy.episodes._known == books
        assert self.policy.episodes._ids == {episode.id for episode in self.policy.open.values()}
