# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What passes the same places of the kernel as TCP and UDP and is neither is not taken for one of them.

Raw sockets with the protocol numbers of TCP and UDP, UDP-Lite, ping and packet sockets, and the paths of MPTCP
connections, whose bytes stand in another queue: each holds more than the threshold, by hooks and by polling, and no
word is said of it. A connection that asked for MPTCP and fell back to TCP is TCP.
"""

from __future__ import annotations

import socket
import struct
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from sockbpf.kernel.look.netns import inside
from tests.live.monitoring import StartMonitor, thresholds
from tests.live.network import namespace
from tests.live.receiver import Receiver
from tests.live.sockets import deafen, drain, fill, port, tcp_pair, udp_socket
from tests.live.waiting import until

THRESHOLD = 20_011
UNREAD = 30_011
DATAGRAM, DATAGRAMS = 1009, 61
MPTCP = 262
UDP_LITE = 136
ALL_FRAMES = 0x0003
SO_MEMINFO = 55
PING_GROUPS = Path("/proc/sys/net/ipv4/ping_group_range")

WAYS: dict[str, dict[str, Any]] = {
    "hooks": {},
    "polling": {"kernel": {"hooks": "none"}, "sweep": {"poll": "100ms"}},
    "polling by sock_diag": {"kernel": {"hooks": "none", "look": "sock_diag"}, "sweep": {"poll": "100ms"}},
}
"""The settings of a monitor that sees by hooks, and of one that only polls."""


def charged(sock: socket.socket) -> int:
    """Return what the kernel charges the socket for what it has received, bytes."""
    return int(struct.unpack_from("=I", sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))[0])


def fill_raw(stack: ExitStack, here: str, protocol: int, *, connected: bool) -> socket.socket:
    """Leave segments unread that this raw socket gets copies of."""
    family = socket.AF_INET6 if ":" in here else socket.AF_INET
    raw = stack.enter_context(socket.socket(family, socket.SOCK_RAW, protocol))
    raw.bind((here, 0))
    if connected:
        raw.connect((here, 0))
    sender = stack.enter_context(socket.socket(family, socket.SOCK_RAW, protocol))
    segment = struct.pack("!HHHH", 1, 1, DATAGRAM, 0) + bytes(DATAGRAM - 8)
    for _ in range(DATAGRAMS):
        sender.sendto(segment, (here, 0))
    return raw


def fill_datagrams(stack: ExitStack, here: str, protocol: int) -> socket.socket:
    """Leave datagrams unread at a socket of another protocol than UDP: UDP-Lite, ping."""
    family = socket.AF_INET6 if ":" in here else socket.AF_INET
    reader, writer = (
        stack.enter_context(socket.socket(family, socket.SOCK_DGRAM, protocol)) for _ in range(2)
    )
    reader.bind((here, 0))
    echo = struct.pack("!BBHHH", 8, 0, 0, 0, 0) if protocol == socket.IPPROTO_ICMP else b""
    to = reader if protocol == UDP_LITE else writer
    for _ in range(DATAGRAMS):
        (writer if protocol == UDP_LITE else reader).sendto(echo + bytes(DATAGRAM), (here, port(to)))
    return reader


def mptcp_pair(
    stack: ExitStack, here: str, *, server: int = MPTCP, client: int = MPTCP
) -> list[socket.socket]:
    """Return a connected client and the server's accepted socket."""
    family = socket.AF_INET6 if ":" in here else socket.AF_INET
    listener = stack.enter_context(socket.socket(family, socket.SOCK_STREAM, server))
    listener.bind((here, 0))
    listener.listen()
    made = stack.enter_context(socket.socket(family, socket.SOCK_STREAM, client))
    made.connect(listener.getsockname()[:2])
    return [made, stack.enter_context(listener.accept()[0])]


def has(*kind: int) -> bool:
    """Tell whether this kernel has such sockets."""
    with suppress(OSError), socket.socket(*kind):
        return True
    return False


def look_again(receiver: Receiver, stack: ExitStack) -> None:
    """Have a TCP and a UDP socket told of, again and again: whatever else is over was looked at."""
    client, server = tcp_pair(stack)
    reader, writer = udp_socket(stack), udp_socket(stack)
    client.sendall(bytes(UNREAD))
    writer.sendto(bytes(UNREAD), reader.getsockname())
    for sock in (server, reader):
        receiver.count(2, event="ongoing", local_port=port(sock), type="RECV")


@pytest.mark.parametrize("way", WAYS)
def test_what_is_neither(start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, way: str) -> None:
    start_monitor(thresholds=thresholds(THRESHOLD), repeat="1s", **WAYS[way])
    with inside(f"/run/netns/{stack.enter_context(namespace())}"):
        PING_GROUPS.write_text("0 0")
        full = [
            fill_raw(stack, here, protocol, connected=connected)
            for here in ("127.0.0.1", "::1")
            for protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP)
            for connected in (False, True)
        ]
        full += [
            fill_datagrams(stack, "127.0.0.1", protocol)
            for protocol in (UDP_LITE, socket.IPPROTO_ICMP)
            if has(socket.AF_INET, socket.SOCK_DGRAM, protocol)
        ]
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_FRAMES))
        full.append(stack.enter_context(packets))
        udp_socket(stack).sendto(bytes(UNREAD), ("127.0.0.1", 9))
    until(lambda: all(charged(sock) > THRESHOLD for sock in full), "enough unread everywhere")
    print(f"{len(full)} sockets, {sum(map(charged, full))} bytes unread")
    look_again(receiver, stack)
    for sock in full:  # as they are read, too
        with suppress(ConnectionRefusedError):  # nobody took what its copy was of
            sock.recv(UNREAD)
    look_again(receiver, stack)
    assert all(charged(sock) > THRESHOLD for sock in full)
    neither = {str(port(sock)) for sock in full if sock.family != socket.AF_PACKET and port(sock)}
    assert neither >= {"6", "17"}  # a raw socket has its protocol for a port, as `ss -w` shows
    assert not [told for told in receiver.alerts() if {told["local_port"], told["remote_port"]} & neither]


@pytest.mark.skipif(not has(socket.AF_INET, socket.SOCK_STREAM, MPTCP), reason="this kernel has no MPTCP")
@pytest.mark.parametrize("way", WAYS)
def test_mptcp(start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, way: str) -> None:
    """Nothing is told of it, neither while its bytes are unread or unsent nor as it ends; what fell back is TCP."""
    before = mptcp_pair(stack, "127.0.0.1")
    before[0].sendall(bytes(UNREAD))
    unheard = mptcp_pair(stack, "127.0.0.1", server=socket.IPPROTO_TCP)
    deafen(unheard[1])
    unheard[0].sendall(bytes(UNREAD))  # all of it stands in the send queue of its path
    monitor = start_monitor(thresholds=thresholds(THRESHOLD), repeat="1s", **WAYS[way])
    pairs = [before, *(mptcp_pair(stack, here) for here in ("127.0.0.1", "::1", "127.0.0.1"))]
    for client, _ in pairs[:-1]:
        fill(client)
    pairs[-1][0].setblocking(False)
    pairs[-1][0].send(bytes(1 << 20))
    until(lambda: all(charged(server) > THRESHOLD for _, server in pairs), "enough unread everywhere")
    look_again(receiver, stack)
    drain(pairs[1][1], UNREAD)
    pairs[2][1].close()
    pairs[3][0].close()  # an orphan that goes on sending
    look_again(receiver, stack)

    client, server = mptcp_pair(stack, "127.0.0.1", client=socket.IPPROTO_TCP)
    client.sendall(bytes(UNREAD))
    told = receiver.first(event="exceeded", local_port=port(server), remote_port=port(client), type="RECV")
    drain(server, UNREAD)
    receiver.first(event="cleared", id=told["id"])
    of = {str(port(sock)) for sock in (*before, *pairs[1], unheard[0])}
    assert not [told for told in receiver.alerts() if {told["local_port"], told["remote_port"]} & of]
    assert monitor.stop() == 0
    if way == "hooks":
        assert monitor.counters()["mptcp"]
