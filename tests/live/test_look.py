# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A look at all sockets says what `ss` shows, by BPF iterators and by sock_diag alike.

TCP and UDP, IPv4, IPv6 and mapped, both directions, several network namespaces, orphans, connections that nobody
has accepted; listeners and TIME_WAIT are left out.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from sockbpf.counters import Counters
from sockbpf.kernel.look.choice import look_of
from sockbpf.kernel.look.diag import Diag
from sockbpf.kernel.look.glance import glance
from sockbpf.kernel.look.in_use import WhereInUse
from sockbpf.kernel.look.netns import inside
from sockbpf.kernel.look.row import Look, Row, Terms, Which
from sockbpf.kernel.look.sweep import Sweeper, Wanted
from sockbpf.record.event import Direction, Protocol, ip_text
from tests.live.filling import Filled, fill_tcp, fill_udp_receive, fill_udp_send
from tests.live.monitoring import StartMonitor
from tests.live.network import namespace, slow_link
from tests.live.receiver import Receiver
from tests.live.sockets import (
    FAMILIES,
    Queues,
    deafen,
    inode,
    listener,
    port,
    ss_all,
    tcp_pair,
    udp_socket,
)
from tests.live.waiting import until

WAYS = {"iterators": "auto", "sock_diag": "sock_diag"}
ALL = Terms(Which.ALL)
Shown = Callable[[], dict[int, Queues]]


@pytest.fixture(scope="module", params=WAYS)
def look(request: pytest.FixtureRequest) -> Iterator[Look]:
    made, reason = look_of(WAYS[request.param], "auto", Counters())
    if request.param == "iterators" and made.name == "sock_diag":
        pytest.skip(reason)
    with closing(made):
        yield made


def rows(look: Look, terms: Terms = ALL) -> list[Row]:
    return [row for protocol in Protocol for row in look.rows(protocol, terms)]


def by_inode(look: Look, terms: Terms = ALL) -> dict[int, Row]:
    return {row.inode: row for row in rows(look, terms) if row.inode}


def of_port(look: Look, number: int, terms: Terms = ALL) -> list[Row]:
    return [row for row in rows(look, terms) if int.from_bytes(row.local_port, "big") == number]


def ends(row: Row) -> tuple[str, int, str, int]:
    """Return addresses and ports as the calls of a socket give them."""
    local, remote = (ip_text(row.family, ip) for ip in (row.local_ip, row.remote_ip))
    return local, int.from_bytes(row.local_port, "big"), remote, int.from_bytes(row.remote_port, "big")


def test_the_queues_are_those_that_ss_shows(look: Look, stack: ExitStack) -> None:
    link = stack.enter_context(slow_link(rate="100bit"))  # a packet in 80 s
    here: list[Filled] = []
    there: list[Filled] = []
    for family in FAMILIES:
        for role in ("client", "server"):
            here.append(fill_tcp(stack, family, role, "RECV", 30_011))
            here.append(fill_tcp(stack, family, role, "SEND", 0))
            here.append(fill_udp_receive(stack, family, role, 31))
            with inside(f"/run/netns/{link.sender}"):
                there.append(fill_udp_send(stack, family, role, 31, link.far[family]))
    for filled, name in ((here, ""), (there, link.sender)):
        numbers = {inode(one.sock) for one in filled}

        def shown(name: str = name, numbers: set[int] = numbers) -> dict[int, Queues]:
            return {number: queues for number, queues in ss_all(name).items() if number in numbers}

        def at_rest(filled: list[Filled] = filled, name: str = name, shown: Shown = shown) -> bool:
            before = shown()
            with inside(f"/run/netns/{name}" if name else "/proc/self/ns/net"):
                found = by_inode(look, Terms(Which.NOT_EMPTY))
            if before != shown():
                return False
            for one in filled:
                row = found[inode(one.sock)]
                assert (row.recv, row.send) == before[inode(one.sock)], f"{one.kind} {one.direction}"
                assert (row.send, row.recv)[one.direction == "RECV"] > 0
            return True

        until(at_rest, "the same before and after in ss")


@pytest.mark.parametrize("family", FAMILIES)
def test_who_a_socket_is(look: Look, stack: ExitStack, family: str) -> None:
    client, server = tcp_pair(stack, family)
    unconnected, connected = udp_socket(stack, family), udp_socket(stack, family)
    connected.connect(unconnected.getsockname()[:2])
    found = by_inode(look)
    for sock in (client, server, connected):
        assert ends(found[inode(sock)]) == (*sock.getsockname()[:2], *sock.getpeername()[:2])
        assert found[inode(sock)].uid == os.geteuid()
    nobody = "0.0.0.0" if family == "ipv4" else "::"
    assert ends(found[inode(unconnected)]) == (*unconnected.getsockname()[:2], nobody, 0)


def test_listeners_and_minisocks_are_left_out(look: Look, stack: ExitStack) -> None:
    """And an ordinary connection of the same port is not."""
    server = listener(stack, "ipv4")
    client = socket.create_connection(server.getsockname())
    accepted = server.accept()[0]
    own = port(client)
    client.shutdown(socket.SHUT_WR)
    accepted.close()
    client.close()  # it closed first: TIME_WAIT
    stays, _ = tcp_pair(stack)

    def shown() -> str:
        asked = ["ss", "-Htan", "state", "time-wait", f"sport = :{own} and dport = :{port(server)}"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout

    until(shown, "the connection in TIME_WAIT")
    assert inode(server) not in by_inode(look)
    assert inode(stays) in by_inode(look)
    assert of_port(look, port(server)) == []
    assert of_port(look, own) == []


def test_a_connection_that_nobody_accepted_and_one_that_was_closed_have_no_inode(
    look: Look, stack: ExitStack
) -> None:
    server = listener(stack, "ipv4")
    client = stack.enter_context(socket.create_connection(server.getsockname()))
    client.sendall(bytes(30_011))
    waits = Terms(Which.OVER_ONLY, send=2**31, recv=2**31, orphans=True)
    until(lambda: [row.recv for row in of_port(look, port(server), waits)] == [30_011], "all of it there")
    (row,) = of_port(look, port(server), waits)
    assert row.inode == 0
    assert of_port(look, port(server), Terms(Which.OVER_ONLY, send=2**31, recv=2**31)) == []

    orphan, _ = tcp_pair(stack)
    number = port(orphan)
    deafen(orphan)
    orphan.sendall(bytes(30_011))
    orphan.close()
    (left,) = of_port(look, number, waits)
    assert (left.inode, left.send) == (0, 30_012)  # the FIN is one


def test_what_is_asked_for_is_found_and_nothing_else(look: Look, stack: ExitStack) -> None:
    reader, writer = udp_socket(stack), udp_socket(stack)
    for _ in range(31):
        writer.sendto(bytes(1009), reader.getsockname())
    client, server = tcp_pair(stack)
    client.sendall(bytes(20_011))
    until(lambda: by_inode(look)[inode(server)].recv == 20_011, "all bytes at the reader")
    held = by_inode(look)[inode(reader)].recv
    mine = {inode(sock) for sock in (reader, writer, client, server)}

    def found(terms: Terms) -> set[int]:
        return mine & set(by_inode(look, terms))

    full = {inode(reader), inode(server)}
    assert found(Terms(Which.ALL)) == mine
    assert found(Terms(Which.NOT_EMPTY)) == full
    assert found(Terms(Which.OVER_ONLY, recv=20_010, send=0)) == full
    assert found(Terms(Which.OVER_ONLY, recv=20_011, send=0)) == {inode(reader)}
    assert found(Terms(Which.OVER_ONLY, recv=held, send=0)) == set()
    asked = Terms(Which.OVER_ONLY, recv=held, send=0, inodes=frozenset({inode(client)}))
    assert set(by_inode(look, asked)) & mine == {inode(client)}


def test_a_send_queue_over_its_own_threshold(look: Look, stack: ExitStack) -> None:
    client, _ = tcp_pair(stack)
    deafen(client)
    client.sendall(bytes(30_011))
    assert inode(client) in by_inode(look, Terms(Which.OVER_ONLY, send=30_010, recv=0))
    assert inode(client) not in by_inode(look, Terms(Which.OVER_ONLY, send=30_011, recv=0))


def test_a_sweep_looks_into_every_namespace(
    look: Look, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [stack.enter_context(namespace()) for _ in range(3)]
    held = {}
    for number, name in enumerate(names):
        with inside(f"/run/netns/{name}") as netns:
            client, server = tcp_pair(stack, FAMILIES[number])
            reader, writer = udp_socket(stack), udp_socket(stack)
        client.sendall(bytes(20_011 + number))
        for _ in range(31):
            writer.sendto(bytes(1009), reader.getsockname())
        held[inode(server)], held[inode(reader)] = (netns, Protocol.TCP), (netns, Protocol.UDP)
        until(lambda name=name, server=server: ss_all(name)[inode(server)][0] > 20_010, "all there")  # type: ignore[misc]
    monkeypatch.setattr(
        "sockbpf.kernel.look.sweep.open_inodes", set
    )  # else what this process has is left out
    sweep = Sweeper(Counters(), look).sweep(Wanted(None, Terms(Which.OVER_ONLY, send=20_010, recv=20_010)))
    found = {
        reading.socket.inode: (reading.socket.netns, reading.socket.protocol)
        for reading in sweep.readings
        if reading.socket.inode in held and reading.sizes[Direction.RECV] > 20_010
    }
    assert found == held
    assert {(netns, protocol) for netns, _ in held.values() for protocol in Protocol} <= sweep.looked


def test_a_namespace_to_which_two_paths_lead_is_looked_at_once(
    look: Look, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a process was in another one when namespaces were found, and has moved since."""
    reader = udp_socket(stack)
    own = "/proc/thread-self/ns/net"
    two = dict.fromkeys((1, os.stat(own).st_ino), own)
    monkeypatch.setattr("sockbpf.kernel.look.sweep.open_inodes", set)
    for module in ("sweep", "glance"):
        monkeypatch.setattr(f"sockbpf.kernel.look.{module}.namespaces", lambda: two)
    sweep = Sweeper(Counters(), look).sweep(Wanted(None, ALL))
    seen = glance(look, tuple(Protocol), empties=True, listeners_only=False)
    rows = [
        row for _, protocol, each in seen.handed if protocol is Protocol.UDP for _, row in each.empty_rows()
    ]
    assert [reading.socket.inode for reading in sweep.readings].count(inode(reader)) == 1
    assert [row.inode for row in rows].count(inode(reader)) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_namespace_is_passed_over_until_it_has_a_socket(stack: ExitStack, family: str) -> None:
    looked: list[Protocol] = []

    class Seen(Diag):
        def rows(self, protocol: Protocol, terms: Terms) -> list[Row]:
            looked.append(protocol)
            return super().rows(protocol, terms)

    def looks() -> set[Protocol]:
        looked.clear()
        sweep = Sweeper(Counters(), WhereInUse(Seen())).sweep(Wanted(frozenset({netns})))
        assert sweep.looked == {(netns, protocol) for protocol in Protocol}
        return set(looked)

    with inside(f"/run/netns/{stack.enter_context(namespace())}") as netns:
        assert looks() == set()
        unheard = udp_socket(stack, family)
        assert looks() == {Protocol.UDP}
        unheard.close()
        with ExitStack() as theirs:
            tcp_pair(theirs, family)
            assert looks() == {Protocol.TCP}
        until(lambda: looks() == set(), "no more than TIME-WAIT")


def test_what_a_full_table_left_out_is_found_soon(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    """The hooks follow 16 queues; the others are found by a sweep, long before one is due."""
    start_monitor(
        thresholds={"send": "1GiB", "recv": 20_011},
        kernel={"max_episodes": 16},
        sweep={"interval": "1h"},
        fold={"above": 0},
    )
    pairs = [tcp_pair(stack) for _ in range(23)]
    begun_s = time.monotonic()
    for client, _ in pairs:
        client.sendall(bytes(30_011))
    found = {receiver.first(event="exceeded", local_port=port(server))["mode"] for _, server in pairs}
    print(f"all told after {time.monotonic() - begun_s:.2f} s")
    assert found == {"ebpf", "poll"}
