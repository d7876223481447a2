# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Finds the other end of a TCP connection on this host: its process by a look, its open episode by what was told."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from sockbpf.kernel.look.threads import threads_of
from sockbpf.record.alert import CLEARED, Notice, socket_of
from sockbpf.record.event import Direction, Protocol, Socket
from sockbpf.record.peer import Peer

if TYPE_CHECKING:
    from sockbpf.judge.episodes import OwnerOf
    from sockbpf.kernel.look.close import CloseLook

Ends = tuple[str, int, str, int]
"""Address and port, local first; IPv4 in IPv6 is IPv4."""

MOST_EPISODES = 2048
"""Episodes that are remembered until they end; of more, the oldest are forgotten."""

MAPPED = "::ffff:"


class Peers:
    """Finds other ends. For the loop's thread."""

    def __init__(self, look: CloseLook, owner_of: OwnerOf, known_owner_of: OwnerOf) -> None:
        """`known_owner_of` is as `owner_of` without a search, which is left to the owners of what is over."""
        self._look = look
        self._owner_of = owner_of
        self._known_owner_of = known_owner_of
        self._told: OrderedDict[str, Ends] = OrderedDict()
        """Id of an open episode of TCP that was told -> its ends."""
        self._by_ends: dict[Ends, dict[str, Notice]] = {}
        """Ends -> ids of those episodes, each with what was told last of it."""

    def __len__(self) -> int:
        """Return how many episodes are remembered."""
        return len(self._told)

    def note(self, notice: Notice) -> None:
        """Take note that an episode is told, or ends."""
        socket = notice.socket
        if socket is None or socket.protocol is not Protocol.TCP or not socket.remote_port:
            return
        if notice.event == CLEARED:
            self._forget(notice.id)
            return
        if notice.id not in self._told and len(self._told) >= MOST_EPISODES:
            self._forget(next(iter(self._told)))
        ends = ends_of(socket)
        self._told[notice.id] = ends
        self._by_ends.setdefault(ends, {})[notice.id] = notice

    def peer(self, notice: Notice, *, search: bool) -> Peer | None:
        """Return the other end; None if it is not on this host, or not found, with or without a search.

        A process is looked for in the socket's own network namespace; an episode in all, if they are of one socket,
        with the process that was told of it. An episode of the queue that what is sent comes from, or goes to, is
        preferred.
        """
        socket = notice.socket
        if socket is None or socket.protocol is not Protocol.TCP or not socket.remote_port:
            return None
        told = self._episode(socket, notice.direction)
        there = self._look.look(mirrored(socket), notice.pid, extensions=0)
        owner_of = self._owner_of if search else self._known_owner_of
        pid, comm = owner_of(there.inode) if there and there.inode else (0, "")
        if not pid and told:
            pid, comm = told.pid, told.comm
        if not pid and not told:
            return None
        is_asked = notice.direction is Direction.SEND  # what a sender's process does explains nothing
        return Peer(pid, comm, told.id if told else "", threads_of(pid) if pid and is_asked else ())

    def _episode(self, socket: Socket, direction: Direction) -> Notice | None:
        ip, port, remote_ip, remote_port = ends_of(socket)
        found = [*self._by_ends.get((remote_ip, remote_port, ip, port), {}).values()]
        here = [told for told in found if socket_of(told).netns == socket.netns]
        if not here and len({socket_of(told).netns for told in found}) > 1:
            return None
        return min(here or found, key=lambda told: told.direction is direction, default=None)

    def _forget(self, id_: str) -> None:
        ends = self._told.pop(id_, None)
        if ends:
            self._by_ends[ends].pop(id_, None)
            if not self._by_ends[ends]:
                del self._by_ends[ends]


def ends_of(socket: Socket) -> Ends:
    """Return the ends of a socket."""
    local_ip, remote_ip = (ip.removeprefix(MAPPED) for ip in (socket.local_ip, socket.remote_ip))
    return local_ip, socket.local_port, remote_ip, socket.remote_port


def mirrored(socket: Socket) -> Socket:
    """Return what the other end would be in the same network namespace."""
    local_ip, local_port, remote_ip, remote_port = ends_of(socket)
    return Socket(socket.protocol, remote_ip, remote_port, local_ip, local_port, socket.netns, inode=0)
