# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Real sockets whose queues are over, each for a cause of its own, and what must be said of it."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from threading import Event, Thread

from sockbpf.kernel.look.netns import inside
from tests.live.network import DISCARD, Path, ip, slow_link, slow_path
from tests.live.sockets import deafen, fill, listener, port, tcp_pair, udp_socket

ABOVE = 20_011
"""The thresholds, bytes: far below any buffer."""
UNREAD = 30_011
NOBODY, TINY, ABOVE_LITTLE = 9, 7, 1003
"""The ports at which nobody answers, and to which a tiny buffer sends; the threshold for what is sent there."""
FASTOPEN_WITHOUT_COOKIE = 5
RESET = struct.pack("=ii", 1, 0)
"""struct linger: to close is to reset the connection."""

LOCKED = "import threading as t; l = t.Lock(); l.acquire(); print(flush=True); l.acquire()"
VFORKED = "import ctypes, time; p = ctypes.CDLL(None).vfork(); p or (print(flush=True), time.sleep(600))"
"""The parent of vfork waits in the state of a disk wait until its child calls exec or ends: kernel/fork.c."""
ASLEEP = "import time; print(flush=True); time.sleep(600)"
SLOW = """
import sys, socket, time
s = socket.socket(fileno=int(sys.argv[1]))
print(flush=True)
while s.recv(997): time.sleep(0.05)
"""


@dataclass(frozen=True)
class Scene:
    """A queue: its alert, and what must be said of it by the last alert at the latest."""

    queue: dict[str, object]
    cause: str
    confidence: str
    says: str
    """What is in the reason."""


def owned(
    stack: ExitStack, sock: socket.socket, program: str = ASLEEP, *, shared: bool = False
) -> subprocess.Popen[str]:
    """Have another process hold the socket, alone unless shared; the program says when it has begun."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(sock.fileno())],
        stdout=subprocess.PIPE, text=True, pass_fds=[sock.fileno()], start_new_session=True,
    )  # fmt: skip
    stack.callback(process.wait)
    stack.callback(os.killpg, process.pid, signal.SIGKILL)
    stack.enter_context(process.stdout)  # type: ignore[arg-type]
    assert process.stdout
    assert process.stdout.readline()
    if not shared:
        sock.close()
    return process


def stopped(process: subprocess.Popen[str]) -> int:
    """Stop the process, and return its number once it stands."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    return process.pid


def of(sock: socket.socket, kind: str, protocol: str = "tcp") -> dict[str, object]:
    """Return how the alerts of a queue are known: sockets of two families may have the same port."""
    address = {} if (ip := sock.getsockname()[0]) in {"0.0.0.0", "::"} else {"local_ip": ip}
    return {"protocol": protocol, "type": kind, "local_port": port(sock), **address}


def peer_not_reading(stack: ExitStack, family: str) -> Scene:
    client, _ = tcp_pair(stack, family)
    fill(client)
    return Scene(of(client, "SEND"), "peer-not-reading", "high", "its window is 0")


def peer_stopped(stack: ExitStack, family: str) -> Scene:
    client, server = tcp_pair(stack, family)
    pid = stopped(owned(stack, server))
    fill(client)
    return Scene(
        of(client, "SEND"), "peer-not-reading", "high", f"(pid {pid}) on this host, which is stopped"
    )


def no_acknowledgement(stack: ExitStack, family: str) -> Scene:
    client, _ = tcp_pair(stack, family)
    deafen(client)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)  # nobody will acknowledge its end
    client.sendall(bytes(UNREAD))
    return Scene(of(client, "SEND"), "no-acknowledgement", "high", "nothing is acknowledged for")


def orphaned(stack: ExitStack, family: str) -> Scene:
    client, _ = tcp_pair(stack, family)
    fill(client)
    queue = of(client, "SEND")
    client.close()
    return Scene(queue, "orphaned", "high", "FIN-WAIT-1")


def not_accepted(stack: ExitStack, family: str) -> Scene:
    server = listener(stack, family)
    client = stack.enter_context(socket.create_connection(server.getsockname()[:2]))
    client.sendall(bytes(UNREAD))
    return Scene(of(server, "RECV"), "not-accepted", "high", "nobody has accepted")


def peer_closed(stack: ExitStack, family: str) -> Scene:
    client, server = tcp_pair(stack, family)
    client.sendall(bytes(UNREAD))
    queue = of(server, "RECV")
    owned(stack, server)
    client.close()
    return Scene(queue, "peer-closed", "high", "the peer has closed")


def _reader(stack: ExitStack, family: str, program: str) -> tuple[socket.socket, dict[str, object], int]:
    client, server = tcp_pair(stack, family)
    queue = of(server, "RECV")
    process = owned(stack, server, program)
    client.sendall(bytes(UNREAD))
    return client, queue, process.pid


def reader_stopped(stack: ExitStack, family: str) -> Scene:
    client, server = tcp_pair(stack, family)
    queue = of(server, "RECV")
    pid = stopped(owned(stack, server))
    client.sendall(bytes(UNREAD))
    return Scene(queue, "reader-stopped", "high", f"(pid {pid}) is stopped")


def reader_in_disk_wait(stack: ExitStack, family: str) -> Scene:
    _, queue, pid = _reader(stack, family, VFORKED)
    return Scene(queue, "reader-blocked", "medium", f"(pid {pid}) waits for a disk")


def reader_at_a_lock(stack: ExitStack, family: str) -> Scene:
    _, queue, pid = _reader(stack, family, LOCKED)
    return Scene(queue, "reader-blocked", "medium", f"(pid {pid}) waits for a lock")


def reader_not_reading(stack: ExitStack, family: str) -> Scene:
    _, queue, pid = _reader(stack, family, ASLEEP)
    return Scene(queue, "reader-not-reading", "medium", f"(pid {pid}) has read nothing for")


def reader_slow(stack: ExitStack, family: str) -> Scene:
    client, queue, pid = _reader(stack, family, SLOW)
    client.sendall(bytes(3 * UNREAD))
    return Scene(queue, "reader-slow", "high", f"(pid {pid}) reads, but more slowly")


def peer_slow(stack: ExitStack, family: str) -> Scene:
    """Have the peer read now and then: the nearest to one that does not read."""
    client, server = tcp_pair(stack, family)
    fill(client)
    server.setblocking(False)
    ends = Event()

    def read() -> None:
        while not ends.wait(0.1):
            with suppress(BlockingIOError):
                server.recv(70_001)

    reader = Thread(target=read)
    reader.start()
    stack.callback(reader.join)
    stack.callback(ends.set)
    return Scene(of(client, "SEND"), "peer-slow", "medium", "the peer reads slowly")


def udp_buffer_full(stack: ExitStack, family: str) -> Scene:
    reader, writer = udp_socket(stack, family), udp_socket(stack, family)
    queue, to = of(reader, "RECV", "udp"), reader.getsockname()[:2]
    owned(stack, reader)
    for _ in range(400):
        writer.sendto(bytes(1400), to)
    return Scene(queue, "buffer-full", "high", "is full")


def udp_reader_stopped(stack: ExitStack, family: str) -> Scene:
    """Stop the reader: the nearest to a full buffer, which is full for that reason."""
    reader, writer = udp_socket(stack, family), udp_socket(stack, family)
    queue, to = of(reader, "RECV", "udp"), reader.getsockname()[:2]
    stopped(owned(stack, reader))
    for _ in range(400):
        writer.sendto(bytes(1400), to)
    return Scene(queue, "reader-stopped", "high", "is stopped")


def udp_shared(stack: ExitStack, family: str) -> Scene:
    """Stop one of two processes that share the socket: the nearest to a reader that is stopped."""
    reader, writer = udp_socket(stack, family), udp_socket(stack, family)
    queue, to = of(reader, "RECV", "udp"), reader.getsockname()[:2]
    stopped(owned(stack, reader, shared=True))
    owned(stack, reader)
    for _ in range(400):
        writer.sendto(bytes(1400), to)
    return Scene(queue, "buffer-full", "high", "is full")


def accept_queue_full(stack: ExitStack, family: str) -> Scene:
    server = listener(stack, family)
    server.listen(2)
    for _ in range(5):
        client = stack.enter_context(socket.socket(server.family))
        client.setblocking(False)
        client.connect_ex(server.getsockname()[:2])
    return Scene(of(server, "ACCEPT"), "accept-queue-full", "high", "the accept queue is full")


def not_accepting(stack: ExitStack, family: str) -> Scene:
    server = listener(stack, family)
    queue = of(server, "ACCEPT")
    stack.enter_context(socket.create_connection(server.getsockname()[:2]))
    return Scene(queue, "not-accepting", "high", "has accepted nothing for")


def _keep_sending(
    stack: ExitStack, sender: socket.socket, reader: socket.socket, piece: int = 100_003
) -> None:
    """Write as much as there is room for, and read all that comes, until the stack is closed."""

    def send() -> None:
        with suppress(OSError):
            while True:
                sender.sendall(bytes(piece))

    def read() -> None:
        with suppress(OSError):
            while reader.recv(1 << 20):
                pass

    for work in (send, read):
        thread = Thread(target=work)
        thread.start()
        stack.callback(thread.join)
    for sock in (sender, reader):
        stack.callback(_shut, sock)


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):  # the other end may have reset it
        sock.shutdown(socket.SHUT_RDWR)


def _connected(
    stack: ExitStack, path: Path, family: str, port: int = 0, sndbuf: int = 0
) -> tuple[socket.socket, socket.socket]:
    """Return both ends of a connection over the path."""
    kind = socket.AF_INET if family == "ipv4" else socket.AF_INET6
    with inside(f"/run/netns/{path.far}"):
        server = stack.enter_context(socket.create_server((path.address[family], port), family=kind))
    with inside(f"/run/netns/{path.near}"):
        client = stack.enter_context(socket.socket(kind))
    if sndbuf:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sndbuf)
    client.connect(server.getsockname()[:2])
    return client, stack.enter_context(server.accept()[0])


def path_limited(stack: ExitStack, family: str) -> Scene:
    client, reader = _connected(stack, stack.enter_context(slow_path("1mbit", limit="20kb")), family)
    _keep_sending(stack, client, reader)
    return Scene(of(client, "SEND"), "path-limited", "medium", "the path is the limit")


def send_buffer_small(stack: ExitStack, family: str) -> Scene:
    path = stack.enter_context(slow_path("1mbit", limit="100mb"))
    client, reader = _connected(stack, path, family, port=TINY, sndbuf=1)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else small writes wait, and fill the path
    _keep_sending(stack, client, reader, piece=701)
    return Scene(of(client, "SEND"), "send-buffer-small", "low", "the send buffer of")


def device_queue(stack: ExitStack, family: str) -> Scene:
    link = stack.enter_context(slow_link("64kbit"))
    client, reader = _connected(stack, Path(link.sender, link.receiver, link.far), family)
    _keep_sending(stack, client, reader)
    return Scene(of(client, "SEND"), "device-queue", "medium", "the device, or the queue in front of it")


def udp_device_queue(stack: ExitStack, family: str) -> Scene:
    link = stack.enter_context(slow_link())
    with inside(f"/run/netns/{link.sender}"):
        sender = stack.enter_context(
            socket.socket(socket.AF_INET if family == "ipv4" else socket.AF_INET6, socket.SOCK_DGRAM)
        )
    sender.connect((link.far[family], DISCARD))
    for _ in range(40):
        sender.send(bytes(1200))
    return Scene(
        of(sender, "SEND", "udp"), "device-queue", "medium", "the device, or the queue in front of it"
    )


def peer_not_answering(stack: ExitStack, family: str) -> Scene:
    path = stack.enter_context(slow_path("1mbit", limit="100mb"))
    ip("netns", "exec", path.near, "sysctl", "-qw", f"net.ipv4.tcp_fastopen={FASTOPEN_WITHOUT_COOKIE}")
    for number in ("198.51.101.9", "2001:db8:1::9"):
        ip(
            "-n",
            path.near,
            "neigh",
            "add",
            number,
            "lladdr",
            "02:00:00:00:00:09",
            "dev",
            "near",
            "nud",
            "permanent",
        )
    kind = socket.AF_INET if family == "ipv4" else socket.AF_INET6
    with inside(f"/run/netns/{path.near}"):
        client = stack.enter_context(socket.socket(kind))
    client.setblocking(False)
    with suppress(BlockingIOError):
        client.sendto(
            bytes(1400),
            socket.MSG_FASTOPEN,
            ("198.51.101.9" if family == "ipv4" else "2001:db8:1::9", NOBODY),
        )
    return Scene(of(client, "SEND"), "peer-not-answering", "medium", "the peer does not answer")


SCENES: tuple[Callable[[ExitStack, str], Scene], ...] = (
    *(peer_not_reading, peer_stopped, peer_slow, no_acknowledgement, orphaned),
    *(not_accepted, peer_closed, reader_stopped, reader_in_disk_wait, reader_at_a_lock),
    *(reader_not_reading, reader_slow, udp_buffer_full, udp_reader_stopped, udp_shared),
    *(accept_queue_full, not_accepting),
    *(path_limited, send_buffer_small, device_queue, udp_device_queue, peer_not_answering),
)
