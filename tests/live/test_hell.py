# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Nine destinations that misbehave, each in its own way, cost neither an alert nor the time of the one that is well.

Each is a server on a real socket. While it is bad it gets no more than the probes of its breaker; once it is good
it is told all that the well one was told, in order.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections import defaultdict
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.live.crossing import UNREAD, cross, stand_over
from tests.live.misbehaving import (
    Place,
    answers_late,
    drips_its_body,
    drips_its_head,
    fails,
    hangs,
    is_good,
    resets,
    serve,
    tls_place,
    too_many,
    watch_knocks,
)
from tests.live.monitoring import StartMonitor
from tests.live.receiver import Told
from tests.live.sockets import port
from tests.live.stamping import stamping
from tests.live.told import Word, word
from tests.live.waiting import until

CROSSINGS, CROSSINGS_TIMED = 101, 1009

WORKERS, TRIPS_AFTER = 4, 3

RETRY_S = 0.5

TRIES = 8
"""As many each bad one has seen before it becomes good."""

SETTINGS: dict[str, Any] = {
    "thresholds": {"send": "1GiB", "recv": 20_011},
    "repeat": "1s",
    "delivery": {
        "workers": WORKERS,
        "retry_first": "500ms",
        "retry_max": "500ms",
    },
}
EVENTS = ["exceeded", "ongoing", "cleared"]


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
    # Theirs alone: the one that is well may be late on a busy machine.
    destinations = [place.settings() | {"timeout": "500ms"} for place in places]
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
