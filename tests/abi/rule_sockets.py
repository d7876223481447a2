# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Many different sockets with their addresses in the kernel, to ask the kernel side which rule applies to each."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sockbpf.kernel.build.making import bytecode_of
from sockbpf.kernel.build.order import order_of_look
from sockbpf.kernel.look.iterators import Iterators
from sockbpf.kernel.look.netns import inside
from sockbpf.kernel.look.owner import open_inodes
from sockbpf.kernel.look.row import Terms, Which
from sockbpf.record.event import Protocol, Socket, ip_text
from tests.live.network import namespace

UNIFIED = next(
    (
        Path(line.split()[1])
        for line in Path("/proc/self/mounts").read_text().splitlines()
        if line.split()[2] == "cgroup2"
    ),
    None,
)
"""Where the cgroups are whose ids sockets have; None where there are none."""

LOCAL = ("127.0.0.1", "127.0.3.7", "127.1.2.3", "::1", "::ffff:127.0.0.1")
UIDS = (0, 1009, 65534)


@dataclass(frozen=True)
class Placed:
    """A socket as the look at all sockets shows it, and its address in the kernel."""

    address: int
    socket: Socket


@contextmanager
def cgroup(name: str) -> Iterator[None]:
    """Put this process into a cgroup of this name; sockets that it makes there stay of it."""
    if UNIFIED is None:
        yield
        return
    folder = UNIFIED / f"sockbpf-{os.getpid()}-{name}"
    folder.mkdir()
    try:
        (folder / "cgroup.procs").write_text(str(os.getpid()))
        try:
            yield
        finally:
            (UNIFIED / "cgroup.procs").write_text(str(os.getpid()))
    finally:
        folder.rmdir()


@contextmanager
def as_user(uid: int) -> Iterator[None]:
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


def _make(stack: ExitStack, ip: str) -> None:
    """Make a connection and two UDP sockets, one of them connected, at this address."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    to = ip.removeprefix("::ffff:")
    dual = to != ip
    listener = stack.enter_context(
        socket.create_server(("::" if dual else ip, 0), family=family, dualstack_ipv6=dual)
    )
    client = socket.create_connection((to, listener.getsockname()[1]))
    stack.enter_context(client)
    stack.enter_context(listener.accept()[0])
    receiver = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
    receiver.bind(("::" if dual else ip, 0))
    sender = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
    sender.connect((ip, receiver.getsockname()[1]))


@contextmanager
def many_sockets() -> Iterator[list[Placed]]:
    """Make sockets of several users, in several cgroups and network namespaces; yield them."""
    with ExitStack() as stack:
        look = Iterators(bytecode_of(order_of_look(()), "auto"))
        stack.callback(look.close)
        placed: list[Placed] = []
        places = ["/proc/self/ns/net"] + [f"/run/netns/{stack.enter_context(namespace())}" for _ in range(2)]
        for number, place in enumerate(places):
            with inside(place):
                before = {each.address for each in _shown(look)}
                with cgroup(str(number)):
                    for ip, uid in zip(LOCAL, (*UIDS, *UIDS), strict=False):
                        with as_user(uid), suppress(OSError):
                            _make(stack, ip)
                # Others' come and go meanwhile, and the memory of one is another's then.
                ours = open_inodes()
                new = [each for each in _shown(look) if each.address not in before]
                placed += [each for each in new if each.socket.inode in ours]
        yield placed


def _shown(look: Iterators) -> list[Placed]:
    found = []
    for protocol in Protocol:
        for row in look.rows(protocol, Terms(Which.ALL)):
            assert row.detail
            ips = (ip_text(row.family, row.local_ip), ip_text(row.family, row.remote_ip))
            ports = (int.from_bytes(row.local_port, "big"), int.from_bytes(row.remote_port, "big"))
            who = Socket(
                protocol,
                ips[0],
                ports[0],
                ips[1],
                ports[1],
                row.detail.netns,
                row.inode,
                row.uid,
                row.detail.cgroup,
            )
            found.append(Placed(row.detail.address, who))
    return found
