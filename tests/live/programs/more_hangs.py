# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Hangs of PostgreSQL, redis, dnsmasq and rsyslog."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.live.programs.hangs import SOME, Hang, hang, of_asyncio, of_nginx, of_ssh, until_flowing
from tests.live.programs.place import Place
from tests.live.programs.servers import Server, dnsmasq, postgresql, psql, redis, rsyslog, stop
from tests.live.waiting import until

QUERY = bytes.fromhex("0007010000010000000000000161076578616d706c6500 0001 0001".replace(" ", ""))
"""A question for the address of `a.example`."""


def of_postgresql(place: Place) -> Iterator[Hang]:
    server = postgresql(place)
    place.run(*psql(server, "-c", "create table t (a text)"))
    place.start("sh", "-c", f"yes a-line-of-a-table | {' '.join(psql(server))} -c 'copy t from stdin'")
    backend = _backend(server, "COPY")
    until_flowing(place, server.port)
    stop([backend], signal.SIGSTOP)
    yield hang(server, "SIGSTOP of a backend in COPY FROM", "RECV", [backend])
    rows = "copy (select repeat('x', 1000) from generate_series(1, 100000000)) to stdout"
    client = place.start(*psql(server, "-c", rows))
    backend = _backend(server, "COPY", but=backend)
    until_flowing(place, server.port, much=50 * 2**20)
    stop([client.pid], signal.SIGSTOP)
    yield hang(server, "COPY TO a client that never reads", "SEND", [backend])
    yield Hang("psql: SIGSTOP in COPY TO", ("RECV",), frozenset([client.pid]), server.port)
    asking = place.start(*psql(server), stdin=subprocess.PIPE)
    backend = _backend(server, "idle")
    stop([backend], signal.SIGSTOP)
    assert asking.stdin
    place.stack.callback(asking.stdin.close)
    asking.stdin.write(b"select '%s';\n" % (b"x" * SOME))
    asking.stdin.flush()
    yield hang(server, "SIGSTOP of a backend, a query", "RECV", [backend])
    stop([server.process.pid], signal.SIGSTOP)
    place.connect(server.port)
    yield hang(server, "SIGSTOP of the postmaster, a new connection", "ACCEPT", [server.process.pid])


def _backend(server: Server, word: str, but: int = 0) -> int:
    """Wait for the process that serves a client, by the word that its title ends with."""

    def found() -> list[int]:
        return [pid for pid in server.pids() if pid != but and _title(pid).endswith(word)]

    return int(until(found, f"a backend in {word}")[0])


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b"").decode().strip()
    except OSError:
        return ""


def of_redis(place: Place) -> Iterator[Hang]:
    blocked = redis(place)
    first, second = place.connect(blocked.port), place.connect(blocked.port)
    second.sendall(b"PING\r\n")
    assert second.recv(100) == b"+PONG\r\n"
    first.sendall(b"DEBUG SLEEP 3600\r\n")
    until(lambda: "0 " in place.run("ss", "-Htn", f"sport = :{blocked.port}"), "it sleeps")
    second.sendall(b"PING\r\n" * SOME)
    yield hang(blocked, "DEBUG SLEEP, commands of another client", "RECV")
    stopped = redis(place)
    client = place.connect(stopped.port)
    client.sendall(b"PING\r\n")
    assert client.recv(100) == b"+PONG\r\n"
    stop(stopped.pids(), signal.SIGSTOP)
    client.sendall(b"PING\r\n" * SOME)
    yield hang(stopped, "SIGSTOP, commands on an open connection", "RECV")
    place.connect(stopped.port)
    yield hang(stopped, "SIGSTOP, a new connection", "ACCEPT")
    running = redis(place)
    client = place.connect(running.port)
    client.sendall(b"SET key %s\r\n" % (b"v" * 60_000))
    assert client.recv(100) == b"+OK\r\n"
    client.sendall(b"GET key\r\n" * 200)
    yield hang(running, "a client that never reads", "SEND")


def of_dnsmasq(place: Place) -> Iterator[Hang]:
    server = dnsmasq(place)
    client = place.udp(server.port)
    client.send(QUERY)
    assert client.recv(1000)
    stop(server.pids(), signal.SIGSTOP)
    for _ in range(53):
        client.send(QUERY)
    yield hang(server, "SIGSTOP, 53 questions", "RECV", protocol="udp")


def of_rsyslog(place: Place) -> Iterator[Hang]:
    server = rsyslog(place)
    tcp, udp = place.connect(server.port), place.udp(server.port)
    line = b"<13>Nov 29 00:00:00 host name: a line"
    tcp.sendall(line + b"\n")
    messages = server.folder / "messages"
    until(lambda: messages.exists() and b"a line" in messages.read_bytes(), "a message is written")
    stop(server.pids(), signal.SIGSTOP)
    tcp.sendall((line + b"\n") * 101)
    yield hang(server, "SIGSTOP, messages over TCP", "RECV")
    for _ in range(101):
        udp.send(line)
    yield hang(server, "SIGSTOP, messages over UDP", "RECV", protocol="udp")


ALL = (of_postgresql, of_nginx, of_redis, of_dnsmasq, of_rsyslog, of_asyncio, of_ssh)
