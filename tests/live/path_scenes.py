# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Real sockets whose queues are over because of the path: slow, lossy, cut, or a device that holds what was sent."""

from __future__ import annotations

import socket
from contextlib import ExitStack, suppress
from threading import Thread

from sockbpf.kernel.look.netns import inside
from tests.live.network import DISCARD, Path, ip, slow_link, slow_path
from tests.live.scene import NOBODY, TINY, UNREAD, MakeScene, Scene, of
from tests.live.sockets import drain

FASTOPEN_WITHOUT_COOKIE = 5


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


def lossy_path(stack: ExitStack, family: str) -> Scene:
    """Lose some segments and delay all, where the kernel has netem."""
    path = stack.enter_context(slow_path("1mbit", limit="100mb"))
    netem = ("netem", "loss", "7%", "delay", "30ms")
    ip("netns", "exec", path.router, "tc", "qdisc", "replace", "dev", "out", "root", *netem)
    client, reader = _connected(stack, path, family)
    _keep_sending(stack, client, reader)
    return Scene(of(client, "SEND"), "path-limited", "medium", "it is lossy")


def link_down(stack: ExitStack, family: str) -> Scene:
    """Take the far end's link down: the router says that nobody is there, and the kernel takes its timeouts back."""
    path = stack.enter_context(slow_path("1mbit", limit="100mb"))
    client, reader = _connected(stack, path, family)
    for _ in range(31):  # the first round trip had to find the neighbours
        client.sendall(b"x")
        drain(reader, 1)
    ip("-n", path.far, "link", "set", "far", "down")
    client.sendall(bytes(UNREAD))
    return Scene(of(client, "SEND"), "no-acknowledgement", "high", "nothing is acknowledged for")


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


SCENES: tuple[MakeScene, ...] = (
    *(path_limited, link_down, send_buffer_small, device_queue, udp_device_queue, peer_not_answering),
)
ONLY_WITH_NETEM: tuple[MakeScene, ...] = (lossy_path,)
