# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A restart goes on with the episodes of what is still over, and ends those of what is not: each is told once."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sockbpf.delivery.journal_lines import read
from sockbpf.delivery.open_book import NOBODY
from sockbpf.kernel.look.netns import inside
from sockbpf.record.left import left_of
from tests.live.monitoring import Monitor, launch, thresholds
from tests.live.network import namespace
from tests.live.receiver import Receiver, Told
from tests.live.sockets import drain, fill, listener, port, tcp_pair, udp_socket
from tests.live.waiting import until

MANY = 1000
SETTINGS: dict[str, Any] = {
    "thresholds": thresholds(20_011),
    "events": ["exceeded", "ongoing", "cleared", "started", "stopped"],
    "repeat": "1s",
}
UNREAD = 30_011
PAIRS = 7


@pytest.fixture
def started(receiver: Receiver, stack: ExitStack, tmp_path: Path) -> Callable[..., Monitor]:
    """Return what starts the run of this number, all with one journal, and waits until it is armed."""

    def start(number: int, **more: Any) -> Monitor:
        settings = SETTINGS | {"journal": {"path": str(tmp_path / "journal")}} | more
        monitor = launch(tmp_path / f"run{number}", receiver.url, settings)
        stack.callback(monitor.stop, signal.SIGKILL)
        monitor.wait_armed()
        return monitor

    return start


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_what_is_over_across_a_restart(
    receiver: Receiver, stack: ExitStack, started: Callable[..., Monitor], how: signal.Signals
) -> None:
    first = started(1)
    stays = [tcp_pair(stack) for _ in range(PAIRS)]
    goes_client, goes = tcp_pair(stack)
    for client in (*(client for client, _ in stays), goes_client):
        client.sendall(bytes(UNREAD))
    blocked, deaf = tcp_pair(stack)
    fill(blocked)
    udp, writer = udp_socket(stack), udp_socket(stack)
    writer.sendto(bytes(UNREAD), udp.getsockname()[:2])
    queues: list[dict[str, object]] = [
        *({"type": "RECV", "local_port": port(server)} for _, server in stays),
        {"type": "SEND", "local_port": port(blocked)},
        {"type": "RECV", "local_port": port(deaf)},
        {"type": "RECV", "protocol": "udp", "local_port": port(udp)},
    ]
    gone = {"type": "RECV", "local_port": port(goes)}
    told = {str(queue): going_on(receiver, queue) for queue in (*queues, gone)}
    first.stop(how)
    drain(goes, UNREAD)

    started(2, thresholds=thresholds(20_007))  # with others
    run = receiver.count(2, event="started")[-1]["run"]
    for queue in queues:
        goes_on = receiver.first(event="ongoing", run=run, **queue)
        before = told[str(queue)]
        assert goes_on["id"] == before["id"]
        since = float(goes_on["timestamp"]) - float(goes_on["duration"])
        assert since == pytest.approx(float(before["timestamp"]), abs=0.01)
        assert not receiver.alerts(event="exceeded", run=run, **queue)
    ended = receiver.first(event="cleared", **gone)
    assert (ended["id"], ended["run"]) == (told[str(gone)]["id"], run)
    assert "it ended between" in ended["reason"]
    assert not [queue for queue in queues if receiver.alerts(event="cleared", run=run, **queue)]

    for _, server in stays:
        drain(server, UNREAD)
    for _, server in stays:
        queue = {"type": "RECV", "local_port": port(server)}
        assert receiver.first(event="cleared", **queue)["id"] == told[str(queue)]["id"]
    client, server = stays[0]
    client.sendall(bytes(UNREAD))
    again = receiver.first(event="exceeded", run=run, type="RECV", local_port=port(server))
    assert again["id"] != told[str(queues[0])]["id"]


def going_on(receiver: Receiver, queue: dict[str, object]) -> Told:
    """Return how the episode of a queue began that goes on: one may have ended between two writes."""

    def find() -> Told | None:
        over = {told["id"] for told in receiver.alerts(event="ongoing", **queue)}
        over -= {told["id"] for told in receiver.alerts(event="cleared", **queue)}
        return next((told for told in receiver.alerts(event="exceeded", **queue) if told["id"] in over), None)

    told: Told = until(find, f"an episode of {queue} that goes on")
    return told


def begun(receiver: Receiver, queue: dict[str, object]) -> set[str]:
    """Return which episodes of a queue were told to begin: a kill may have an alert come twice."""
    return {alert["id"] for alert in receiver.alerts(event="exceeded", **queue)}


def standing(receiver: Receiver, local_port: int) -> dict[str, int]:
    """Return of how many sockets each alert speaks that was told and has not ended, by id."""
    counts: dict[str, int] = {}
    once = {
        alert["seq"]: alert for alert in receiver.alerts(local_port=local_port)
    }  # a kill may have one come twice
    for alert in once.values():
        if alert["event"] == "cleared":
            counts.pop(alert["id"], None)
        elif alert["event"] == "exceeded":
            counts[alert["id"]] = counts.get(alert["id"], 0) + int(alert.get("count", 1))
    return counts


@pytest.mark.parametrize("above", [0, 20])
def test_of_a_thousand_that_stay_over_none_is_told_anew(
    receiver: Receiver, stack: ExitStack, started: Callable[..., Monitor], above: int
) -> None:
    """Each by itself, or most of them by one alert for all, which goes on too."""
    more = {"fold": {"above": above, "window": "1s"}}
    first = started(1, **more)
    server = listener(stack, "ipv4")
    at, held = port(server), []
    for _ in range(MANY):
        client = stack.enter_context(socket.create_connection(server.getsockname()))
        held.append(stack.enter_context(server.accept()[0]))
        client.sendall(bytes(UNREAD))
    until(lambda: sum(standing(receiver, at).values()) == MANY, "all are told")
    before = standing(receiver, at)
    assert (len(before) < MANY) == (above > 0)
    first.stop(signal.SIGKILL)

    started(2, **more)
    run = receiver.count(2, event="started")[-1]["run"]

    def again() -> dict[str, int]:
        told = receiver.alerts(event="ongoing", run=run, local_port=at)
        return {alert["id"]: int(alert.get("count", 1)) for alert in told}

    until(lambda: len(again()) == len(before), "all go on")
    assert again() == before
    assert standing(receiver, at) == before
    assert not receiver.alerts(event="exceeded", run=run, local_port=at)
    for accepted in held:
        drain(accepted, UNREAD)
    until(lambda: not standing(receiver, at), "all have ended")
    ended = {
        alert["seq"]: int(alert.get("count", 1))
        for alert in receiver.alerts(event="cleared", run=run, local_port=at)
    }
    assert sum(ended.values()) == MANY
    assert not receiver.alerts(event="exceeded", run=run, local_port=at)


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_what_stands_still_goes_on_at_the_first_look(
    receiver: Receiver, stack: ExitStack, started: Callable[..., Monitor], family: str
) -> None:
    more = {"thresholds": thresholds(2**30), "stalled": {"after": "1s", "above": 1024}}
    first = started(1, **more)
    client, server = tcp_pair(stack, family)
    other_client, other = tcp_pair(stack, family)
    for sender in (client, other_client):
        sender.sendall(bytes(2003))
    here, there = ({"type": "RECV", "local_port": port(each)} for each in (server, other))
    told, moved = (receiver.first(event="exceeded", condition="stalled", **queue) for queue in (here, there))
    first.stop(signal.SIGKILL)
    drain(other, 2003)
    started(2, **more)
    run = receiver.count(2, event="started")[-1]
    goes_on = receiver.first(event="ongoing", run=run["run"], **here)
    assert (goes_on["id"], goes_on["condition"]) == (told["id"], "stalled")
    assert float(goes_on["timestamp"]) <= float(run["timestamp"])
    assert receiver.first(event="cleared", **there)["id"] == moved["id"]
    drain(server, 2003)
    assert receiver.first(event="cleared", **here)["id"] == told["id"]
    assert begun(receiver, here) == {told["id"]}


def test_a_rate_goes_on_while_it_is_seen_again(
    receiver: Receiver, stack: ExitStack, started: Callable[..., Monitor]
) -> None:
    more = {"thresholds": thresholds(2**30), "rates": {"UdpRcvbufErrors": {"warning": "1/s"}}}
    # Of its own: others on this host drop too.
    with inside(f"/run/netns/{stack.enter_context(namespace())}") as netns:
        full, writer = udp_socket(stack), udp_socket(stack)
    counter: dict[str, object] = {"type": "RATE", "name": "UdpRcvbufErrors", "netns": netns}
    full.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    enough = threading.Event()

    def drop() -> None:
        while not enough.wait(0.05):
            writer.sendto(bytes(1009), full.getsockname())

    dropping = threading.Thread(target=drop, daemon=True)
    dropping.start()
    stack.callback(dropping.join)
    stack.callback(enough.set)
    first = started(1, **more)
    told = receiver.first(event="exceeded", **counter)
    first.stop(signal.SIGKILL)
    started(2, **more)
    run = receiver.count(2, event="started")[-1]["run"]
    assert receiver.first(event="ongoing", run=run, **counter)["id"] == told["id"]
    enough.set()
    assert receiver.first(event="cleared", run=run, **counter)["id"] == told["id"]
    assert begun(receiver, counter) == {told["id"]}


def test_nothing_is_kept_open_whose_end_is_not_told(
    receiver: Receiver, stack: ExitStack, started: Callable[..., Monitor], tmp_path: Path
) -> None:
    client, server = tcp_pair(stack)
    for number, (events, kept) in enumerate(((["exceeded"], 0), (["exceeded", "cleared"], 1)), 1):
        monitor = started(number, events=events, journal={"path": str(tmp_path / f"journal {number}")})
        client.sendall(bytes(UNREAD))
        receiver.count(number, event="exceeded", local_port=port(server))
        monitor.stop()
        owed = read((tmp_path / f"journal {number}").read_bytes()).owed.values()
        of_ours = [
            left for one in owed if one.destination == NOBODY for left in [left_of(one.fields["left"])]
        ]
        assert len([left for left in of_ours if left.local_port == port(server)]) == kept
        drain(server, UNREAD)
