# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""An episode ends once, whatever ends it, and leaves nothing behind.

Drain, close, reset from either side, death of the owner, removal of the namespace, half-closed connections with bytes
unsent, datagrams never read: each time one `exceeded`, one `cleared`, no word after it, and no entry in the kernel's
table. Then 10 007 sockets that crossed and were gone a moment later: as many of both, and again nothing left.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from sockbpf.counters import LOSSES
from sockbpf.kernel.look.netns import inside
from sockbpf.record.event import Event
from tests.live.bpf import open_episodes, shows_ids
from tests.live.monitoring import Monitor, StartMonitor, launch, thresholds
from tests.live.network import ip, namespace
from tests.live.receiver import Receiver, Told, receiving
from tests.live.sockets import deafen, drain, fill, port, tcp_pair, udp_socket, undeafen
from tests.live.waiting import until

THRESHOLD = 20_011
UNREAD = 30_011
SOCKETS = 10_007
UDP_SOCKETS = len([number for number in range(SOCKETS) if number % 5 < 2])
AT_ONCE = 5

libc = ctypes.CDLL(None, use_errno=True)


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


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    with receiving() as receiver:
        settings = {"thresholds": thresholds(THRESHOLD), "repeat": "1s", "sweep": {"recheck": "100ms"}}
        monitor = launch(tmp_path_factory.mktemp("ends") / "monitor", receiver.url, settings)
        monitor.wait_armed()
        yield Watch(receiver, monitor, [])
        monitor.stop()
        print(f"--- log of the monitor ---\n{monitor.log()[-20000:]}")


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


def short_lived(listener: socket.socket, writer: socket.socket, number: int) -> Callable[[], None]:
    """Make one socket cross; return what ends it, one of five ways."""
    if number % 5 < 2:
        reader = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        reader.bind(("127.0.0.1", 0))
        writer.sendto(bytes(UNREAD), reader.getsockname())
        assert len(reader.recv(1, socket.MSG_PEEK)) == 1

        def end_udp() -> None:
            if number % 5 == 0:
                assert len(reader.recv(UNREAD)) == UNREAD
            reader.close()

        return end_udp
    client = socket.create_connection(listener.getsockname())
    server = listener.accept()[0]
    client.sendall(bytes(UNREAD))
    assert len(server.recv(UNREAD, socket.MSG_PEEK | socket.MSG_WAITALL)) == UNREAD

    def end_tcp() -> None:
        if number % 5 == 2:
            drain(server, UNREAD)
        if number % 5 == 3:
            reset(client)
        server.close()
        client.close()

    return end_tcp


def churn() -> None:
    """Be the process whose sockets come and go."""
    ip("link", "set", "lo", "up")
    with socket.create_server(("127.0.0.1", 0)) as server, udp_writer() as writer:
        alive: deque[Callable[[], None]] = deque()
        for number in range(SOCKETS):
            alive.append(short_lived(server, writer, number))
            if len(alive) == AT_ONCE:
                alive.popleft()()
        while alive:
            alive.popleft()()
        print("done", flush=True)
        sys.stdin.read()


def udp_writer() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


@pytest.mark.timeout(240)
def test_many_short_lived(start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack) -> None:
    monitor = start_monitor(
        thresholds={"send": "1GiB", "recv": THRESHOLD},
        delivery={"queue": 3 * SOCKETS},
        kernel={"perf_pages": 1024},  # room for all of them, should the monitor not get a processor meanwhile
        repeat="1h",
    )
    child = stack.enter_context(
        subprocess.Popen(
            ["unshare", "--net", sys.executable, "-c", "from tests.live.test_ends import churn; churn()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    )
    stack.callback(child.kill)
    assert child.stdout
    begun = time.monotonic()
    assert child.stdout.readline() == "done\n"
    print(f"{SOCKETS} sockets came and went in {time.monotonic() - begun:.1f} s")
    netns = os.stat(f"/proc/{child.pid}/ns/net").st_ino
    until(
        lambda: len(receiver.told) >= 2 * SOCKETS, "about as many alerts", 120
    )  # cheap while many are to come
    until(lambda: len(receiver.alerts(netns=netns)) >= 2 * SOCKETS, "all alerts", 120)
    print(f"all told after {time.monotonic() - begun:.1f} s")

    # The namespace lives on: what was left in the table would still be there.
    assert not shows_ids(monitor.pid) or not [
        episode for episode in open_episodes(monitor.pid) if episode.socket.netns == netns
    ]
    child.kill()
    assert monitor.stop() == 0
    alerts = receiver.alerts(netns=netns)
    assert Counter(alert["event"] for alert in alerts) == {"exceeded": SOCKETS, "cleared": SOCKETS}
    events: dict[str, list[str]] = {}
    for alert in alerts:
        events.setdefault(alert["id"], []).append(alert["event"])
    assert set(map(tuple, events.values())) == {("exceeded", "cleared")}
    assert Counter(alert["protocol"] for alert in alerts) == {
        "udp": 2 * UDP_SOCKETS,
        "tcp": 2 * (SOCKETS - UDP_SOCKETS),
    }
    counters = monitor.counters()
    print(counters)
    assert [counters[name] for name in LOSSES if name != "sweep_failed"] == [0] * (len(LOSSES) - 1)


def test_drain(watch: Watch, stack: ExitStack) -> None:
    _, server, sent, sender, reader = send_over(stack, watch)
    drain(server, sent)
    watch.clears(sender, reader)


def test_reader_closes(watch: Watch, stack: ExitStack) -> None:
    """With bytes unread: the kernel resets the connection."""
    _, server, reader = recv_over(stack, watch)
    server.close()
    watch.clears(reader)


def test_writer_closes_and_reader_drains(watch: Watch, stack: ExitStack) -> None:
    client, server, reader = recv_over(stack, watch)
    client.close()
    watch.still(reader)
    drain(server, UNREAD)
    watch.clears(reader)


@pytest.mark.parametrize("who", ["reader", "writer"])
def test_reset(watch: Watch, stack: ExitStack, who: str) -> None:
    """By SO_LINGER 0, from either side; the other side's descriptor stays open, its bytes lost or unreadable."""
    client, server, _, sender, reader = send_over(stack, watch)
    reset(server if who == "reader" else client)
    watch.clears(sender, reader)


def test_reset_of_an_idle_writer(watch: Watch, stack: ExitStack) -> None:
    client, _, reader = recv_over(stack, watch)
    reset(client)
    watch.clears(reader)


def test_disconnect(watch: Watch, stack: ExitStack) -> None:
    """connect() to AF_UNSPEC: the socket lives on, its queue does not."""
    client, server, _, sender, reader = send_over(stack, watch)
    kind = struct.pack("=H14x", socket.AF_UNSPEC)
    assert libc.connect(client.fileno(), kind, len(kind)) == 0
    watch.clears(sender, reader)
    assert server.fileno() > 0


def test_half_close_with_bytes_unsent(watch: Watch, stack: ExitStack) -> None:
    """shutdown(WR) ends nothing, the last acknowledgement does."""
    client, server, sent, sender, reader = send_over(stack, watch)
    client.shutdown(socket.SHUT_WR)
    watch.still(sender)
    watch.still(reader)
    drain(server, sent)
    watch.clears(sender, reader)


def test_orphan(watch: Watch, stack: ExitStack) -> None:
    """A socket that was closed with bytes unsent is nobody's and still over; its owner is remembered."""
    client, server, sent, sender, reader = send_over(stack, watch)
    client.close()
    watch.still(sender)
    assert watch.receiver.alerts(event="ongoing", id=sender["id"])[-1]["pid"] == str(os.getpid())
    drain(server, sent)
    watch.clears(sender, reader)


def test_orphan_is_reset(watch: Watch, stack: ExitStack) -> None:
    client, server, _, sender, reader = send_over(stack, watch)
    client.close()
    watch.still(sender)
    server.close()
    watch.clears(sender, reader)


def test_reader_half_closes(watch: Watch, stack: ExitStack) -> None:
    """A writer in CLOSE_WAIT is over until its peer has read."""
    client, server, sent, sender, reader = send_over(stack, watch)
    server.shutdown(socket.SHUT_WR)
    watch.still(sender)
    drain(server, sent)
    watch.clears(sender, reader)
    assert client.recv(1) == b""


def test_last_acknowledgement_lost_for_a_while(watch: Watch, stack: ExitStack) -> None:
    client, server = tcp_pair(stack)
    deafen(client)
    client.sendall(bytes(UNREAD))
    sender = watch.begun(local_port=port(client), type="SEND")
    reader = watch.begun(local_port=port(server), remote_port=port(client), type="RECV")
    drain(server, UNREAD)
    watch.clears(reader)
    watch.still(sender)
    undeafen(client)
    watch.clears(sender)


@pytest.mark.parametrize("end", ["drain", "close", "shutdown"])
def test_udp(watch: Watch, stack: ExitStack, end: str) -> None:
    reader, writer = udp_socket(stack), udp_socket(stack)
    for _ in range(2):
        writer.sendto(bytes(UNREAD), reader.getsockname())
    told = watch.begun(protocol="udp", local_port=port(reader), type="RECV")
    if end == "close":
        reader.close()
    elif end == "drain":
        assert [len(reader.recv(UNREAD)) for _ in range(2)] == [UNREAD] * 2
    else:  # shut down, bound no more, the datagrams are still there: over until they are read
        reader.connect(writer.getsockname())
        reader.shutdown(socket.SHUT_RDWR)
        watch.still(told)
        assert [len(reader.recv(UNREAD)) for _ in range(2)] == [UNREAD] * 2
    watch.clears(told)


def hold_over() -> None:
    """Be the owner of sockets that are over, until killed: say the inodes."""
    with ExitStack() as stack:
        client, server = tcp_pair(stack)
        fill(client)
        reader, writer = udp_socket(stack), udp_socket(stack)
        writer.sendto(bytes(UNREAD), reader.getsockname())
        print(port(client), port(server), port(reader), flush=True)
        sys.stdin.read()


@pytest.mark.parametrize("netns", ["host", "own", "removed"])
def test_owner_is_killed(watch: Watch, stack: ExitStack, netns: str) -> None:
    """With SIGKILL: in our namespace, in one of its own, in a named one whose name goes first."""
    command = [sys.executable, "-c", "from tests.live.test_ends import hold_over; hold_over()"]
    if netns != "host":
        name = stack.enter_context(namespace())
        command = ["ip", "netns", "exec", name, *command]
    child = stack.enter_context(
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    )
    stack.callback(child.kill)
    assert child.stdout
    sender, server, reader = child.stdout.readline().split()
    where = {"netns": os.stat(f"/proc/{child.pid}/ns/net").st_ino}
    begun = [
        watch.standing(**where, protocol="tcp", local_port=sender, type="SEND"),
        watch.begun(**where, protocol="tcp", local_port=server, remote_port=sender, type="RECV"),
        watch.begun(**where, protocol="udp", local_port=reader, type="RECV"),
    ]
    if netns == "removed":
        ip("netns", "del", name)
        for told in begun:
            watch.still(told)
    child.kill()
    child.wait()
    watch.clears(*begun)


def test_namespace_kept_by_a_socket_alone(watch: Watch, stack: ExitStack) -> None:
    """Its name is gone and no process is in it: what no sweep can see has not ended for that."""
    name = stack.enter_context(namespace())
    with inside(f"/run/netns/{name}"):
        _, server, reader = recv_over(stack, watch)
    ip("netns", "del", name)
    _, late, later = recv_over(stack, watch)
    watch.still(later)  # as long as others are repeated
    drain(late, UNREAD)
    watch.clears(later)
    assert not watch.receiver.alerts(event="cleared", id=reader["id"])
    assert len(watch.receiver.alerts(event="ongoing", id=reader["id"])) >= 2
    drain(server, UNREAD)
    watch.clears(reader)


def test_nothing_is_left(watch: Watch, stack: ExitStack) -> None:
    """After all the above: a socket that is over now is repeated, and none that has ended is."""
    _, server, reader = recv_over(stack, watch)
    watch.still(reader)
    assert len(watch.ended) > 20
    for cleared in watch.ended:
        events = [alert["event"] for alert in watch.receiver.alerts(id=cleared["id"])]
        assert events[0] == "exceeded", events
        assert events[-1] == "cleared", events
        assert Counter(events)["exceeded"] == Counter(events)["cleared"] == 1, events
    if not shows_ids(watch.monitor.pid):  # before 4.18 nobody else can look into the table
        return
    table = {entry(episode) for episode in open_episodes(watch.monitor.pid)}
    assert name_of(reader) in table
    assert table.isdisjoint(name_of(cleared) for cleared in watch.ended)
    drain(server, UNREAD)
    watch.clears(reader)
    assert name_of(reader) not in {entry(episode) for episode in open_episodes(watch.monitor.pid)}


def name_of(told: Told) -> tuple[str, ...]:
    """Return who the socket of an alert is, as `entry` does for one in the kernel's table."""
    return tuple(told[name] for name in ("netns", "protocol", "local_port", "remote_port", "type"))


def entry(episode: Event) -> tuple[str, ...]:
    sock = episode.socket
    numbers = str(sock.netns), sock.protocol.name.lower(), str(sock.local_port), str(sock.remote_port)
    return (*numbers, episode.direction.name)
