# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""An episode ends once, whatever ends it, and leaves nothing behind.

Drain, close, reset from either side, death of the owner, removal of the namespace, half-closed connections with bytes
unsent, datagrams never read: each time one `exceeded`, one `cleared`, no word after it, and no entry in the kernel's
table.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from sockbpf.kernel.look.netns import inside
from tests.live.bpf import entry, name_of, open_episodes, shows_ids
from tests.live.ending import THRESHOLD, UNREAD, Watch, recv_over, reset, send_over
from tests.live.monitoring import launch, thresholds
from tests.live.network import ip, namespace
from tests.live.receiver import receiving
from tests.live.sockets import deafen, drain, port, tcp_pair, udp_socket, undeafen

libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    with receiving() as receiver:
        settings = {"thresholds": thresholds(THRESHOLD), "repeat": "1s", "sweep": {"recheck": "100ms"}}
        monitor = launch(tmp_path_factory.mktemp("ends") / "monitor", receiver.url, settings)
        monitor.wait_armed()
        yield Watch(receiver, monitor, [])
        monitor.stop()
        print(f"--- log of the monitor ---\n{monitor.log()[-20000:]}")


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


@pytest.mark.parametrize("netns", ["host", "own", "removed"])
def test_owner_is_killed(watch: Watch, stack: ExitStack, netns: str) -> None:
    """With SIGKILL: in our namespace, in one of its own, in a named one whose name goes first."""
    command = [sys.executable, "-c", "from tests.live.ending import hold_over; hold_over()"]
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
    watch.receiver.count(2, event="ongoing", id=reader["id"])
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
