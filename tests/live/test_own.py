# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The monitor says nothing of its own sockets, however low the thresholds are, and so never answers itself.

With thresholds of one byte each request it sends, each answer it gets and each name it looks up crosses; `own` counts
them, no alert tells of them. The same where its requests stay unsent because the receiver does not read.

Each delivery may take a connection of its own, at an address that a closed one had: `--own-connections` are made.

The receivers here do not read either, and answer byte by byte: on one host with the monitor their sockets are watched
as any others, and one that took requests in would be reported for each.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.live.log_lines import fields_of
from tests.live.monitoring import Monitor, launch, start, thresholds
from tests.live.ports import free_port
from tests.live.sockets import drain, port, tcp_pair, unread, unsent
from tests.live.waiting import until

CROSSINGS = 23
UNREAD = 30_011
LONG = 5003
ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
SO_RCVBUFFORCE = 33
RESOLVER = "127.77.0.1"
NAME = "receiver.test"


@contextmanager
def answering_unread() -> Iterator[tuple[int, list[socket.socket]]]:
    """Answer each request without reading it; yield the port and the connections that were made."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        server.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 26)
        made: list[socket.socket] = []

        def serve(connection: socket.socket) -> None:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            seen = 0
            with suppress(OSError):
                while connection.fileno() >= 0:
                    waiting = unread(connection)
                    if waiting == seen:
                        ended.wait(0.001)
                        continue
                    seen = waiting
                    for byte in ANSWER:
                        connection.send(bytes([byte]))
                        while unsent(connection):  # never more than one byte at a time
                            ended.wait(0.0001)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection = server.accept()[0]
                    made.append(connection)
                    threading.Thread(target=serve, args=(connection,), daemon=True).start()

        ended = threading.Event()
        threading.Thread(target=accept, daemon=True).start()
        yield port(server), made
        ended.set()
        server.shutdown(socket.SHUT_RDWR)
        for connection in made:
            connection.close()


def told(monitor: Monitor, **wanted: object) -> list[dict[str, str]]:
    """Return the alerts made that have these parameters, from the log."""
    strings = {name: str(value) for name, value in wanted.items()}
    alerts = [fields_of(line) for line in monitor.log().splitlines() if " event=" in line]
    return [alert for alert in alerts if strings.items() <= alert.items()]


def cross(monitor: Monitor, stack: ExitStack) -> None:
    """Make a connection cross so often that many requests are sent."""
    client, server = tcp_pair(stack)
    name = {"local_port": port(server), "remote_port": port(client), "type": "RECV"}
    for number in range(CROSSINGS):
        client.sendall(bytes(UNREAD))
        wait_told(monitor, number + 1, event="exceeded", **name)
        drain(server, UNREAD)
        wait_told(monitor, number + 1, event="cleared", **name)


def wait_told(monitor: Monitor, number: int, **wanted: object) -> None:
    until(lambda: len(told(monitor, **wanted)) >= number, f"{number} alerts {wanted}")


def settings_for(url: str, **more: Any) -> dict[str, Any]:
    settings = {
        "url": url,
        "thresholds": thresholds(1),
        "events": ["exceeded", "ongoing", "cleared"],
        "repeat": "1h",
        "flapping": {"above": 0},
        "sweep": {"interval": "1s", "recheck": "100ms"},
    }
    return settings | more


def assert_quiet(monitor: Monitor, receiver_port: int, connections: int) -> None:
    """Nothing was told of the monitor's own sockets; of the receiver's, no more than that it does not read."""
    assert not told(monitor, pid=monitor.pid)
    assert not told(monitor, remote_port=receiver_port)
    of_receiver = told(monitor, local_port=receiver_port)
    assert len(of_receiver) <= connections
    assert {alert["event"] for alert in of_receiver} <= {"exceeded"}


def test_requests_and_answers(stack: ExitStack, tmp_path: Path) -> None:
    number, connections = stack.enter_context(answering_unread())
    url = f"http://127.0.0.1:{number}/"
    monitor = launch(tmp_path / "monitor", url, settings_for(url))
    stack.callback(monitor.stop)
    monitor.wait_armed()
    cross(monitor, stack)
    assert monitor.stop() == 0
    counters = monitor.counters()
    assert counters["delivered"] >= 2 * CROSSINGS
    assert counters["own"] >= CROSSINGS  # of an answer that is read byte by byte none crosses
    assert_quiet(monitor, number, len(connections))


def test_names_looked_up(stack: ExitStack, tmp_path: Path) -> None:
    number, connections = stack.enter_context(answering_unread())
    asked = stack.enter_context(resolving())
    resolver, switch, config = tmp_path / "resolv.conf", tmp_path / "nsswitch.conf", tmp_path / "config.yaml"
    resolver.write_text(f"nameserver {RESOLVER}\n")
    switch.write_text("hosts: files dns\n")
    config.write_text(
        yaml.safe_dump(settings_for(f"http://{NAME}:{number}/", journal={"path": str(tmp_path / "journal")}))
    )
    mounts = (
        f'mount --bind {resolver} /etc/resolv.conf && mount --bind {switch} /etc/nsswitch.conf && exec "$@"'
    )
    monitor = start(config, stack, before=["unshare", "--mount", "sh", "-c", mounts, "sh"])
    monitor.wait_armed()
    cross(monitor, stack)
    assert monitor.stop() == 0
    assert asked
    assert monitor.counters()["delivered"] >= 2 * CROSSINGS
    assert_quiet(monitor, number, len(connections))
    assert not told(monitor, protocol="udp", remote_port=53)
    assert told(monitor, protocol="udp", local_port=53)  # the resolver is not ours, and watched


@contextmanager
def resolving() -> Iterator[list[bytes]]:
    """Be the name server that knows one name, by IPv4 alone; yield the questions asked."""
    questions: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((RESOLVER, 53))

        def serve() -> None:
            while query := server.recv(512, socket.MSG_PEEK):
                _, client = server.recvfrom(512)
                questions.append(query)
                question = query[12 : query.index(b"\0", 12) + 5]
                is_a = question[-4:-2] == b"\0\1"
                record = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + socket.inet_aton("127.0.0.1")
                head = query[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0"
                server.sendto(head + question + (record if is_a else b""), client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield questions
        server.sendto(b"", server.getsockname())
        thread.join()


@pytest.mark.parametrize("timeout", ["60s", "100ms"])
def test_requests_that_stay_unsent(stack: ExitStack, tmp_path: Path, timeout: str) -> None:
    """A receiver with no room for a whole request: each leaves bytes in our send queue, then in our orphans."""
    server = stack.enter_context(socket.socket())
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    server.bind(("127.0.0.1", 0))
    server.listen(1000)
    url = f"http://127.0.0.1:{port(server)}/{'x' * 1900}"
    delivery = {"timeout": timeout, "retry_first": "10ms", "retry_max": "50ms", "workers": 16}
    monitor = launch(
        tmp_path / "monitor", url, settings_for(url, delivery=delivery, repeat="1s", sweep={"interval": "1s"})
    )
    stack.callback(monitor.stop)
    monitor.wait_armed()
    cross(monitor, stack)
    client, reader = tcp_pair(stack)
    client.sendall(bytes(UNREAD))
    name = {"local_port": port(reader), "remote_port": port(client), "type": "RECV"}
    wait_told(monitor, 3, event="ongoing", **name)  # a few sweeps
    assert monitor.stop() == 0
    counters = monitor.counters()
    assert counters["own"] > 0
    assert counters["delivered"] == 0
    assert not told(monitor, remote_port=port(server))
    assert not told(monitor, pid=monitor.pid)


@contextmanager
def answering_once() -> Iterator[int]:
    """Answer one request of each connection, at length, and close it; yield the port."""
    answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\nX-Long: " + b"x" * LONG + b"\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    with server.accept()[0] as connection:
                        request = b""
                        while not request.endswith(b"\r\n\r\n"):
                            request += connection.recv(4096) or b"\r\n\r\n"
                        connection.sendall(answer)

        threads = [threading.Thread(target=serve, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        yield port(server)
        server.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


@pytest.mark.timeout(900)
def test_a_connection_for_each_delivery(
    stack: ExitStack, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Each answer is over the threshold; no sweep and no open episode has the monitor look around meanwhile."""
    number = stack.enter_context(answering_once())
    url = f"http://127.0.0.1:{number}/"
    settings = settings_for(
        url, thresholds={"send": "1GiB", "recv": LONG // 2}, flapping={"above": 0}, sweep={"interval": "1h"}
    )
    monitor = launch(tmp_path / "monitor", url, settings)
    stack.callback(monitor.stop)
    monitor.wait_armed()
    crossings = pytestconfig.getoption("own_connections") // 2 + 1
    client, server = tcp_pair(stack)
    for _ in range(crossings):
        client.sendall(bytes(UNREAD))
        drain(server, UNREAD)
    reader = {"local_port": port(server), "remote_port": port(client)}
    until(lambda: len(told(monitor, **reader)) >= 2 * crossings, "all told", 600)
    until(lambda: counts(monitor)["delivered"] >= 2 * crossings, "all delivered", 600)
    assert monitor.stop() == 0
    counters = monitor.counters()
    print(f"{counters['delivered']} delivered, {counters['own']} crossings of the monitor's own")
    assert counters["own"] >= counters["delivered"]
    assert counters["unmarked"] == 0
    assert not told(monitor, remote_port=number)
    assert not told(monitor, pid=monitor.pid)


def counts(monitor: Monitor) -> dict[str, int]:
    """Return the counters as they stand."""
    shown = monitor.log().count(" counters: ")
    os.kill(monitor.pid, signal.SIGUSR1)
    until(lambda: monitor.log().count(" counters: ") > shown, "the counters in the log")
    return monitor.counters()


def test_who_asks_for_the_metrics(stack: ExitStack, tmp_path: Path) -> None:
    """The socket of a scrape is over before the monitor has accepted it; who asks is not ours and is told of."""
    number, _ = stack.enter_context(answering_unread())
    url, listen = f"http://127.0.0.1:{number}/", free_port()
    monitor = launch(tmp_path / "monitor", url, settings_for(url, metrics={"listen": f"127.0.0.1:{listen}"}))
    stack.callback(monitor.stop)
    monitor.wait_armed()
    for _ in range(CROSSINGS):
        with socket.create_connection(("127.0.0.1", listen)) as scraper:
            scraper.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            while scraper.recv(1 << 16):
                pass
    cross(monitor, stack)
    assert monitor.stop() == 0
    assert told(monitor, remote_port=listen)
    assert not told(monitor, local_port=listen)
