# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Looks at all queues by service, for metrics and history: taken when these ask, by the thread that sweeps.

No other thread of this process may look at others' sockets: the hooks take a socket that it touches for its own.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from sockbpf.judge.drops import Drops
from sockbpf.judge.services import Service, Services
from sockbpf.kernel.look.glance import glance
from sockbpf.kernel.look.whose import Cgroups, cgroup_root
from sockbpf.process.life import passing
from sockbpf.record.event import Direction, Protocol
from sockbpf.record.facts import Condition
from sockbpf.record.service import NOWHERE, OTHER, Home, home_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sockbpf.counters import Counters
    from sockbpf.judge.episodes import Episode, Episodes
    from sockbpf.judge.services import Key, Sums
    from sockbpf.kernel.look.glance import Glance
    from sockbpf.kernel.look.row import Look, Row
    from sockbpf.record.event import Socket

log = logging.getLogger(__name__)

FRESH_S = 5.0
"""A look is taken this long after the one before at the earliest."""

SHARE = 0.04
"""The part of a core that looks may take: where one takes long there are fewer."""

OLD_S = 180.0
"""What a look saw is shown for so long, if none after it works.

It is more than two minutes, the longest that is usual from scrape to scrape, and a sweep of very many sockets, for
which a look waits.
"""

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


class ServiceLooks:
    """Begins a look when it is asked to, and has the sums of the last one."""

    def __init__(
        self,
        look: Look,
        queues: tuple[Episodes, ...],
        run: Callable[[Callable[[Callable[[], None]], None]], None],
        counters: Counters,
    ) -> None:
        """`run` has a function called by the thread that sweeps, with its beat; `queues` are of the open episodes."""
        self._look = look
        self._queues = queues
        self._run = run
        self._counters = counters
        self._cgroups = Cgroups(cgroup_root())
        self._services = Services()
        self._datagrams = Drops()
        self._connections = Drops(shows_all=True)
        self._asking = Lock()
        self._under_way: Future[None] | None = None
        self._next_s = 0.0
        self._seen_s = 0.0
        self._sums: dict[Key, Sums] = {}
        self.on_seen: Callable[[Mapping[str, Service]], None] | None = None
        """Called with what each look saw, by the thread that sweeps."""
        self.cost_s = 0.0
        """The time of a core that the last look took."""

    def begin(self) -> Future[None]:
        """Have a look taken, unless the last is fresh or one is under way; return what is done when it has ended."""
        with self._asking:
            if self._under_way is None or (self._under_way.done() and time.monotonic() >= self._next_s):
                self._under_way = Future()
                self._run(self._once)
            return self._under_way

    def latest(self) -> tuple[Mapping[Key, Sums], int] | None:
        """Return the sums, and how many services had no name of their own; None if no look has worked lately."""
        if not self._seen_s or time.monotonic() - self._seen_s > max(
            OLD_S, 2 * (self._next_s - self._seen_s)
        ):
            return None
        return self._sums, self._services.unnamed

    def _once(self, beat: Callable[[], None]) -> None:
        """Look. For the thread that sweeps."""
        cpu_s = time.thread_time()
        try:
            with passing(self._counters, "service_looks_failed", "a look for the metrics failed"):
                seen = glance(self._look, tuple(Protocol), empties=False, listeners_only=False, beat=beat)
                beat()
                if seen.missed:
                    self._counters.add("service_looks_failed")
                    log.debug("a look for the metrics: %s", "; ".join(seen.missed))
                by_service = self._by_service(seen)
                self._sums = self._services.take(by_service, time.monotonic())
                self._seen_s = time.monotonic()
                if self.on_seen:
                    self.on_seen(by_service)
        finally:
            self.cost_s = time.thread_time() - cpu_s
            self._next_s = time.monotonic() + max(FRESH_S, self.cost_s / SHARE)
            if self._under_way:
                self._under_way.set_result(None)

    def _by_service(self, seen: Glance) -> dict[str, Service]:
        places = Places(seen, self._cgroups)
        found: dict[str, Service] = {}

        def service(name: str, uid: int) -> Service:
            return found.setdefault(name, Service(uid if name.isdecimal() else 0))

        for netns, protocol, handed in seen.handed:
            for row in handed.full_rows():
                self._add(service(places.of_row(row, protocol, netns), row.uid), row, protocol, netns)
        for netns, row in seen.listeners:
            accepts = service(places.of_row(row, Protocol.TCP, netns), row.uid).kinds[
                Protocol.TCP, Direction.ACCEPT
            ]
            accepts.add(row.recv, row.recv, max(row.send, 1))
            accepts.limit += row.send
            if row.detail:
                accepts.drops += self._connections.grown((netns, row.inode), row.uid, row.detail.drops)
        refused = self._datagrams.end_look() + self._connections.end_look(
            is_whole=not (seen.missed or seen.left_out)
        )
        self._counters.add("drops_uncounted", refused)
        for episode in self._episodes():
            socket = episode.socket
            sums = service(places.of_socket(socket), socket.uid).kinds[socket.protocol, episode.direction]
            sums.open += 1
            sums.stalled += episode.condition is Condition.STALLED
        return found

    def _add(self, service: Service, row: Row, protocol: Protocol, netns: int) -> None:
        detail = row.detail
        if row.send:
            charged = (detail.snd_charged, detail.sndbuf) if detail else (0, 0)
            service.kinds[protocol, Direction.SEND].add(row.send, *charged)
        if row.recv:
            charged = (detail.rcv_charged, detail.rcvbuf) if detail else (0, 0)
            sums = service.kinds[protocol, Direction.RECV]
            sums.add(row.recv, *charged)
            if detail and protocol is Protocol.UDP:
                sums.drops += self._datagrams.grown((netns, row.inode), row.uid, detail.drops)

    def _episodes(self) -> Iterable[Episode]:
        for each in self._queues:
            yield from list(each.open.values())  # at once: the loop's thread goes on meanwhile


def ephemeral_ports() -> range:
    """Return the ports that the kernel gives to clients; its default where it does not say."""
    with suppress(OSError, ValueError):
        low, high = EPHEMERAL.read_text().split()
        return range(int(low), int(high) + 1)
    return range(32_768, 61_000)


class Places:
    """Which service a socket is of, by what one look saw: its unit, else its port if that is a service's."""

    def __init__(self, seen: Glance, cgroups: Cgroups) -> None:
        self._cgroups = cgroups
        self._homes: dict[int, Home] = {0: NOWHERE}
        self._listening = {
            (netns, int.from_bytes(row.local_port, "big")): row.detail.cgroup if row.detail else 0
            for netns, row in seen.listeners
        }
        self._ephemeral = ephemeral_ports()

    def of_row(self, row: Row, protocol: Protocol, netns: int) -> str:
        """Return the name of the service that the socket is of."""
        cgroup = row.detail.cgroup if row.detail else 0
        return self._name(cgroup, protocol, netns, int.from_bytes(row.local_port, "big"))

    def of_socket(self, socket: Socket) -> str:
        """Return the same of a socket with an open episode."""
        return self._name(socket.cgroup, socket.protocol, socket.netns, socket.local_port)

    def _name(self, cgroup: int, protocol: Protocol, netns: int, port: int) -> str:
        home = self._home(cgroup)
        is_heard = protocol is Protocol.TCP and (netns, port) in self._listening
        if not home.unit and is_heard:  # where the look says nothing of the connection's own
            home = self._home(self._listening[netns, port])
        if home.unit and not home.is_container:
            return home.unit
        is_service = is_heard if protocol is Protocol.TCP else port not in self._ephemeral
        return str(port) if is_service else home.unit or OTHER

    def _home(self, cgroup: int) -> Home:
        if cgroup not in self._homes:
            self._homes[cgroup] = home_of(self._cgroups.path(cgroup) or "")
        return self._homes[cgroup]
