"""Sweeps: what sock_diag says of all sockets in all network namespaces, taken by a thread of its own."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING

from sockbpf.event import Direction, Protocol, Socket, ip_text
from sockbpf.kernel.netns import inside, namespaces
from sockbpf.kernel.sock_diag import Row, dump
from sockbpf.policy import Reading, Sweep

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockbpf.counters import Counters

log = logging.getLogger(__name__)

KINDS = tuple(
    (family, protocol)
    for family in (socket.AF_INET, socket.AF_INET6)
    for protocol in (Protocol.TCP, Protocol.UDP)
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a sweep is to look at: these namespaces, or all if None; these inodes also if their queues are empty."""

    namespaces: frozenset[int] | None = None
    inodes: frozenset[int] = frozenset()


def own_inodes() -> set[int]:
    """Return the inode numbers of this process's sockets."""
    found = set()
    for entry in os.listdir("/proc/self/fd"):
        with suppress(OSError, ValueError):
            kind, _, number = os.readlink(f"/proc/self/fd/{entry}").partition(":")
            if kind == "socket":
                found.add(int(number.strip("[]")))
    return found


class Sweeper:
    """Takes one sweep at a time; the sockets of this process are left out."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._own: set[tuple[object, ...]] = set()
        """Addresses of sockets of ours, to know them when they have lost their inode in closing."""
        self._said: set[str] = set()

    def sweep(self, wanted: Wanted) -> Sweep:
        """Look at the sockets; a namespace that cannot be entered any more counts as looked at and empty."""
        begun_ns = time.monotonic_ns()
        places = namespaces()
        numbers = set(places) if wanted.namespaces is None else set(wanted.namespaces)
        looked = set(numbers) - set(places)  # gone, and all sockets in them
        readings: list[Reading] = []
        own = own_inodes()
        mine: set[tuple[object, ...]] = set()
        for number in numbers & set(places):
            try:
                with inside(places[number]) as entered:
                    for family, protocol in KINDS:
                        for row in dump(family, protocol):
                            if self._is_mine(row, protocol, own, mine):
                                continue
                            if row.recv or row.send or row.inode in wanted.inodes:
                                readings.append(_reading(row, protocol, entered))
                    looked.add(entered)
            except FileNotFoundError:
                self._note_failure(
                    number, "it is gone, or the kernel has no inet_diag (modprobe tcp_diag udp_diag)"
                )
            except OSError as fault:
                self._note_failure(number, str(fault))
        self._own = mine
        self._counters.add("sweeps")
        return Sweep(begun_ns, time.monotonic_ns(), frozenset(looked), tuple(readings))

    def _is_mine(self, row: Row, protocol: Protocol, own: set[int], mine: set[tuple[object, ...]]) -> bool:
        if row.inode and row.inode not in own:
            return False
        name = (protocol, row.local_ip, row.local_port, row.remote_ip, row.remote_port)
        if row.inode or name in self._own:
            mine.add(name)
            return True
        return False

    def _note_failure(self, number: int, reason: str) -> None:
        self._counters.add("sweep_failed")
        level = logging.DEBUG if reason in self._said else logging.WARNING  # once is enough to act on
        self._said.add(reason)
        log.log(level, "sweep of network namespace %d failed: %s", number, reason)


def _reading(row: Row, protocol: Protocol, netns: int) -> Reading:
    return Reading(
        Socket(
            protocol=protocol,
            local_ip=ip_text(row.family, row.local_ip),
            local_port=int.from_bytes(row.local_port, "big"),
            remote_ip=ip_text(row.family, row.remote_ip),
            remote_port=int.from_bytes(row.remote_port, "big"),
            netns=netns,
            inode=row.inode,
        ),
        {Direction.SEND: row.send, Direction.RECV: row.recv},
    )


class SweepThread:
    """Runs sweeps beside the reading of events: `ask`, and `take` the result once `on_done` was called."""

    def __init__(self, sweeper: Sweeper, on_done: Callable[[], None]) -> None:
        self._sweeper = sweeper
        self._on_done = on_done
        self._asked: SimpleQueue[Wanted | None] = SimpleQueue()
        self._done: SimpleQueue[Sweep | None] = SimpleQueue()
        self.busy = False
        self._thread = threading.Thread(target=self._run, name="sweep", daemon=True)
        self._thread.start()

    def ask(self, wanted: Wanted) -> None:
        """Have a sweep taken; one at a time."""
        self.busy = True
        self._asked.put(wanted)

    def take(self) -> Sweep | None:
        """Return the sweep that is done; None if none is, or if it failed as a whole (logged, counted)."""
        if self._done.empty():
            return None
        self.busy = False
        return self._done.get()

    def stop(self) -> None:
        """End the thread after the sweep under way."""
        self._asked.put(None)
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while (wanted := self._asked.get()) is not None:
            try:
                sweep = self._sweeper.sweep(wanted)
            except Exception:  # the thread must live: without sweeps the misses of the hooks go unmended
                log.exception("sweep failed")
                sweep = None
            self._done.put(sweep)
            self._on_done()
