# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Sweeps: a look at all sockets in all network namespaces, taken by a thread of its own."""

from __future__ import annotations

import errno
import logging
import time
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from sockbpf.kernel.look.netns import inside, namespaces
from sockbpf.kernel.look.owner import open_inodes
from sockbpf.kernel.look.row import Row, Terms, Which, socket_of
from sockbpf.process.clock import monotonic_ns
from sockbpf.process.life import REST_S, described, start_thread
from sockbpf.record.event import Direction, Protocol, Socket
from sockbpf.record.facts import Facts
from sockbpf.record.sweep import Reading, Sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from sockbpf.counters import Counters
    from sockbpf.kernel.look.row import Look
    from sockbpf.process.life import Pulse

log = logging.getLogger(__name__)

STOP_S = 2.0
"""So long the end of a sweep is waited for."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a sweep is to look at: these namespaces, or all if None; and which sockets there it is to read."""

    namespaces: frozenset[int] | None = None
    terms: Terms = field(default_factory=Terms)


def wanted_of(
    sockets: Collection[Socket], over: tuple[int, int], *, everywhere: bool, progress: bool = False
) -> Wanted:
    """Return what a sweep that is to find these sockets looks at, in their namespaces or in all.

    Besides them it finds what is over: `over` is the least that any socket's thresholds can be, SEND and RECV.
    One of them may have lost its inode since, or have none yet. With `progress` it shows what has left the queues.
    """
    inodes = frozenset(socket.inode for socket in sockets) - {0}
    namespaces = None if everywhere else frozenset(socket.netns for socket in sockets)
    return Wanted(namespaces, Terms(Which.OVER_ONLY, *over, inodes, bool(sockets), progress))


class Sweeper:
    """Takes one sweep at a time; the sockets of this process are left out."""

    def __init__(self, counters: Counters, look: Look) -> None:
        self._counters = counters
        self._look = look
        self._said: set[str] = set()

    def try_to_sweep(self, wanted: Wanted, beat: Callable[[], None]) -> Sweep | None:
        """Look at the sockets; None if that failed as a whole, which is counted and said: the next one may not."""
        try:
            return self.sweep(wanted, beat)
        except OSError as fault:  # too many files are open, say; whatever else it is, is no passing trouble
            self._counters.add("sweep_failed")
            log.warning("a sweep failed: %s", described(fault))
            return None

    def sweep(self, wanted: Wanted, beat: Callable[[], None] = lambda: None) -> Sweep:
        """Look at the sockets; `beat` is called now and then. Raise OSError."""
        begun_ns, cpu_before_s = monotonic_ns(), time.thread_time()
        places = namespaces()
        numbers = frozenset(places) if wanted.namespaces is None else wanted.namespaces
        looked: set[tuple[int, Protocol]] = set()
        seen: list[Reading] = []
        own = open_inodes()
        for number in numbers & places.keys():
            for protocol in Protocol:
                beat()
                try:
                    with inside(places[number]) as entered:
                        if entered != number:  # the process has gone into another one
                            continue
                        rows = self._look.rows(protocol, wanted.terms)
                        while rows:  # of very many sockets a row is let go as its reading is made
                            seen.append(_reading(rows.pop(), protocol, entered))
                except OSError as fault:  # one protocol's module may be missing, or the namespace just went
                    self._note_failure(number, protocol, fault)
                else:
                    looked.add((entered, protocol))
        own |= open_inodes()
        readings = tuple(reading for reading in seen if reading.socket.inode not in own)
        self._counters.add("sweeps")
        cpu_s = time.thread_time() - cpu_before_s
        return Sweep(begun_ns, monotonic_ns(), frozenset(looked), numbers - places.keys(), readings, cpu_s)

    def _note_failure(self, number: int, protocol: Protocol, fault: OSError) -> None:
        self._counters.add("sweep_failed")
        reason = f"{protocol.name} sockets cannot be listed: {fault.strerror or fault}"
        if fault.errno == errno.ENOENT:
            reason += f"; modprobe {protocol.name.lower()}_diag, unless it was a namespace that just went"
        level = logging.DEBUG if reason in self._said else logging.WARNING  # once is enough to act on
        self._said.add(reason)
        log.log(level, "sweep of network namespace %d: %s", number, reason)


def _reading(row: Row, protocol: Protocol, netns: int) -> Reading:
    return Reading(
        socket_of(row, protocol, netns),
        {Direction.SEND: row.send, Direction.RECV: row.recv},
        row.unsure,
        facts_of(row, protocol),
        left_of(row, protocol),
    )


def left_of(row: Row, protocol: Protocol) -> Mapping[Direction, int]:
    """Return how many bytes have left each queue, from any beginning; a queue is missing where that is not known."""
    detail = row.detail
    if row.left is not None or detail is None or not detail.address:  # sock_diag was asked
        return row.left or {}
    if protocol is Protocol.TCP:
        return {Direction.SEND: detail.snd_una, Direction.RECV: detail.copied_seq}
    first = detail.rcv_nxt << 32 | detail.copied_seq
    return {Direction.RECV: first} if first else {}


def facts_of(row: Row, protocol: Protocol) -> dict[Direction, Facts]:
    """Return what a row says of each queue besides its size; empty where the look does not show it."""
    detail = row.detail
    if detail is None:
        return {}
    state = detail.state if protocol is Protocol.TCP else 0
    return {
        Direction.SEND: Facts(detail.sndbuf, detail.snd_charged, state),
        Direction.RECV: Facts(detail.rcvbuf, detail.rcv_charged, state),
    }


class SweepThread:
    """Runs sweeps beside the reading of events: `ask`, and `take` the result once `on_done` was called."""

    def __init__(self, sweeper: Sweeper, on_done: Callable[[], None]) -> None:
        self._sweeper = sweeper
        self._on_done = on_done
        self._asked: SimpleQueue[Wanted | Callable[[Callable[[], None]], None] | None] = SimpleQueue()
        self._done: SimpleQueue[Sweep | None] = SimpleQueue()
        self.busy = False
        self._thread = start_thread("sweep", self._run)

    @property
    def thread(self) -> int:
        """The kernel's number of the thread: it looks at the sockets of others and uses none itself."""
        return self._thread.native_id or 0

    def ask(self, wanted: Wanted) -> None:
        """Have a sweep taken; one at a time."""
        self.busy = True
        self._asked.put(wanted)

    def between(self, look: Callable[[Callable[[], None]], None]) -> None:
        """Have a look of another kind taken, between two sweeps; any thread may ask.

        It is given a function that it is to call now and then, as `sweep` is.
        """
        self._asked.put(look)

    def take(self) -> Sweep | None:
        """Return the sweep that is done; None if none is, or if it failed as a whole (logged, counted)."""
        if self._done.empty():
            return None
        self.busy = False
        return self._done.get()

    def stop(self) -> None:
        """End the thread after the sweep under way."""
        self._asked.put(None)
        self._thread.join(timeout=STOP_S)

    def _run(self, pulse: Pulse) -> None:
        while True:
            pulse.beat()
            try:
                wanted = self._asked.get(timeout=REST_S)
            except Empty:
                continue
            if wanted is None:
                return
            if not isinstance(wanted, Wanted):
                wanted(pulse.beat)
                continue
            self._done.put(self._sweeper.try_to_sweep(wanted, pulse.beat))
            self._on_done()
