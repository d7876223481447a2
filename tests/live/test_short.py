# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The claims in short, all on one monitor: for kernels under emulation, where a start takes a quarter of a minute.

Each has a test of its own, at full counts, beside this file. SOCKBPF_HOOKS and SOCKBPF_TYPES choose how it sees.
"""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import pytest

from sockbpf.kernel.attach.legacy import UNIT
from sockbpf.kernel.build.source import BTF
from sockbpf.kernel.look.netns import inside
from tests.live import kprobes
from tests.live.bpf import bpf_ids, entry, loaded, name_of, open_episodes, shows_ids
from tests.live.bursting import DATAGRAM, expect, tcp_receive, truesize, udp_receive
from tests.live.filling import Filled, fill_tcp, fill_udp_receive, fill_udp_send
from tests.live.homes import in_version_1, running_in
from tests.live.monitoring import BLOCKED_UNSEEN, Monitor, launch, thresholds
from tests.live.network import DISCARD, ip, slow_link
from tests.live.receiver import Receiver, Told, receiving
from tests.live.scene import of
from tests.live.skmem import memory
from tests.live.sockets import FAMILIES, drain, inode, port, tcp_pair, unsent
from tests.live.waiting import until

THRESHOLD = 20_011
OVER, UNDER = 47, 1009


@dataclass
class Watch:
    """A running monitor and what it told; which lines of kprobes it found, which kprobes fired before it began."""

    monitor: Monitor
    receiver: Receiver
    found: kprobes.Lines | None
    firing: list[str]


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    with receiving() as receiver, kprobes.lines_before() as found:
        firing = kprobes.enabled()
        settings = {"thresholds": thresholds(THRESHOLD), "repeat": "1s"}
        monitor = launch(tmp_path_factory.mktemp("short") / "monitor", receiver.url, settings)
        try:
            monitor.wait_armed()
            assert "no hooks" not in monitor.log()
            assert "refuses shortcuts" not in monitor.log()
            for line in re.findall(r"INFO +(.*; unseen: .*)", monitor.log()):
                print(f"seen: {line}")
            for way in re.findall(r"sockets are looked at by (BPF iterators|sock_diag)", monitor.log()):
                print(f"looked at by: {way}")
            yield Watch(monitor, receiver, found, firing)
        finally:
            monitor.stop(signal.SIGKILL)
            told = [line for line in monitor.log().splitlines() if " event=ongoing " not in line]
            print("--- log of the monitor ---", *told[-200:], sep="\n")


def test_stale_kprobes_are_cleared_away(watch: Watch) -> None:
    """What a killed process left in kprobe_events is gone, what a living one and others wrote is not."""
    if watch.found is None:
        pytest.skip("this kernel has no kprobes")
    lines = kprobes.listed()
    assert watch.found.stale not in lines
    assert all(name in lines for name in watch.found.others)


def test_sockets_are_looked_at_by_iterators_where_there_are_types_for_them(watch: Watch) -> None:
    """From 5.9 on kernels with BTF have iterators; types from headers leave sock_diag."""
    has_types = BTF.exists() and os.environ.get("SOCKBPF_TYPES", "auto") != "headers"
    way = "BPF iterators" if has_types else "sock_diag, no BPF iterators: "
    assert f"sockets are looked at by {way}" in watch.monitor.log()


def test_what_was_looked_at_before_is_told_and_ends_once(watch: Watch, stack: ExitStack) -> None:
    """A look passes each TCP socket through hooks, by the monitor's own hand: that marks none, and ends nothing."""
    client, server = tcp_pair(stack)
    blocked, deaf = tcp_pair(stack)
    open_meanwhile = fill_udp_receive(stack, "ipv4", "server", 31).sock  # there is a look each second
    watch.receiver.first(event="exceeded", local_port=port(open_meanwhile))
    looks_pass(watch)
    client.sendall(bytes(THRESHOLD + 1))
    sender = threading.Thread(target=blocked.sendall, args=(bytes(8 << 20),))
    sender.start()
    recv = {"type": "RECV", "local_port": port(server), "remote_port": port(client)}
    send = {"type": "SEND", "local_port": port(blocked), "remote_port": port(deaf)}
    assert watch.receiver.first(event="exceeded", **recv)["mode"] == "ebpf"
    watch.receiver.first(event="exceeded", **send)
    # It goes on: an acknowledgement may have ended an earlier one as the queue filled.
    watch.receiver.first(event="ongoing", pid=os.getpid(), **send)
    before = [crossings(watch, queue) for queue in (recv, send)]
    looks_pass(watch)
    assert [crossings(watch, queue) for queue in (recv, send)] == before
    for begun, back in before:
        assert len(begun - back) == 1
    drain(server, THRESHOLD + 1)
    drain(deaf, 8 << 20)
    sender.join()
    ended(watch, recv)
    ended(watch, send)
    assert watch.monitor.counted()["own"] == 0, "what was looked at was taken for the monitor's own"


def crossings(watch: Watch, queue: dict[str, object]) -> tuple[Counter[str], Counter[str]]:
    """Return the episodes of a queue that were told to begin, and those told to end."""
    begun, back = (watch.receiver.alerts(event=event, **queue) for event in ("exceeded", "cleared"))
    return Counter(told["id"] for told in begun), Counter(told["id"] for told in back)


def looks_pass(watch: Watch) -> None:
    """Wait until three more looks were taken: the first of them may be under way already."""
    before = watch.monitor.counted()["sweeps"]
    until(lambda: watch.monitor.counted()["sweeps"] >= before + 3, "three more looks")


def test_parity(watch: Watch, stack: ExitStack) -> None:
    """Every kind of socket at rest: the latest `ongoing` has what `ss -m` shows before and after it."""
    chance = random.Random(11)
    link = stack.enter_context(slow_link(rate="100bit"))  # a packet in 80 s
    filled: list[Filled] = []
    for family in FAMILIES:
        for role in ("client", "server"):
            size = chance.randrange(THRESHOLD + 1, 60_000)
            filled.append(fill_tcp(stack, family, role, "RECV", size))
            filled.append(fill_tcp(stack, family, role, "SEND", size))
            filled.append(fill_udp_receive(stack, family, role, chance.randrange(31, 60)))
            with inside(f"/run/netns/{link.sender}"):
                filled.append(fill_udp_send(stack, family, role, chance.randrange(31, 60), link.far[family]))
    for _ in range(3):  # a packet may leave the slow link at any time
        before, told = memory() | memory(link.sender), len(watch.receiver.told)

        names = {  # a port alone may be that of several sockets: of another family, or to another peer
            f"{one.kind} {one.direction}": (one, of(one.sock, one.direction, one.kind[:3])) for one in filled
        }

        def latest(
            names: dict[str, tuple[Filled, dict[str, object]]] = names, told: int = told
        ) -> dict[str, Told]:
            since = Receiver("", watch.receiver.told[told:])
            found = {name: since.alerts(event="ongoing", **queue) for name, (_, queue) in names.items()}
            return {name: alerts[-1] for name, alerts in found.items() if alerts}

        until(lambda: names.keys() <= latest().keys(), "an ongoing alert of each socket")  # noqa: B023, called here
        reported, after = latest(), memory() | memory(link.sender)
        moved = []
        for name, (one, _) in names.items():
            shown = before[inode(one.sock)]
            if shown != after[inode(one.sock)]:
                moved.append(one)
                continue
            charged, limit = shown.of(one.direction)
            alert = {key: int(reported[name][key]) for key in ("size", "limit", "fill")}
            wanted = {"size": shown.queues[one.column], "limit": limit, "fill": charged * 100 // limit}
            assert alert == wanted, f"{one.kind} {one.direction}"
            filled.remove(one)
        if not moved:
            return
    pytest.fail(f"never at rest: {[one.kind for one in filled]}")


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_bursts(watch: Watch, stack: ExitStack, family: str) -> None:
    """Bursts over the threshold are counted exactly, bursts at or under it make no alert."""
    quiet, stay_under = tcp_receive(stack, family, THRESHOLD)
    busy, go_over = tcp_receive(stack, family, THRESHOLD + 1)
    most = THRESHOLD // truesize(stack)
    quiet_udp, stay_under_udp = udp_receive(stack, family, most)
    busy_udp, go_over_udp = udp_receive(stack, family, most + 1)
    for _ in range(UNDER):
        stay_under()
        stay_under_udp()
    for _ in range(OVER):
        go_over()
        go_over_udp()
    expect(watch.receiver, busy, OVER)
    expect(watch.receiver, busy_udp, OVER)
    assert not watch.receiver.alerts(local_port=port(quiet), remote_port=port_of_peer(quiet))
    assert not watch.receiver.alerts(local_port=port(quiet_udp), protocol="udp")


def port_of_peer(sock: socket.socket) -> int:
    return int(sock.getpeername()[1])


def test_blocked_sender(watch: Watch, stack: ExitStack) -> None:
    """Told while it is blocked; its end told at the last acknowledgement."""
    client, server = tcp_pair(stack)
    size = 8 << 20
    sender = threading.Thread(target=client.sendall, args=(bytes(size),))
    sender.start()
    queue = {"type": "SEND", "local_port": port(client), "remote_port": port(server)}
    told = watch.receiver.first(event="exceeded", **queue)
    assert sender.is_alive()
    assert told["mode"] == "ebpf" or BLOCKED_UNSEEN in watch.monitor.log()
    drain(server, size)
    sender.join()
    until(lambda: unsent(client) == 0, "everything acknowledged")
    ended(watch, queue)


def ended(watch: Watch, queue: dict[str, object]) -> None:
    """Expect that what was told of this queue has ended, each episode once."""

    def in_pairs() -> bool:
        begun, back = crossings(watch, queue)
        return bool(begun) and begun == back

    until(in_pairs, f"the end of {queue}")


@pytest.mark.parametrize("way", ["read", "closed", "reset", "reset by the peer"])
def test_ends_of_tcp(watch: Watch, stack: ExitStack, way: str) -> None:
    client, server = tcp_pair(stack)
    queue = {"type": "RECV", "local_port": port(server), "remote_port": port(client)}
    client.sendall(bytes(THRESHOLD + 1))
    watch.receiver.first(event="exceeded", **queue)
    if way == "read":
        drain(server, THRESHOLD + 1)
    else:
        closing = client if way == "reset by the peer" else server
        if way != "closed":
            closing.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        closing.close()
    ended(watch, queue)


def test_orphan_goes_on(watch: Watch, stack: ExitStack) -> None:
    """Closed with bytes unsent: the queue is real until the peer has read it."""
    client, server = tcp_pair(stack, rcvbuf=8192)
    queue = {"type": "SEND", "local_port": port(client), "remote_port": port(server)}
    client.setblocking(False)
    sent = client.send(bytes(200_003))
    told = watch.receiver.first(event="exceeded", **queue)
    client.close()
    watch.receiver.count(2, event="ongoing", id=told["id"])
    drain(server, sent)
    server.close()
    ended(watch, queue)


def test_a_container_of_version_1(watch: Watch, stack: ExitStack) -> None:
    processes = stack.enter_context(in_version_1(f"/docker/{'0123456789abcdef' * 4}"))
    stack.enter_context(running_in(processes, "v1"))
    told = watch.receiver.first(comm="v1", type="RECV")
    assert told["container"] == "0123456789ab"


def test_udp_is_closed(watch: Watch, stack: ExitStack) -> None:
    reader = fill_udp_receive(stack, "ipv4", "server", 31).sock
    queue: dict[str, object] = {"type": "RECV", "protocol": "udp", "local_port": port(reader)}
    watch.receiver.first(event="exceeded", **queue)
    reader.close()
    ended(watch, queue)


def test_udp_send_drains(watch: Watch, stack: ExitStack) -> None:
    link = stack.enter_context(slow_link(rate="2mbit"))
    with inside(f"/run/netns/{link.sender}"):
        writer = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    writer.connect((link.far["ipv4"], DISCARD))
    for _ in range(31):
        writer.send(bytes(DATAGRAM))
    queue: dict[str, object] = {"type": "SEND", "protocol": "udp", "local_port": port(writer)}
    watch.receiver.first(event="exceeded", **queue)
    until(lambda: unsent(writer) == 0, "the queue drained")
    ended(watch, queue)


def test_missed_returns(watch: Watch, stack: ExitStack) -> None:
    """Senders that wait hold all places the kernel has for return probes: that is counted, a sweep sees the rest."""
    if "kretprobe" not in watch.monitor.log():
        pytest.skip("no return probe is used here")
    link = stack.enter_context(slow_link(rate="100bit"))

    def udp() -> socket.socket:
        with inside(f"/run/netns/{link.sender}"):
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.connect((link.far["ipv4"], DISCARD))
        return sock

    def fill(sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        with suppress(OSError):  # the device is gone
            for _ in range(31):
                sock.send(bytes(DATAGRAM))

    full = [udp() for _ in range(41)]
    writer = udp()
    senders = [threading.Thread(target=fill, args=(sock,)) for sock in full]
    for sender in senders:
        sender.start()
        stack.callback(sender.join)
    stack.callback(ip, "-n", link.sender, "link", "del", "slow")  # lets them go
    until(lambda: all(unsent(sock) > DATAGRAM for sock in full), "they wait")

    def missed() -> bool:
        writer.send(bytes(DATAGRAM))
        return watch.monitor.counted()["unreturned"] > 0

    until(missed, "a return that was missed")
    for _ in range(31):
        writer.send(bytes(DATAGRAM))
    told = watch.receiver.first(event="exceeded", type="SEND", protocol="udp", local_port=port(writer))
    assert told["mode"] == "poll"


def test_nothing_is_left(watch: Watch) -> None:
    """All that began has ended, nothing was lost; and after SIGKILL no program of ours is in the kernel."""
    pid = watch.monitor.pid
    outside = shows_ids(pid)
    if outside:
        ours = {name_of(told) for told in watch.receiver.alerts(pid=os.getpid())}
        others = {name_of(told) for told in watch.receiver.alerts()} - ours
        until(
            lambda: {entry(each) for each in open_episodes(pid)} <= others, "no episode of ours in the kernel"
        )
    counts = watch.monitor.counted()
    assert counts["lost_submit"] == counts["lost_ring"] == counts["undecodable"] == counts["dropped"] == 0
    missed = watch.receiver.alerts(mode="poll", pid=os.getpid())
    if counts["unreturned"]:
        missed = [alert for alert in missed if (alert["type"], alert["protocol"]) != ("SEND", "udp")]
    if BLOCKED_UNSEEN in watch.monitor.log():
        missed = [alert for alert in missed if (alert["type"], alert["protocol"]) != ("SEND", "tcp")]
    assert not missed, "the hooks missed a crossing"
    if "until the next look" not in watch.monitor.log():
        # A kernel skips a kprobe's program while another runs on that processor (kernel/trace/bpf_trace.c,
        # trace_call_bpf): that is rare, and what sweeps are for.
        assert counts["ended_by_sweep"] <= 1, "the hooks missed ends"
    programs = bpf_ids(pid, "prog_id")
    assert programs or not outside
    watch.monitor.stop(signal.SIGKILL)
    if outside:
        until(lambda: not programs & loaded("prog"), "no program of ours in the kernel")
    until(lambda: kprobes.enabled() == watch.firing, "no kprobe of ours fires")
    if UNIT.exists():  # before 4.17 the lines stay until the next start
        assert f"_bcc_{pid} " not in kprobes.listed()
