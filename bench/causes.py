# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What CPU time it takes of an alert to say why and whose: real sockets that another process holds, as the loop asks.

Of each second it takes the time that the monitor would, so a part of a second follows in which nothing is warm.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace

from bench.figure import Figure, percentile
from sockbpf.counters import Counters
from sockbpf.kernel.look.owner import Owners
from sockbpf.monitor.causes import Causes
from sockbpf.monitor.naming import Naming
from sockbpf.process.clock import monotonic_ns
from sockbpf.record.alert import EXCEEDED, Notice
from sockbpf.record.event import Direction, Mode, Protocol, Socket

GOAL_US = 150
IN_A_SECOND, SECONDS = 101, 7
UNREAD = 30_011
HOLDER = "import sys, time; [print(flush=True), time.sleep(600)]"
NETNS = os.stat("/proc/self/ns/net").st_ino


def held(stack: ExitStack, sock: socket.socket) -> int:
    """Have a process of one thread hold the socket alone; return its number."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, pass_fds=[sock.fileno()], text=True
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    assert process.stdout
    stack.enter_context(process.stdout)
    process.stdout.readline()
    sock.close()
    return process.pid


def tcp(stack: ExitStack, direction: Direction) -> Notice:
    """Return the alert of one end of a connection whose reader does not read."""
    server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    client = stack.enter_context(socket.create_connection(server.getsockname()))
    reader = stack.enter_context(server.accept()[0])
    client.setblocking(False)
    while direction is Direction.SEND:
        try:
            client.send(bytes(UNREAD))
        except BlockingIOError:
            break
    else:
        client.send(bytes(UNREAD))
    one, other = (client, reader) if direction is Direction.SEND else (reader, client)
    (ip, port), (remote_ip, remote_port) = one.getsockname(), one.getpeername()
    made = Socket(Protocol.TCP, ip, port, remote_ip, remote_port, NETNS, os.fstat(one.fileno()).st_ino, 0)
    held(stack, other)
    return _notice(made, direction, held(stack, one))


def udp(stack: ExitStack) -> Notice:
    """Return the alert of a receive queue that nobody reads."""
    reader, writer = (stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(2))
    reader.bind(("127.0.0.1", 0))
    writer.sendto(bytes(UNREAD), reader.getsockname())
    ip, port = reader.getsockname()
    made = Socket(Protocol.UDP, ip, port, "0.0.0.0", 0, NETNS, os.fstat(reader.fileno()).st_ino, 0)
    return _notice(made, Direction.RECV, held(stack, reader))


def _notice(of: Socket, direction: Direction, pid: int) -> Notice:
    ns = monotonic_ns()
    return Notice(
        event=EXCEEDED, id="", ns=ns, since_ns=ns, socket=of, direction=direction, mode=Mode.EBPF, size=UNREAD,
        peak=UNREAD, threshold=1009, pid=pid, comm="python3",
    )  # fmt: skip


def figure(name: str, make: Callable[[ExitStack], Notice], seconds: int) -> Figure:
    """Measure one alert after the other; each is of an episode of its own."""
    took_us: list[float] = []
    unexplained = 0
    owners = Owners()
    with ExitStack() as stack:
        notice = make(stack)
        found, naming = stack.enter_context(closing(Causes(Counters(), owners.owner, owners.known))), Naming()
        for second in range(seconds):
            time.sleep(1 - time.monotonic() % 1)
            for number in range(IN_A_SECOND):
                made = _numbered(notice, second * IN_A_SECOND + number)
                begun = time.thread_time_ns()
                (told,) = naming.named(found.explained([made]))
                took_us.append((time.thread_time_ns() - begun) / 1e3)
                assert isinstance(told, Notice)
                unexplained += told.why is None
    return Figure(
        f"CPU time to say of an alert why and whose, {name}",
        "us",
        (percentile(took_us, 0.5),),
        goal=f"at most {GOAL_US}",
        met=percentile(took_us, 0.5) <= GOAL_US,
        note=f"p99 {percentile(took_us, 0.99):.0f}; {len(took_us)} alerts, {unexplained} of them without a cause",
    )


def _numbered(notice: Notice, number: int) -> Notice:
    return replace(notice, id=f"{number:016x}", ns=monotonic_ns())


def measure(*, quick: bool) -> list[Figure]:
    """Return the figures; quick ones are not to be believed."""
    seconds = 1 if quick else SECONDS
    return [
        figure("TCP to read", lambda stack: tcp(stack, Direction.RECV), seconds),
        figure("TCP to send, within the host", lambda stack: tcp(stack, Direction.SEND), seconds),
        figure("UDP to read", udp, seconds),
    ]
