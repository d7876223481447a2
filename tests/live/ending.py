# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Sockets over their threshold, and waiting until the monitor tells how each episode ended."""

from __future__ import annotations

import socket
import struct
import sys
from contextlib import ExitStack
from dataclasses import dataclass

from tests.live.monitoring import Monitor
from tests.live.receiver import Receiver, Told
from tests.live.sockets import fill, port, tcp_pair, udp_socket
from tests.live.waiting import until

THRESHOLD = 20_011
UNREAD = 30_011


@dataclass
class Watch:
    """One monitor for all ways to end, and what was told of the episodes that ended."""

    receiver: Receiver
    monitor: Monitor
    ended: list[Told]

    def begun(self, **wanted: object) -> Told:
        return self.receiver.first(event="exceeded", **wanted)

    def standing(self, **wanted: object) -> Told:
        """Wait for the episode that goes on: between two writes an acknowledgement may have ended an earlier one."""

        def find() -> Told | None:
            over = {told["id"] for told in self.receiver.alerts(event="ongoing", **wanted)}
            over -= {told["id"] for told in self.receiver.alerts(event="cleared", **wanted)}
            return next((told for told in self.receiver.alerts(event="exceeded") if told["id"] in over), None)

        told: Told = until(find, f"an episode of {wanted} that goes on")
        return told

    def clears(self, *begun: Told) -> None:
        """Wait for the end of these episodes."""
        for told in begun:
            self.ended.append(self.receiver.first(event="cleared", id=told["id"]))

    def still(self, begun: Told) -> None:
        """Wait until the episode was repeated twice from now: it goes on."""
        repeated = len(self.receiver.alerts(event="ongoing", id=begun["id"]))
        self.receiver.count(repeated + 2, event="ongoing", id=begun["id"])
        assert not self.receiver.alerts(event="cleared", id=begun["id"])


def recv_over(stack: ExitStack, watch: Watch) -> tuple[socket.socket, socket.socket, Told]:
    """Return a writer and a reader that has not read, with the alert about the reader."""
    client, server = tcp_pair(stack)
    client.sendall(bytes(UNREAD))
    return client, server, watch.begun(local_port=port(server), remote_port=port(client), type="RECV")


def send_over(stack: ExitStack, watch: Watch) -> tuple[socket.socket, socket.socket, int, Told, Told]:
    """Return a writer that would block, its reader, the bytes written, and the alerts about either."""
    client, server = tcp_pair(stack)
    sent = fill(client)
    return (
        client,
        server,
        sent,
        watch.standing(local_port=port(client), type="SEND"),
        watch.begun(local_port=port(server), remote_port=port(client), type="RECV"),
    )


def reset(sock: socket.socket) -> None:
    """Close by RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def hold_over() -> None:
    """Be the owner of sockets that are over, until killed: say the inodes."""
    with ExitStack() as stack:
        client, server = tcp_pair(stack)
        fill(client)
        reader, writer = udp_socket(stack), udp_socket(stack)
        writer.sendto(bytes(UNREAD), reader.getsockname())
        print(port(client), port(server), port(reader), flush=True)
        sys.stdin.read()
