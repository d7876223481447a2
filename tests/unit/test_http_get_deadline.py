# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""One thread cuts the exchanges of a session at their deadline, and no others."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
import requests

from sockbpf.delivery.destinations.deadline import Deadline
from tests.unit.http_servers import HANGS_S, TOLD, destination, http_server, say

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("plain_environment")


def test_what_is_opened_after_the_deadline_is_cut_too() -> None:
    connections = Deadline(requests.Session())
    early, early_peer = socket.socketpair()
    late, late_peer = socket.socketpair()
    for peer in (early_peer, late_peer):
        peer.settimeout(HANGS_S)
    with early, early_peer, late, late_peer, connections.bounded(0.01) as expired:
        connections._add(early)
        assert early_peer.recv(1) == b""
        assert expired.is_set()
        connections._add(late)
        assert late_peer.recv(1) == b""


def test_what_ends_in_time_is_not_cut() -> None:
    connections = Deadline(requests.Session())
    ours, peer = socket.socketpair()
    with ours, peer:
        connections._add(ours)
        with connections.bounded(3600) as expired:
            pass
        assert not expired.is_set()
        ours.sendall(b"x")
        assert peer.recv(1) == b"x"


def test_one_thread_watches_all_exchanges_of_a_session() -> None:
    before = set(threading.enumerate())  # others' may end meanwhile

    def watching() -> list[threading.Thread]:
        mine = set(threading.enumerate()) - before
        return [thread for thread in mine if thread.name == "http-deadline"]

    with http_server(say(200)) as served:
        with destination(served.url) as http_get:
            for _ in range(20):
                http_get.send(TOLD)
            assert len(watching()) == 1
        assert not watching()
        http_get.send(TOLD)
        http_get.close()
    assert not watching()


def test_a_deadline_before_that_of_the_exchange_before_is_kept() -> None:
    connections = Deadline(requests.Session())
    ours, peer = socket.socketpair()
    peer.settimeout(HANGS_S)
    with ours, peer:
        connections._add(ours)
        with connections.bounded(3600):
            until(lambda: connections._wakes_s == connections._due_s)
        with connections.bounded(0.01) as expired:
            assert peer.recv(1) == b""
            assert expired.is_set()
    connections.close_gently()


@pytest.mark.parametrize("in_time", [True, False])
def test_an_exchange_is_not_cut_at_the_deadline_of_the_one_before(in_time: bool) -> None:
    connections = Deadline(requests.Session())
    with connections.bounded(0.01) as first:
        assert in_time or first.wait(HANGS_S)
    ours, peer = socket.socketpair()
    with ours, peer, connections.bounded(3600) as expired:
        connections._add(ours)
        due_s = connections._due_s
        until(lambda: connections._wakes_s == due_s)
        assert not expired.is_set()
        ours.sendall(b"x")
        assert peer.recv(1) == b"x"
    connections.close_gently()


def test_after_an_exchange_the_thread_rests_and_cuts_nothing_until_the_next() -> None:
    connections = Deadline(requests.Session())
    ours, peer = socket.socketpair()
    peer.settimeout(HANGS_S)
    with ours, peer:
        connections._add(ours)
        with connections.bounded(1) as first:
            until(lambda: connections._wakes_s == connections._due_s)
        until(lambda: connections._wakes_s == float("inf"))
        assert not first.is_set()
        ours.sendall(b"x")
        assert peer.recv(1) == b"x"
        with connections.bounded(0.01) as second:
            assert peer.recv(1) == b""
            assert second.is_set()
    connections.close_gently()


def until(holds: Callable[[], bool]) -> None:
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < HANGS_S
        time.sleep(0.001)
