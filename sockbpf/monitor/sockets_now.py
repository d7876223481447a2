# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The sockets of this moment as rows, worst first: for people, without a running monitor."""

from __future__ import annotations

import heapq
import pwd
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import islice
from typing import TYPE_CHECKING

from sockbpf.judge.ranking import accept_queue_now, asks_whose, fits, fits_whose, is_empty, queue_now, rank
from sockbpf.judge.rulebook import Rulebook
from sockbpf.judge.rules import asks_who
from sockbpf.kernel.look.holders import comm_of, holders_of
from sockbpf.kernel.look.row import socket_of
from sockbpf.kernel.look.sock_diag import LISTEN
from sockbpf.kernel.look.sweep import facts_of, left_of
from sockbpf.kernel.look.whose import (
    Cgroups,
    cgroup_of_process,
    cgroup_root,
    named_namespaces,
    own_or_process,
)
from sockbpf.monitor.rule_terms import rules_of
from sockbpf.monitor.terms import decision_of, listener_settings_of
from sockbpf.monitor.worst_queues import worst
from sockbpf.record.event import NO_UID, OF_BYTES, Direction, Protocol
from sockbpf.record.facts import UNKNOWN, Facts
from sockbpf.record.rule import Who
from sockbpf.record.socket_row import Asked, SocketRow, Whose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from sockbpf.judge.levels import Levels
    from sockbpf.kernel.look.glance import Glance
    from sockbpf.kernel.look.packed import Handed
    from sockbpf.kernel.look.row import Row
    from sockbpf.monitor.worst_queues import Part
    from sockbpf.record.event import Socket
    from sockbpf.record.moment import Rest
    from sockbpf.settings.config import Config

ACCEPT = Direction.ACCEPT
ANY = Asked()


@dataclass(frozen=True, slots=True)
class Shown:
    """The first rows, and whether there are more."""

    rows: Iterable[SocketRow]
    are_more: bool = False


class SocketsNow:
    """Makes rows of what a look showed, by the thresholds and the rules of the settings."""

    def __init__(self, config: Config) -> None:
        namespaces = named_namespaces()
        self._book = Rulebook(rules_of(config), decision_of(config), self._who, namespaces)
        self._listeners = listener_settings_of(config)
        self._names = {number: name for name, number in namespaces.items()}
        self._finder = Finder()
        self._rules_ask = any(asks_who(rule.match) for rule in self._book.rules)

    def first(self, seen: Glance, asked: Asked, *, empties: bool, limit: int) -> Shown:
        """Return the worst `limit` sockets of those asked for, all if it is 0; with `empties` the empty ones too.

        Whose they are is searched for these alone, unless a condition or a rule asks for it.
        """
        if asks_whose(asked) or self._rules_ask:
            self._finder.seek(None if empties else _inodes_of_full(seen))
        rows = self._in_order(seen, asked, empties=empties)
        if not limit:
            self._finder.seek(None if empties else _inodes_of_full(seen))
            return Shown(map(self._named, rows))
        some = list(islice(rows, limit + 1))
        return Shown(self.named(some[:limit]), len(some) > limit)

    def full(self, seen: Glance) -> list[SocketRow]:
        """Return the sockets that hold something, worst first; whose they are is not searched for."""
        return self.worst(seen, sys.maxsize, lambda _: False)[0]

    def worst(self, seen: Glance, most: int, keep: Callable[[Row], bool]) -> tuple[list[SocketRow], Rest]:
        """Return at most so many sockets that hold something, worst first, besides those to `keep`; and the rest.

        Whose they are is not searched for, unless a rule asks for it.
        """
        if self._rules_ask:
            self._finder.seek(_inodes_of_full(seen))
        parts, rest = worst(seen, self._levels_of, most, keep)
        rows = [self._row(row, protocol, netns) for netns, protocol, row in parts]
        rows += [self._listener(row, netns) for netns, row in seen.listeners if row.recv]
        return sorted(rows, key=rank), rest

    def named(self, rows: Iterable[SocketRow]) -> list[SocketRow]:
        """Return these rows with whose they are."""
        some = list(rows)
        self._finder.seek(
            {row.socket.inode for row in some}, {row.socket.cgroup for row in some if row.socket.cgroup}
        )
        return [self._named(row) for row in some]

    def _in_order(self, seen: Glance, asked: Asked, *, empties: bool) -> Iterator[SocketRow]:
        full = [
            self._row(row, protocol, netns)
            for netns, protocol, handed in seen.handed
            for row in handed.full_rows()
        ]
        full += [self._listener(row, netns) for netns, row in seen.listeners]
        if not empties:
            full = [row for row in full if not is_empty(row)]
        yield from sorted((row for row in full if self._fits(asked, row)), key=rank)
        if empties:
            yield from (row for row in self._empties(seen) if self._fits(asked, row))

    def _empties(self, seen: Glance) -> Iterator[SocketRow]:
        """Yield the sockets with queues of bytes that hold nothing, by their ports: they are made one by one."""
        parts = [_with_place(*part) for part in seen.handed]
        for _, protocol, netns, row in heapq.merge(*parts, key=lambda part: part[0]):
            yield self._row(row, protocol, netns)

    def _fits(self, asked: Asked, row: SocketRow) -> bool:
        if asked == ANY:
            return True
        if not fits(asked, row, self._book.names):
            return False
        return not asks_whose(asked) or fits_whose(asked, row, self._named(row).whose, self._book.names)

    def _levels_of(self, part: Part) -> tuple[Levels, Levels]:
        netns, protocol, row = part
        if not self._book.rules:
            return self._book.of_others
        socket = socket_of(row, protocol, netns)
        return self._book.levels_of(socket, Direction.SEND), self._book.levels_of(socket, Direction.RECV)

    def _row(self, row: Row, protocol: Protocol, netns: int) -> SocketRow:
        socket = socket_of(row, protocol, netns)
        facts = facts_of(row, protocol)
        sizes = {Direction.SEND: row.send, Direction.RECV: row.recv}
        queues = {
            direction: queue_now(
                sizes[direction],
                facts.get(direction, UNKNOWN),
                self._book.levels_of(socket, direction),
                row.unsure if direction is Direction.RECV else 0,
            )
            for direction in OF_BYTES
        }
        state = row.detail.state if row.detail and protocol is Protocol.TCP else 0
        drops = row.detail.drops if row.detail else None
        return SocketRow(socket, state, queues, drops, left=left_of(row, protocol))

    def _listener(self, row: Row, netns: int) -> SocketRow:
        socket = socket_of(row, Protocol.TCP, netns)
        place = self._book.place_of(socket, ACCEPT) if self._book.rules else 0
        is_silent = not self._listeners.backlog or self._book.applied(place).ignores
        levels = None if is_silent else self._listeners.levels(row.send)
        queue = accept_queue_now(row.recv, Facts(row.send, row.recv, LISTEN), levels)
        return SocketRow(socket, LISTEN, {ACCEPT: queue}, row.detail.drops if row.detail else None)

    def _who(self, socket: Socket) -> tuple[Who, bool]:
        whose = self._finder.whose(socket)
        return Who(whose.comm, whose.cgroup), True

    def _named(self, row: SocketRow) -> SocketRow:
        whose = self._finder.whose(row.socket)
        name = self._names.get(row.socket.netns, "")
        whose = replace(whose, netns_name=name) if name else whose
        return replace(row, whose=whose)


class Finder:
    """Finds out whose sockets are: `seek` first, for all that will be asked for."""

    def __init__(self) -> None:
        self._holders: dict[int, int] = {}
        self._has_sought_all = False
        self._cgroups = Cgroups(cgroup_root())
        # Of many sockets few processes, users and cgroups are the owners.
        self._comm = lru_cache(4096)(comm_of)
        self._cgroup_of_process = lru_cache(4096)(cgroup_of_process)
        self._own_or_process = lru_cache(4096)(partial(own_or_process, self._cgroups))
        self._user = lru_cache(4096)(_name_of_user)

    def seek(self, inodes: AbstractSet[int] | None, cgroups: Iterable[int] = ()) -> None:
        """Look through all processes for those that hold these sockets; None: for those of all sockets.

        It begins with those of the sockets' own `cgroups`: nearly always that is enough.
        """
        if not self._has_sought_all:
            first = (process for number in cgroups for process in self._cgroups.processes(number))
            self._holders |= holders_of(inodes, first)
            self._has_sought_all = inodes is None

    def whose(self, socket: Socket) -> Whose:
        """Return whose a socket is, as far as it is known."""
        pid = self._holders.get(socket.inode, 0)
        comm = self._comm(pid) if pid else ""
        of_process = self._cgroup_of_process(pid) if pid else ""
        cgroup = self._own_or_process(socket.cgroup, of_process)
        return Whose(pid if comm else 0, comm, self._user(socket.uid), cgroup, process_cgroup=of_process)


def _with_place(netns: int, protocol: Protocol, handed: Handed) -> Iterator[tuple[int, Protocol, int, Row]]:
    return ((ports, protocol, netns, row) for ports, row in handed.empty_rows())


def _name_of_user(uid: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name if uid != NO_UID else ""
    return ""


def _inodes_of_full(seen: Glance) -> set[int]:
    listeners = {row.inode for _, row in seen.listeners}
    return listeners | {row.inode for _, _, handed in seen.handed for row in handed.full_rows()}
