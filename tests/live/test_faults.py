# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""No thread ends unheard: an exception in every call that a thread makes out of its module, one at a time.

A first monitor, given everything to do, writes down the places; see nursery.py. Then a monitor for each place has an
exception raised there. One of these must be its end:

- *ended*: the process says so in a line, exits with 1, and what was owed is in the journal;
- *counted*: the alert was set aside, or its round is tried again; a counter and the log tell;
- *borne*: the call was one whose failure harms nobody, such as looking up an owner who may be gone: alerts that
  come later are told, metrics are served, nothing that was owed is lost, the end is a good one.

Anything else is a silent end. `--faults all` tries every place, with every kind of exception by turns; without it
each run tries some, others each day.
"""

from __future__ import annotations

import json
import random
import re
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.live.fault_case import Case, Nursery, busy
from tests.live.nursery import ERRORS
from tests.live.receiver import receiving
from tests.live.sockets import fill, port, tcp_pair
from tests.live.waiting import until

NURSERIES = 3
SOME = 12
REACHED_S = 30.0
ENDED = "sockbpf ends, exit code 1: "
EVIDENCE = (
    "set_aside", "retried", "given_up", "sweep_failed", "metrics_failed", "reload_failed", "journal_failed",
    "log_dropped", "ignored", "undecodable", "late", "dropped",
)  # fmt: skip


def recorded(folder: Path, mode: str) -> list[str]:
    """Return all places that a monitor comes by that has everything to do."""
    nursery = Nursery()
    with receiving() as receiver, ExitStack() as stack:
        stack.callback(nursery.close)
        failing = [0]

        def answer(handler: Any) -> None:
            failing[0] += 1
            handler.send_response(503 if failing[0] % 3 == 0 else 204)
            handler.end_headers()

        receiver.answer = answer
        case = Case(folder, receiver, mode)
        case.prepare()
        case.pid = nursery.start(case.order | {"record": str(folder / "places")})
        fill(tcp_pair(stack)[0])
        with busy(case):
            if case.with_store:
                until(lambda: case.log().count("the store has ended") >= 2, lambda: case.log()[-3000:])
            else:
                until(lambda: "new settings: " in case.log(), lambda: case.log()[-3000:])
            until(lambda: re.search(r"counters: .*heartbeats=[1-9]", case.log()), lambda: case.log()[-3000:])
        case.signal(signal.SIGTERM)
        ended = nursery.ended(60)
        assert ended
        assert ended[0] == 0, case.log()[-3000:]
    places: list[str] = json.loads((folder / "places").read_text())
    return places


def outcome(case: Case, nursery: Nursery, place: str, error: str) -> tuple[str, float]:
    """Raise the error at the place; return which end that had, and how long it took until the process had ended."""
    fired = case.folder / "fired"
    case.prepare()
    begun_s = time.monotonic()
    with ExitStack() as stack:
        fill(tcp_pair(stack)[0])
        case.pid = nursery.start(case.order | {"place": place, "error": error, "fired": str(fired)})
        stack.callback(case.signal, signal.SIGKILL)
        with busy(case):
            while not fired.exists() and nursery.ended(0.02) is None:
                if time.monotonic() - begun_s > REACHED_S:
                    return "not reached", 0.0
            ended = nursery.ended(1.0)
            if ended is None:
                lives = _lives(case, nursery, stack)
                ended = nursery.ended(0)
                if ended is None and lives:
                    return f"SILENT: {lives}", 0.0
        if ended is None:
            case.signal(signal.SIGTERM)
            ended = nursery.ended(30)
        if ended is None:
            return "SILENT: it does not stop", 0.0
        if not fired.exists():
            return f"SILENT: it ended before, {ended[0]}", 0.0
    return _end(case, ended[0]), ended[1] - fired.stat().st_mtime


def _lives(case: Case, nursery: Nursery, stack: ExitStack) -> str:
    """Return what a monitor that goes on does not do; empty if it does everything, or ends meanwhile."""
    client, _server = tcp_pair(stack)
    fill(client)
    end_s = time.monotonic() + 30
    missing = "?"
    while time.monotonic() < end_s and nursery.ended(0.02) is None:
        missing = ""
        if not case.receiver.alerts(local_port=port(client), type="SEND"):
            missing = "a later alert is not told"
        elif not case.scrape():
            missing = "no metrics are served"
        elif lost := case.lost(in_journal=False):
            missing = f"not delivered: {lost}"
        if not missing:
            break
    return missing


def _end(case: Case, code: int) -> str:
    if lost := case.lost(in_journal=True):
        return f"SILENT: lost {sorted(lost)}, exit code {code}"
    if "s3cret" in case.log():
        return "SILENT: a secret in the log"
    if code == 1:
        return "ended" if ENDED in case.log() else "SILENT: exit code 1 without a word"
    if code:
        return f"SILENT: exit code {code}"
    counters = case.counters()
    return "counted" if any(counters.get(name) for name in EVIDENCE) else "borne"


def chosen(places: dict[str, str], faults: str) -> list[tuple[str, str, str]]:
    """Return place, mode and error of each monitor to start."""
    kinds = sorted(ERRORS)
    every = [(place, mode, kinds[n % len(kinds)]) for n, (place, mode) in enumerate(sorted(places.items()))]
    if faults == "all":
        return every
    today = random.Random(time.strftime("%F") if faults == "some" else faults)
    return today.sample(every, min(SOME, len(every)))


def test_no_thread_ends_unheard(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    (tmp_path / "kept").mkdir(mode=0o700)
    places = dict.fromkeys(recorded(tmp_path / "by-hooks", "auto"), "auto")
    places |= dict.fromkeys(recorded(tmp_path / "polling", "none"), "none")
    with_store = recorded(tmp_path / "with-store", "store")
    places |= dict.fromkeys((place for place in with_store if place.startswith("store ")), "store")
    by_thread = Counter(place.split()[0] for place in places)
    print(f"{len(places)} places: {dict(by_thread)}")
    assert len(places) >= 200
    assert {
        "main",
        "outbox",
        "http",
        "sweep",
        "metrics",
        "http-deadline",
        "log",
        "lookout",
        "store",
        "journal",
    } <= set(by_thread)
    every = chosen(places, str(request.config.getoption("--faults")))
    nurseries = [Nursery() for _ in range(NURSERIES)]
    free = list(nurseries)

    def tried(n: int, place: str, mode: str, error: str) -> tuple[str, float]:
        nursery = free.pop()
        with receiving() as receiver:
            case = Case(tmp_path / f"case{n}", receiver, mode)
            end, seconds = outcome(case, nursery, place, error)
            print(f"{end:12} {seconds:6.3f} s {error:18} {place}", flush=True)
            if end.startswith("SILENT"):
                print(case.log()[-3000:])
        nursery.ended(60)
        free.append(nursery)
        return end, seconds

    try:
        with ThreadPoolExecutor(NURSERIES) as pool:
            ends = list(pool.map(lambda each: tried(each[0], *each[1]), enumerate(every)))
    finally:
        for nursery in nurseries:
            nursery.close()
    counted = Counter(end.split(":")[0] for end, _ in ends)
    slowest_s = max((seconds for end, seconds in ends if end == "ended"), default=0.0)
    print(f"{len(every)} of {len(places)} places: {dict(counted)}; the slowest end took {slowest_s:.3f} s")
    assert not counted["SILENT"]
    assert counted["not reached"] <= len(every) // 4, "what a monitor once came by, others come by too"
