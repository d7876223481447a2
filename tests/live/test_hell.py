# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Nine destinations that misbehave, each in its own way, cost neither an alert nor the time of the one that is well.

Each is a server on a real socket. While it is bad it gets no more than the probes of its breaker; once it is good
it is told all that the well one was told, in order.
"""

from __future__ import annotations

import queue
import socket
import ssl
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import trustme

from tests.live.monitoring import StartMonitor
from tests.live.receiver import Told
from tests.live.sockets import drain, port, tcp_pair, udp_socket
from tests.live.stamping import stamping
from tests.live.told import Word, word
from tests.live.waiting import until, wait_until

UNREAD = 30_011
CROSSINGS, CROSSINGS_TIMED = 101, 1009
EACH_S = 0.02
STAYING = 3
WORKERS, TRIPS_AFTER = 4, 3
TIMEOUT_S, RETRY_S = 0.5, 0.5
TRIES = 8
"""As many each bad one has seen before it becomes good."""

SETTINGS: dict[str, Any] = {
    "thresholds": {"send": "1GiB", "recv": 20_011},
    "repeat": "1s",
    "delivery": {
        "timeout": "500ms",
        "workers": WORKERS,
        "retry_first": "500ms",
        "retry_max": "500ms",
    },
}
EVENTS = ["exceeded", "ongoing", "cleared"]

Handler = BaseHTTPRequestHandler


@dataclass
class Place:
    """A destination: how it misbehaves until it is good, and what it saw."""

    name: str
    misbehave: Callable[[Handler, threading.Event], bool]
    """Whether it took the alert all the same; called in a thread of the connection's own."""

    scheme: str = "http"
    good: threading.Event = field(default_factory=threading.Event)
    tries: list[float] = field(default_factory=list)
    """Monotonic seconds of each request; of each connection where no request comes through."""
    taken: list[Told] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None
    """Of TLS: the bad one, the good one."""
    port: int = 0

    def settings(self) -> dict[str, Any]:
        url = f"{self.scheme}://127.0.0.1:{self.port}/alert"
        return {"type": "http", "name": self.name, "url": url, **self.options}


class Server(ThreadingHTTPServer):
    """Serves a place on its port, or on a free one that becomes its port."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, place: Place) -> None:
        self.place = place
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", place.port), partial(_Handler, place))
        place.port = self.server_port
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        place = self.place
        if place.contexts:
            if not place.good.is_set():
                place.tries.append(time.monotonic())
            context = place.contexts[place.good.is_set()]
            connection = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self.connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """Close without a FIN of its own, so that SO_LINGER has its way."""
        self.connections.discard(request)
        self.close_request(request)

    def handle_error(self, *_: Any) -> None:
        """Say nothing: clients go away here all the time."""

    def vanish(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def serve(stack: ExitStack, place: Place) -> Server:
    server = Server(place)
    stack.callback(server.vanish)
    stack.callback(place.good.set)
    return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, place: Place, *arguments: Any) -> None:
        self.place = place
        super().__init__(*arguments)

    def do_GET(self) -> None:
        place = self.place
        told = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        if place.good.is_set():
            place.taken.append(told)
            answer(self, 204)
            return
        place.tries.append(time.monotonic())
        self.close_connection = True
        with suppress(OSError):
            if place.misbehave(self, place.good):
                place.taken.append(told)

    def log_message(self, *_: Any) -> None:
        pass


def answer(handler: Handler, status: int, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    if status != 204:
        handler.send_header("Content-Length", "0")
    handler.end_headers()


# the ways to misbehave


def hangs(_: Handler, good: threading.Event) -> bool:
    good.wait()
    return False


def resets(handler: Handler, _: threading.Event) -> bool:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def fails(handler: Handler, _: threading.Event) -> bool:
    answer(handler, 500)
    return False


def too_many(handler: Handler, _: threading.Event) -> bool:
    answer(handler, 429, Retry_After="1")
    return False


def drips(handler: Handler, good: threading.Event, begin: bytes) -> None:
    handler.wfile.write(begin)
    while not good.wait(0.1):
        handler.wfile.write(b"x")


def drips_its_head(handler: Handler, good: threading.Event) -> bool:
    drips(handler, good, b"HTTP/1.")
    return False


def drips_its_body(handler: Handler, good: threading.Event) -> bool:
    """Say 200, and then take for ever: that is an alert taken."""
    with suppress(OSError):
        drips(handler, good, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    return True


def answers_late(handler: Handler, good: threading.Event) -> bool:
    """Take it, and say so when the monitor has given up: it comes again."""
    good.wait(1.6 * TIMEOUT_S)
    with suppress(OSError):
        answer(handler, 204)
    return True


def is_good(_: Handler, good: threading.Event) -> bool:
    pytest.fail("nothing comes through to this one while it is bad")


def tls_place(folder: Path) -> Place:
    authority = trustme.CA()
    file = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    contexts = []
    for name in ("other.example", "127.0.0.1"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        contexts.append(context)
    return Place(
        "wrong-name",
        is_good,
        "https",
        contexts=(contexts[0], contexts[1]),
        options={"ca_file": str(file)},
    )


def watch_knocks(stack: ExitStack, place: Place) -> None:
    """Note in `tries` who knocks at the place's port of loopback, whether somebody listens there or not."""
    seen = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)))
    seen.bind(("lo", 0x0800))
    wanted = place.port.to_bytes(2, "big")

    def watch() -> None:
        with suppress(OSError):
            while True:
                packet, (*_, kind, _hardware, _address) = seen.recvfrom(64)
                tcp = packet[(packet[0] & 15) * 4 :]
                is_syn = packet[9] == socket.IPPROTO_TCP and tcp[13] & 0x12 == 0x02
                if kind != socket.PACKET_OUTGOING and is_syn and tcp[2:4] == wanted:
                    place.tries.append(time.monotonic())

    threading.Thread(target=watch, daemon=True).start()


# the test


def control(stack: ExitStack) -> tuple[str, list[tuple[float, Told]]]:
    """Start the destination that is well, in a process of its own; return its url and, growing, what it took."""
    stamps = stamping(stack)
    taken: list[tuple[float, Told]] = []

    def read() -> None:
        with suppress(queue.Empty):  # it is over
            while True:
                taken.append(stamps.next())

    threading.Thread(target=read, daemon=True).start()
    return stamps.url, taken


def cross(times: int) -> int:
    """Cross and drain, one episode each; return the port."""
    with ExitStack() as stack:
        client, server = tcp_pair(stack)
        begun = time.monotonic()
        for number in range(times):
            wait_until(begun + number * EACH_S)
            client.sendall(bytes(UNREAD))
            drain(server, UNREAD)
        return port(server)


def of_port(taken: list[tuple[float, Told]], number: int, event: str) -> list[tuple[float, Told]]:
    return [
        (at, told)
        for at, told in list(taken)
        if told["event"] == event and told["local_port"] == str(number) and told["type"] == "RECV"
    ]


def lateness(taken: list[tuple[float, Told]], crossings: int) -> tuple[float, float]:
    """Cross, wait until all is told; return p50 and p99 from the crossing to the request, seconds."""
    number = cross(crossings)
    until(
        lambda: len(of_port(taken, number, "cleared")) == crossings,
        lambda: f"{len(of_port(taken, number, 'cleared'))} of {crossings} told",
    )
    late = sorted(at - float(told["timestamp"]) for at, told in of_port(taken, number, "exceeded"))
    assert len(late) == crossings
    return late[len(late) // 2], late[len(late) * 99 // 100]


def lateness_while_well(
    start_monitor: StartMonitor, stack: ExitStack, destinations: list[dict[str, Any]], crossings: int
) -> tuple[float, float]:
    url, taken = control(stack)
    monitor = start_monitor(url=url, events=EVENTS, destinations=destinations, **SETTINGS)
    late = lateness(taken, crossings)
    assert monitor.stop() == 0
    return late


def show_lateness(late: dict[str, tuple[float, float]]) -> None:
    for name, (p50, p99) in late.items():
        print(f"crossing to request, {name}: p50 {p50 * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms")


def stand_over(stack: ExitStack) -> list[socket.socket]:
    sender = udp_socket(stack)
    staying = [udp_socket(stack) for _ in range(STAYING)]
    for sock in staying:
        sender.sendto(bytes(UNREAD), sock.getsockname())
    return staying


def words(taken: list[Told]) -> set[Word]:
    return {word(told) for told in list(taken)}


def assert_order_and_copies(place: Place) -> int:
    """Return how many came again."""
    copies: dict[Word, list[Told]] = defaultdict(list)
    for told in place.taken:
        copies[word(told)].append(told)
    for same in copies.values():
        assert all(told == same[0] for told in same), f"{place.name}: {same}"
    of_id: dict[str, list[Word]] = defaultdict(list)
    for first in copies:
        of_id[first[1]].append(first)
    for each in of_id.values():
        seqs, events = [seq for *_, seq in each], [EVENTS.index(event) for event, *_ in each]
        assert seqs == sorted(set(seqs)), f"{place.name}: {each}"
        assert events == sorted(events), f"{place.name}: {each}"
        assert all(earlier != later or earlier == 1 for earlier, later in pairwise(events)), each
    return len(place.taken) - len(copies)


def dead_places(stack: ExitStack, folder: Path) -> list[Place]:
    """Return those that take nothing while they are bad; the last one is good until it vanishes."""
    # Keeps the port from others while nobody listens on it.
    reservation = stack.enter_context(socket.socket())
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reservation.bind(("127.0.0.1", 0))
    vanishing = Place("vanishes", is_good, port=port(reservation))
    vanishing.good.set()
    return [
        Place("hangs", hangs),
        Place("resets", resets),
        Place("fails", fails),
        Place("too-many", too_many),
        Place("drips-head", drips_its_head),
        Place("late", answers_late),
        tls_place(folder),
        vanishing,
    ]


def await_tries(dead: list[Place], begun: float) -> float:
    """Wait until all have been tried some more since `begun`; assert that nobody was bothered; return the seconds."""

    def tries(since: float = begun) -> dict[str, int]:
        return {place.name: sum(at > since for at in list(place.tries)) for place in dead}

    until(lambda: min(tries().values()) >= TRIES, lambda: f"{TRIES} tries each: {tries()}")
    took_s = time.monotonic() - begun
    all_tries, later = tries(), tries(begun + took_s / 2)
    bound = took_s / RETRY_S + WORKERS + TRIPS_AFTER
    print(f"bad for {took_s:.1f} s, tries (at most {bound:.0f}): {all_tries}, in the second half: {later}")
    assert max(all_tries.values()) <= bound
    assert max(later.values()) <= took_s / 2 / RETRY_S + 2, "tripped long before: these are probes alone"
    return took_s


def assert_all_told(places: list[Place], control: list[Told]) -> None:
    told = words(control)
    assert len(told) == len(control), "the one that is well is told everything once"
    assert {event for event, *_ in told} == set(EVENTS)
    again = {}
    for place in places:
        assert words(place.taken) == told, place.name
        again[place.name] = assert_order_and_copies(place)
    print(f"{len(told)} alerts, all taken by {len(places)}; again: {again}")


@pytest.mark.timeout(300)
def test_hell(start_monitor: StartMonitor, stack: ExitStack, tmp_path: Path, *, strict_times: bool) -> None:
    crossings = CROSSINGS_TIMED if strict_times else CROSSINGS
    dead = dead_places(stack, tmp_path)
    vanishing = dead[-1]
    places = [*dead, Place("drips-body", drips_its_body)]
    for place in places:
        place.good.set()
    servers = {place.name: serve(stack, place) for place in places}
    destinations = [place.settings() for place in places]
    alone = lateness_while_well(start_monitor, stack, [], crossings)
    all_well = lateness_while_well(start_monitor, stack, destinations, crossings)
    for place in places:
        place.taken.clear()
        if place is not vanishing:
            place.good.clear()
    url, taken = control(stack)
    monitor = start_monitor(url=url, events=EVENTS, destinations=destinations, **SETTINGS)
    cross(1)
    until(lambda: vanishing.taken, "something taken before it vanishes")
    servers["vanishes"].vanish()
    watch_knocks(stack, vanishing)

    begun = time.monotonic()
    staying = stand_over(stack)
    some_bad = lateness(taken, crossings)
    bad_s = await_tries(dead, begun)

    for place in places:
        place.good.set()
    serve(stack, vanishing)
    cross(CROSSINGS // 3)
    for sock in staying:
        sock.recv(UNREAD)
    ends = {str(port(sock)) for sock in staying}
    until(
        lambda: ends <= {told["local_port"] for _, told in list(taken) if told["event"] == "cleared"},
        "the ends of those that stayed over",
    )
    for place in places:
        until(
            lambda place=place: words(place.taken) >= words([told for _, told in list(taken)]),  # type: ignore[misc]
            lambda place=place: f"{place.name} has {len(words(place.taken))} of {len(taken)}",  # type: ignore[misc]
        )
    well_s = time.monotonic() - begun - bad_s
    assert monitor.stop() == 0
    assert_all_told(places, [told for _, told in taken])
    print(f"all taken within {well_s:.1f} s")
    counters, log = monitor.counters(), monitor.log()
    for loss in ("given_up", "dropped", "journal_failed", "lost_submit", "lost_ring", "undecodable"):
        assert counters[loss] == 0, loss
    assert counters["delivered"] == len(taken) * (len(places) + 1)
    for place in dead:
        assert f"delivery to {place.name} failed" in log
        assert f"delivery to {place.name} works again" in log
    assert "delivery to http failed" not in log

    show_lateness({"alone": alone, "ten well": all_well, "nine of ten bad": some_bad})
    if strict_times:
        assert some_bad[0] <= all_well[0] * 1.2
        assert some_bad[1] <= all_well[1] * 1.2
