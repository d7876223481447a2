# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is over when the monitor starts is reported, wherever on the host it is, before the monitor says it is ready.

TCP receive and send queues and UDP receive queues that stand still before the start are told by the first sweep, with
the sizes of `ss` and mode=poll, and cleared when they are drained. So are those in other network namespaces, named
ones and ones that only a process is in. The hooks take over what the sweep found without a second `exceeded`.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from sockbpf.kernel.look.netns import inside
from tests.live.bpf import open_episodes, shows_ids
from tests.live.log_lines import fields_of
from tests.live.monitoring import Monitor, StartMonitor, thresholds
from tests.live.network import ip, namespace
from tests.live.receiver import Receiver
from tests.live.sockets import (
    FAMILIES,
    deafen,
    drain,
    inode,
    port,
    ss,
    ss_all,
    tcp_pair,
    udp_socket,
    undeafen,
)
from tests.live.waiting import until

THRESHOLD = 20_011
UNREAD = 30_011
DATAGRAM, DATAGRAMS = 1009, 31
SOCKETS = 499


def told_before_ready(monitor: Monitor, **wanted: object) -> list[dict[str, str]]:
    """Return the `exceeded` alerts that the log tells before it tells that the monitor is armed."""
    monitor.wait_armed()
    until(lambda: " armed: " in monitor.log(), "the line that says so")
    before, _, _ = monitor.log().partition(" armed: ")
    alerts = [fields_of(line) for line in before.splitlines() if " event=exceeded " in line]
    strings = {name: str(value) for name, value in wanted.items()}
    return [alert for alert in alerts if strings.items() <= alert.items()]


@pytest.mark.parametrize("family", FAMILIES)
def test_over_before_the_start(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, family: str
) -> None:
    client, server = tcp_pair(stack, family)
    deafen(client)  # what it sent is read or not, it does not learn of it
    client.sendall(bytes(UNREAD))
    reader, writer = udp_socket(stack, family), udp_socket(stack, family)
    for _ in range(DATAGRAMS):
        writer.sendto(bytes(DATAGRAM), reader.getsockname()[:2])
    expected = {
        ("tcp", "RECV", port(server)): ss(server)[0],
        ("tcp", "SEND", port(client)): ss(client)[1],
        ("udp", "RECV", port(reader)): ss(reader)[0],
    }
    assert list(expected.values())[:2] == [UNREAD, UNREAD]

    monitor = start_monitor(armed=False, thresholds=thresholds(THRESHOLD), sweep={"recheck": "100ms"})
    for (protocol, kind, number), size in expected.items():
        (told,) = told_before_ready(monitor, protocol=protocol, type=kind, local_port=number)
        assert (told["mode"], told["size"], told["peak"]) == ("poll", str(size), str(size))
        assert told["netns"] == str(os.stat("/proc/self/ns/net").st_ino)
        assert told["pid"] == str(os.getpid())
        assert receiver.first(event="exceeded", id=told["id"]).items() >= told.items()

    drain(server, UNREAD)
    undeafen(client)
    for _ in range(DATAGRAMS):
        reader.recv(DATAGRAM)
    for protocol, kind, number in expected:
        cleared = receiver.first(event="cleared", protocol=protocol, type=kind, local_port=number)
        assert int(cleared["size"]) <= THRESHOLD
    assert monitor.stop() == 0
    for protocol, kind, number in expected:
        alerts = receiver.alerts(protocol=protocol, type=kind, local_port=number)
        assert [alert["event"] for alert in alerts] == ["exceeded", "cleared"]


def test_ready_comes_after_all_of_them(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    """However many there are."""
    readers = [udp_socket(stack) for _ in range(SOCKETS)]
    writer = udp_socket(stack)
    for reader in readers:
        writer.sendto(bytes(UNREAD), reader.getsockname())
        reader.recv(1, socket.MSG_PEEK)
    monitor = start_monitor(armed=False, thresholds=thresholds(THRESHOLD))
    told = told_before_ready(monitor, protocol="udp", type="RECV", mode="poll")
    ports = sorted(str(port(reader)) for reader in readers)
    assert sorted(alert["local_port"] for alert in told if alert["local_port"] in ports) == ports


def test_hooks_take_over(start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack) -> None:
    """An episode that the sweep began goes on as the same one when the hooks see the socket too."""
    kinds: dict[tuple[str, str], tuple[socket.socket, socket.socket]] = {}
    for family in FAMILIES:
        kinds[family, "tcp"] = tcp_pair(stack, family)
        kinds[family, "udp"] = udp_socket(stack, family), udp_socket(stack, family)
        kinds[family, "udp"][0].connect(kinds[family, "udp"][1].getsockname()[:2])
    for writer, _ in kinds.values():
        writer.sendall(bytes(UNREAD))
    monitor = start_monitor(thresholds={"send": "1GiB", "recv": THRESHOLD}, sweep={"recheck": "100ms"})
    begun = {
        kind: receiver.first(event="exceeded", protocol=kind[1], local_port=port(reader))
        for kind, (_, reader) in kinds.items()
    }
    assert {told["mode"] for told in begun.values()} == {"poll"}
    looks_inside = shows_ids(monitor.pid)  # before 4.18 nobody else can look into the table
    assert {inode(reader) for _, reader in kinds.values()}.isdisjoint(hooked(monitor))

    for writer, _ in kinds.values():
        writer.sendall(bytes(DATAGRAM))
    if looks_inside:
        until(lambda: {inode(reader) for _, reader in kinds.values()} <= hooked(monitor), "all seen by hooks")
    peaks = {kind: ss(reader)[0] for kind, (_, reader) in kinds.items()}
    for (_, protocol), (_, reader) in kinds.items():
        if protocol == "tcp":
            drain(reader, UNREAD + DATAGRAM)
        else:
            assert [len(reader.recv(UNREAD)) for _ in range(2)] == [UNREAD, DATAGRAM]
    for kind in kinds:
        cleared = receiver.first(event="cleared", id=begun[kind]["id"])
        assert int(cleared["peak"]) == peaks[kind]
    until(
        lambda: {inode(reader) for _, reader in kinds.values()}.isdisjoint(hooked(monitor)), "an empty table"
    )
    assert monitor.stop() == 0
    for kind, (_, reader) in kinds.items():
        alerts = receiver.alerts(protocol=kind[1], local_port=port(reader), type="RECV")
        assert [alert["event"] for alert in alerts] == ["exceeded", "cleared"], kind


def hooked(monitor: Monitor) -> set[int]:
    """Return the inodes of the sockets that the kernel side has an open episode of; none if it does not tell."""
    if not shows_ids(monitor.pid):
        return set()
    return {episode.socket.inode for episode in open_episodes(monitor.pid)}


@dataclass(frozen=True)
class Elsewhere:
    """A reader of TCP and one of UDP in another network namespace, both over; `ports` by protocol."""

    netns: int
    pid: int
    ports: dict[str, int]
    sizes: dict[str, int]
    drain: Callable[[], None]


def readers_over(stack: ExitStack) -> tuple[dict[str, socket.socket], Callable[[], None]]:
    """Return readers by protocol whose queues are over, in the calling thread's namespace, and what drains them."""
    client, server = tcp_pair(stack, "ipv6")
    reader, writer = udp_socket(stack, "ipv6"), udp_socket(stack, "ipv6")
    client.sendall(bytes(UNREAD))
    writer.sendto(bytes(UNREAD), reader.getsockname()[:2])

    def empty() -> None:
        drain(server, UNREAD)
        reader.recv(UNREAD)

    return {"tcp": server, "udp": reader}, empty


def hold_readers_over() -> None:
    """Be the process that alone is in a namespace: say what is there, drain it when told, stay until told."""
    ip("link", "set", "lo", "up")
    with ExitStack() as stack:
        readers, empty = readers_over(stack)
        found = ss_all()
        ports = {protocol: port(sock) for protocol, sock in readers.items()}
        sizes = {protocol: found[inode(sock)][0] for protocol, sock in readers.items()}
        print(json.dumps({"ports": ports, "sizes": sizes}), flush=True)
        sys.stdin.readline()
        empty()
        sys.stdin.readline()


def in_named(stack: ExitStack) -> Elsewhere:
    """Fill readers in a namespace that has a name and no process."""
    name = stack.enter_context(namespace())
    with inside(f"/run/netns/{name}") as netns:
        readers, empty = readers_over(stack)
    ports = {protocol: port(sock) for protocol, sock in readers.items()}
    found = ss_all(name)
    sizes = {protocol: found[inode(sock)][0] for protocol, sock in readers.items()}
    return Elsewhere(netns, os.getpid(), ports, sizes, empty)


def in_unnamed(stack: ExitStack) -> Elsewhere:
    """Fill readers in a namespace without a name that one process is in."""
    command = [
        "unshare",
        "--net",
        sys.executable,
        "-c",
        "from tests.live.test_start import hold_readers_over; hold_readers_over()",
    ]
    child = stack.enter_context(
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    )
    stack.callback(child.kill)
    assert child.stdin
    assert child.stdout
    said = json.loads(child.stdout.readline())
    sink = child.stdin

    def empty() -> None:
        print(file=sink, flush=True)

    netns = os.stat(f"/proc/{child.pid}/ns/net").st_ino
    return Elsewhere(netns, child.pid, said["ports"], said["sizes"], empty)


@pytest.mark.parametrize("make", [in_named, in_unnamed])
def test_other_namespaces(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, make: Callable[[ExitStack], Elsewhere]
) -> None:
    earlier = make(stack)
    monitor = start_monitor(
        armed=False, thresholds={"send": "1GiB", "recv": THRESHOLD}, sweep={"recheck": "100ms"}
    )
    begun = [
        alert
        for protocol in earlier.ports
        for alert in told_before_ready(monitor, netns=earlier.netns, protocol=protocol, mode="poll")
    ]
    assert len(begun) == 2
    later = make(stack)
    assert earlier.netns != later.netns
    begun += [
        receiver.first(event="exceeded", netns=later.netns, protocol=protocol) for protocol in later.ports
    ]
    assert [told["mode"] for told in begun] == ["poll", "poll", "ebpf", "ebpf"]

    for place, alerts in ((earlier, begun[:2]), (later, begun[2:])):
        for told in alerts:
            protocol = told["protocol"]
            assert (told["local_ip"], told["local_port"]) == ("::1", str(place.ports[protocol]))
            # Loopback may deliver a write in segments: the hooks tell of the first that is over.
            least = place.sizes[protocol] if told["mode"] == "poll" else THRESHOLD + 1
            assert told["type"] == "RECV"
            assert least <= int(told["size"]) <= place.sizes[protocol]
            if told["mode"] == "poll":  # else the search for owners may have been taking its rest
                assert told["pid"] == str(place.pid)
        place.drain()
    for told in begun:
        cleared = receiver.first(event="cleared", id=told["id"])
        assert (cleared["netns"], cleared["mode"]) == (told["netns"], told["mode"])
    assert monitor.stop() == 0
    for place in (earlier, later):
        events = sorted(alert["event"] for alert in receiver.alerts(netns=place.netns))
        assert events == ["cleared", "cleared", "exceeded", "exceeded"]
