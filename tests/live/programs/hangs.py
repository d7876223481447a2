# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a hang is, and the hangs of servers that speak HTTP and of ssh; those of others are in more_hangs.py."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.live.programs.place import LOOPBACK, Place, Road, road
from tests.live.programs.servers import Server, asyncio_server, nginx, ssh, ssh_daemon, stop
from tests.live.sockets import fill
from tests.live.waiting import until

REQUEST = b"GET /well HTTP/1.1\r\nHost: h\r\nCookie: " + b"c" * 2003 + b"\r\n\r\n"
DOWNLOAD = b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n"
SOME = 5_003
"""Bytes that a client sends to a server that hangs."""
MORE_THAN_A_BACKLOG = 149
"""Python's is 128 connections."""
FLOWING = 2**20
"""A transfer is under way once a connection has carried so many bytes."""


@dataclass(frozen=True)
class Hang:
    """Something that hangs, and which alert is wanted of it."""

    name: str
    types: tuple[str, ...]
    owners: frozenset[int]
    """The processes that may be called its owner."""
    port: int
    """That of the server: the local port of an alert about it; the remote one, if the owner is a client."""
    remote_ip: str = ""
    """The other end, where the server has several; empty: any."""
    protocol: str = "tcp"
    began_s: float = field(default_factory=time.time)


def hang(
    server: Server,
    name: str,
    type_: str,
    pids: list[int] | None = None,
    *,
    remote_ip: str = "",
    protocol: str = "tcp",
) -> Hang:
    """Return a hang of a server that began now; `pids` are its owners, if not all processes of the server."""
    owners = frozenset(server.pids() if pids is None else pids)
    return Hang(f"{server.name}: {name}", (type_,), owners, server.port, remote_ip, protocol)


def until_flowing(place: Place, port: int, remote_ip: str = LOOPBACK, much: int = FLOWING) -> None:
    """Wait until a connection of this local port to this address has carried so many bytes."""

    def carried() -> bool:
        shown = place.run("ss", "-Htino", f"sport = :{port} and dst {remote_ip}")
        return any(int(each) > much for each in re.findall(r"bytes_(?:acked|received):(\d+)", shown))

    until(carried, f"a transfer by port {port}")


def of_nginx(place: Place) -> Iterator[Hang]:
    stopped = nginx(place)
    client = place.connect(stopped.port)
    client.sendall(REQUEST)
    assert client.recv(4096).endswith(b"well\n")
    stop(stopped.pids(), signal.SIGSTOP)
    client.sendall(REQUEST)
    yield hang(stopped, "SIGSTOP, a request on an open connection", "RECV")
    place.connect(stopped.port).sendall(REQUEST)
    yield hang(stopped, "SIGSTOP, a new connection", "ACCEPT")
    running = nginx(place)
    place.connect(running.port).sendall(DOWNLOAD)
    yield hang(running, "a client that never reads its download", "SEND", remote_ip=LOOPBACK)
    for name in ("link down", "blackhole route"):
        way = road(place)
        url = f"http://{way.near_ip}:{running.port}/big"
        way.far.start("curl", "-s", "-o", "/dev/null", "--limit-rate", "10M", url)
        until_flowing(place, running.port, way.far_ip)
        way.cut() if name == "link down" else way.swallow()
        yield hang(running, f"a download, {name}", "SEND", remote_ip=way.far_ip)


def of_asyncio(place: Place) -> Iterator[Hang]:
    blocked = asyncio_server(place, "block")
    first, second = place.connect(blocked.port), place.connect(blocked.port)
    second.sendall(b"well\n")
    assert second.recv(100) == b"well\n"
    first.sendall(b"sleep\n")
    assert first.recv(100) == b"sleeping\n"
    second.sendall(bytes(SOME))
    yield hang(blocked, "time.sleep in a handler, a request of another client", "RECV")
    place.connect(blocked.port)
    yield hang(blocked, "time.sleep in a handler, a new connection", "ACCEPT")
    forgetful = asyncio_server(place, "forget")
    client = place.connect(forgetful.port)
    fill(client)
    yield hang(forgetful, "a handler that never reads", "RECV")
    deaf = asyncio_server(place, "listen")
    for _ in range(3):
        client = place.connect(deaf.port)
        client.sendall(bytes(SOME))
    yield hang(deaf, "never accepts", "ACCEPT")
    full = asyncio_server(place, "listen")
    for _ in range(MORE_THAN_A_BACKLOG):
        place.knock(full.port)
    yield hang(full, "never accepts, its accept queue is full", "ACCEPT")


def _stops_with(place: Place, server: Server, sessions: list[int]) -> bool:
    """Stop the sessions; return whether bytes wait for them, else have them go on.

    ssh sends no more than its own window, and all of that can have been read.
    """
    stop(sessions, signal.SIGSTOP)
    if _waiting(place, server.port, 0) > SOME:
        return True
    stop(sessions, signal.SIGCONT)
    return False


def _swallows_some(way: Road, server: Server) -> bool:
    """Swallow what is sent; return whether something was on its way. Else it arrives again."""
    way.swallow()
    if _waiting(way.near, server.port, 1) > SOME:
        return True
    way.swallow(end=True)
    return False


def _waiting(place: Place, port: int, column: int) -> int:
    """Return the Recv-Q or Send-Q, by its column, of the connections of this local port."""
    shown = place.run("ss", "-Htn", "state", "established", f"sport = :{port}")
    return max((int(line.split()[column]) for line in shown.splitlines()), default=0)


def of_ssh(place: Place) -> Iterator[Hang]:
    server = ssh_daemon(place)
    place.start("sh", "-c", f"cat /dev/zero | {' '.join(ssh(server, 'cat', '>/dev/null'))}")
    until_flowing(place, server.port)
    sessions = [pid for pid in server.pids() if pid != server.process.pid]
    until(lambda: _stops_with(place, server, sessions), "a session that is stopped with bytes unread")
    yield hang(server, "SIGSTOP of a session that is sent a file", "RECV", sessions)
    other = ssh_daemon(place)
    client = place.start(*ssh(other, "cat", "/dev/zero"))
    until_flowing(place, other.port)
    stop([client.pid], signal.SIGSTOP)
    owners = frozenset([client.pid, *other.pids()])
    yield Hang("ssh: a client that is stopped while it gets a file", ("RECV", "SEND"), owners, other.port)
    way = road(place)
    third = ssh_daemon(place)
    way.far.start(*ssh(third, "cat", "/dev/zero", address=way.near_ip))
    until_flowing(place, third.port, way.far_ip)
    until(lambda: _swallows_some(way, third), "a session whose bytes are swallowed")
    yield hang(third, "a session that sends a file, blackhole route", "SEND", remote_ip=way.far_ip)
