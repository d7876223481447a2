# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Sockets of every kind and state that a host has, made in the network namespace of the calling thread."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack

from tests.live.filling import fill_tcp, fill_udp_receive
from tests.live.sockets import FAMILIES, deafen, listener, tcp_pair, udp_socket, undeafen
from tests.live.waiting import until


def make_every_kind(stack: ExitStack, family: str) -> list[socket.socket]:
    """Return sockets of one family in all states; what has no file is made beside them."""
    made = [fill_tcp(stack, family, role, way, 30_011).sock for role in ("client", "server") for way in WAYS]
    made += [fill_udp_receive(stack, family, role, 31).sock for role in ("client", "server")]
    made += _closing(stack, family)
    made += _listening(stack, family)
    return made


CLOSING = 11
WAYS = ("RECV", "SEND")


def _closing(stack: ExitStack, family: str) -> list[socket.socket]:
    fin_wait_2, close_wait = tcp_pair(stack, family)
    fin_wait_2.shutdown(socket.SHUT_WR)
    fin_wait_1, deaf_peer = tcp_pair(stack, family)
    deafen(fin_wait_1)
    fin_wait_1.send(bytes(1009))
    fin_wait_1.shutdown(socket.SHUT_WR)
    closed, last_ack = tcp_pair(stack, family)
    closed.shutdown(socket.SHUT_WR)
    deafen(last_ack)
    last_ack.shutdown(socket.SHUT_WR)
    closing, still_deaf = tcp_pair(stack, family)
    deafen(closing)
    deafen(still_deaf)
    closing.shutdown(socket.SHUT_WR)
    still_deaf.shutdown(socket.SHUT_WR)
    undeafen(closing)  # it hears the other's FIN when that is sent again, which acknowledges nothing
    until(lambda: closing.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == CLOSING, "CLOSING")
    time_wait, other = tcp_pair(stack, family)
    time_wait.close()
    other.close()
    return [
        fin_wait_2,
        close_wait,
        fin_wait_1,
        deaf_peer,
        last_ack,
        closing,
        still_deaf,
    ]  # `closed` is in TIME-WAIT, without a file


def _listening(stack: ExitStack, family: str) -> list[socket.socket]:
    """Return a listener on which some wait and one's connection is half made, and the clients."""
    server = listener(stack, family)
    kind = socket.AF_INET if family == "ipv4" else socket.AF_INET6
    clients = [stack.enter_context(socket.socket(kind, socket.SOCK_STREAM)) for _ in range(4)]
    deafen(clients[0])  # SYN-SENT, and SYN-RECV at the other end
    for client in clients:
        client.setblocking(clients.index(client) > 0)
        client.connect_ex(server.getsockname()[:2])
    clients[1].send(bytes(1013))  # a connection that nobody accepted holds something
    return [server, *clients]


def fill_up(stack: ExitStack, already: int, count: int) -> list[socket.socket]:
    """Return so many sockets more that there are `count`: connections and datagrams, of each family in turn."""
    made: list[socket.socket] = []
    turn = 0
    while already + len(made) < count:
        family = FAMILIES[turn % len(FAMILIES)]
        made += tcp_pair(stack, family) if already + len(made) + 2 <= count and turn % 2 else ()
        if turn % 2 == 0:
            made.append(udp_socket(stack, family))
            if turn % 4 == 0:
                made[-1].connect(made[-1].getsockname()[:2])
        turn += 1
        if turn > 4 * count:
            raise AssertionError(os.strerror(0))
    return made
