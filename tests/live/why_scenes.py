# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Real sockets whose queues are over because of who reads them, or of the peer's reader."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
from contextlib import ExitStack, suppress
from threading import Event, Thread

from tests.live.scene import UNREAD, MakeScene, Scene, of
from tests.live.sockets import deafen, fill, listener, tcp_pair, udp_socket

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


def peer_not_reading(stack: ExitStack, family: str) -> Scene:
    client, _ = tcp_pair(stack, family)
    fill(client)
    return Scene(of(client, "SEND"), "peer-not-reading", "high", "its window is 0")


def half_closed(stack: ExitStack, family: str) -> Scene:
    """Close one direction alone: the nearest to an application that is gone."""
    client, _ = tcp_pair(stack, family)
    fill(client)
    client.shutdown(socket.SHUT_WR)
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


HELD: tuple[MakeScene, ...] = (peer_not_reading, reader_not_reading)
"""Those of which it is known after some seconds of looks at all sockets."""

SCENES: tuple[MakeScene, ...] = (
    *(peer_not_reading, peer_stopped, half_closed, peer_slow, no_acknowledgement, orphaned),
    *(not_accepted, peer_closed, reader_stopped, reader_in_disk_wait, reader_at_a_lock),
    *(reader_not_reading, reader_slow, udp_buffer_full, udp_reader_stopped, udp_shared),
    *(accept_queue_full, not_accepting),
)
