# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""One event is followed from its bytes to the request, and goes through the rooms that CONTRIBUTING names, in order.

The bytes are put where the kernel's buffers are read into, by hand: that the kernel puts them there is shown by
tests/live. From there on everything is real: threads, journal, HTTP. Every call of a function of sockbpf is seen.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import FrameType
from typing import Any, cast

import pytest

from sockbpf.counters import Counters
from sockbpf.judge.policy import Policy
from sockbpf.judge.stages import Stages
from sockbpf.kernel.attach.perf import Rings
from sockbpf.kernel.attach.probes import Probes
from sockbpf.kernel.look.owner import Owners
from sockbpf.monitor.causes import Causes
from sockbpf.monitor.dispatch import Dispatch
from sockbpf.monitor.loop import Monitor
from sockbpf.monitor.naming import Naming
from sockbpf.monitor.own import Own
from sockbpf.monitor.rules import Rules
from sockbpf.monitor.schedule import Schedule
from sockbpf.monitor.silences import Silences
from sockbpf.monitor.silencing import Silencing
from sockbpf.monitor.store_port import StorePort
from sockbpf.monitor.terms import levels_of, settings_of, timing_of
from sockbpf.record.event import WIRE, Direction, Protocol, What
from sockbpf.settings.config import Config
from tests.unit.copies import ROOT, section

TITLE = "The way of one event"
ASKED_BY_ALL = ("sockbpf/counters.py", "sockbpf/process/")
READS_THE_ANSWER = {"sockbpf/delivery/destinations/interim.py"}
"""Begins at about the moment at which the request arrives."""

GIVEN = {
    ("sockbpf/monitor/loop.py", "sockbpf/kernel/attach/probes.py", "_decoded"),
    ("sockbpf/judge/stages.py", "sockbpf/judge/episodes.py", "identity"),
    ("sockbpf/delivery/outbox.py", "sockbpf/monitor/dispatch.py", "fields"),
    ("sockbpf/delivery/outbox.py", "sockbpf/monitor/dispatch.py", "_log"),
    ("sockbpf/delivery/routes.py", "sockbpf/monitor/dispatch.py", "_wants"),
    ("sockbpf/delivery/worker.py", "sockbpf/delivery/queue.py", "take_all"),
}
"""A room, and a function of an earlier room that it calls: the event does not go back by it, the last fetches it.

By `_decoded` the loop asks for the event after it.
"""


NETNS = os.stat("/proc/self/ns/net").st_ino


@dataclass(frozen=True)
class Room:
    """A step as CONTRIBUTING says it: the module, the function that the event comes to, the modules it asks."""

    file: str
    function: str
    asks: frozenset[str]


@dataclass(frozen=True)
class Call:
    """A function of sockbpf begins, or returns; `by` is the room that it is called from, "" at a thread's begin."""

    file: str
    function: str
    begins: bool
    by: str


def rooms() -> list[Room]:
    steps = re.findall(
        r"^\d+\. `(\S+)`: `(\w+)`(.*?)(?=^\d+\. |^\n|\Z)", section(TITLE), re.DOTALL | re.MULTILINE
    )
    return [
        Room(file, function, frozenset(re.findall(r"`(sockbpf/\S+)`", rest)))
        for file, function, rest in steps
    ]


class Seen:
    """The calls, in the order of time, while `on`."""

    def __init__(self) -> None:
        self.on = False
        self.calls: list[Call] = []
        self._rooms = {room.file for room in rooms()}

    def look(self, frame: FrameType, what: str, _: object) -> None:
        if self.on and what in {"call", "return"} and (file := named(frame)):
            self.calls.append(Call(file, frame.f_code.co_name, what == "call", self._room_above(frame)))

    def _room_above(self, frame: FrameType) -> str:
        above = frame.f_back
        while above and named(above) not in self._rooms:
            above = above.f_back
        return named(above) if above else ""


def named(frame: FrameType) -> str:
    """Return the file of a function of sockbpf, from the project's root; "" for others."""
    file = frame.f_code.co_filename
    return file[len(f"{ROOT}/") :] if file.startswith(f"{ROOT}/sockbpf/") else ""


@contextmanager
def receiver(on_request: Any) -> Iterator[str]:
    """Serve one request; yield the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            on_request(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/alert"
        thread.join(30)


def crossing() -> bytes:
    now_ns = time.monotonic_ns()
    addresses = (socket.inet_aton(ip).ljust(16, b"\0") for ip in ("192.0.2.1", "192.0.2.2"))
    return WIRE.pack(
        now_ns, now_ns, 4096, 8191, 4001, 2003, 2003, 2003, 1009, NETNS, 0, 1009, 0, 0, 0, 0, 0, 443, 40009,
        What.OVER, Direction.RECV, Protocol.TCP, socket.AF_INET, 1, 0, 0, 0, *addresses, b"",
    )  # fmt: skip


def monitor(config: Config, raw: bytes) -> Monitor:
    """Return a monitor of real parts, without those that an event does not come to, which has this to read."""
    counters, rings, probes = Counters(), object.__new__(Rings), object.__new__(Probes)
    rings._taken, rings._readers = [raw], []
    probes._rings, probes._counters = rings, counters
    policy = Policy(levels_of(config), counters, "salt", lambda _inode: (4711, "reader"))
    naming = Naming()
    others = dict.fromkeys(
        (
            "waking",
            "sweeps",
            "stalls",
            "settings",
            "losses",
            "service",
            "status",
            "answering",
            "left",
            "history",
        ),
        cast("Any", None),
    )
    return Monitor(
        probes=probes, reap=lambda _address, _direction: False, demands=(), judges=(), watches=(),
        own=Own(None, lambda: None), rules=Rules(config, Owners(), None, counters),
        policy=policy, stages=Stages(settings_of(config), counters, policy.is_open), counters=counters,
        causes=Causes(counters, lambda _inode: (4711, "reader"), lambda _inode: (4711, "reader")), naming=naming,
        silencing=Silencing(Silences(None, lambda: None), naming, counters),
        dispatch=Dispatch(config, counters, lambda: 0, StorePort(config.store), "r1"),
        schedule=Schedule(timing_of(config, is_blind=False), 0.0), **others,
    )  # fmt: skip


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Return the calls from the moment that the bytes have left the buffers to the request."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    seen, targets, arrived = Seen(), list[str](), threading.Event()

    def on_request(target: str) -> None:
        seen.on = False
        targets.append(target)
        arrived.set()

    with receiver(on_request) as url:
        threading.setprofile(seen.look)
        try:
            config = Config.model_validate(
                {"url": url, "hold": 0, "journal": {"path": str(tmp_path / "journal")}}
            )
            watching = monitor(config, crossing())
            seen.on = True
            sys.setprofile(seen.look)
            watching._read()
            sys.setprofile(None)
            assert arrived.wait(60)
        finally:
            sys.setprofile(None)
            threading.setprofile(cast("Any", None))
            seen.on = False
        watching.causes.close()
        assert watching.dispatch.close(20) == 0
    assert "local_port=443&" in targets[0]
    taken = next(i for i, call in enumerate(seen.calls) if call.file.endswith("/perf.py") and not call.begins)
    return seen.calls[taken:]


def moment(room: Room, calls: list[Call]) -> int:
    """Return when the event is in a room: its function begins; or, as it had begun before, makes its first call."""
    ways = (
        lambda call: (call.file, call.function, call.begins) == (room.file, room.function, True),
        lambda call: call.by == room.file and call.file != room.file and call.begins,
        lambda call: (call.file, call.function) == (room.file, room.function),
    )
    for way in ways:
        if (found := next((i for i, call in enumerate(calls) if way(call)), None)) is not None:
            return found
    raise AssertionError(f"the event does not come to {room.function} of {room.file}")


def test_there_are_twelve_rooms_and_none_is_entered_twice() -> None:
    files = [room.file for room in rooms()]
    assert 5 < len(files) <= 12
    assert len(set(files)) == len(files)


def test_the_event_goes_through_the_rooms_in_this_order_and_no_others(calls: list[Call]) -> None:
    way = rooms()
    moments = list(map(partial(moment, calls=calls), way))
    assert moments == sorted(set(moments)), list(zip(moments, way, strict=True))
    named_files = {room.file for room in way}.union(*(room.asks for room in way))
    entered = {call.file for call in calls if not call.file.startswith(ASKED_BY_ALL)}
    assert entered - READS_THE_ANSWER == named_files


def test_it_comes_back_to_no_room_that_it_has_left(calls: list[Call]) -> None:
    place = {room.file: n for n, room in enumerate(rooms())}
    back = {
        (call.by, call.file, call.function)
        for call in calls
        if call.begins and call.by and call.file in place and place[call.file] < place[call.by]
    }
    assert back <= GIVEN
