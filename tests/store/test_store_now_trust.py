# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""However much others say without the token, what the monitors say is found, and first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection

from sockbpf.store.data import now
from sockbpf.store.data.engine import open_engine
from sockbpf.store.data.entry import alert_entry
from sockbpf.store.data.host_filters import HostFilter
from sockbpf.store.data.hosts_now import find_hosts
from sockbpf.store.data.known_rows import KnownRows
from sockbpf.store.data.migration import migrate
from sockbpf.store.data.partitions import make_partitions
from sockbpf.store.data.rows import write
from tests.store.now_telling import ABOUT
from tests.store.serving import engine_url, told

NOW_S = 10_000.0
OURS, THEIRS = "own", "fake"


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    engine = open_engine(engine_url(database), connections=1)
    migrate(engine)
    with engine.begin() as made:
        make_partitions(made, 0.0)
        yield made
    engine.dispose()


def say(
    connection: Connection, arrived_s: float, host: str, *, trusted: bool | None = None, **changed: Any
) -> None:
    seq = int(arrived_s)
    fields = told(seq, **{"host": host, "seq": seq, "timestamp": f"{arrived_s:.6f}", "run": "r", **changed})
    if fields["event"] == "heartbeat":
        fields = {name: fields[name] for name in ("timestamp", "event", "host", "seq", "run", *changed)}
    entry = alert_entry(fields)
    is_trusted = host.startswith(OURS) if trusted is None else trusted
    write(connection, [replace(entry, trusted=is_trusted, arrived_s=arrived_s)])


def beat(connection: Connection, arrived_s: float, host: str, **about: Any) -> None:
    say(connection, arrived_s, host, event="heartbeat", **{**ABOUT, **about})


def found_now(connection: Connection) -> dict[str, Any]:
    return now.find_now(connection, KnownRows(), NOW_S, 1000)


def test_silent_and_blind_hosts(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of others are greater, and single ones newer: more than are looked at."""
    monkeypatch.setattr(now, "MOST_GROUPS", 2)
    monkeypatch.setattr(now, "MOST_HOSTS", 2)
    for number in range(3):
        beat(connection, 1000.0, f"{OURS}-rack{number}")
        beat(connection, NOW_S - 10, f"{OURS}-poll{number}", mode="poll")
    beat(connection, 500.0, f"{OURS}-silent")
    beat(connection, NOW_S - 10, f"{OURS}-blind", unseen="UDP-Lite")
    for group in range(3):
        for number in range(4):
            beat(connection, 2000.0 + 500 * group, f"{THEIRS}-rack{group}{number}")
            beat(connection, NOW_S - 5, f"{THEIRS}-blind{group}{number}", unseen=f"x{group}")
        beat(connection, 6000.0 + 500 * group, f"{THEIRS}-silent{group}")
    found = found_now(connection)
    assert [(each["kind"], each["host_names"]) for each in found["incidents"] if each["trusted"]] == [
        ("silent-hosts", [f"{OURS}-rack{number}" for number in range(3)]),
        ("silent-host", [f"{OURS}-silent"]),
        ("blind-monitors", [f"{OURS}-poll{number}" for number in range(3)]),
        ("blind-monitor", [f"{OURS}-blind"]),
    ]
    assert [each["trusted"] for each in found["incidents"]] == [True] * 4 + [False] * 2
    assert found["truncated"]


def test_queues_of_a_silent_host(connection: Connection) -> None:
    for trusted, queues in ((True, 1), (False, 3)):
        beat(connection, 500.0 + trusted, f"{OURS}-silent", trusted=trusted)
        for number in range(queues):
            say(connection, 400.0 + 10 * trusted + number, f"{OURS}-silent", trusted=trusted)
    (one,) = found_now(connection)["incidents"]
    assert (one["kind"], one["count"]) == ("silent-host", 1)
    assert "1 of its queues were over" in one["reason"]


def test_queues(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(now, "MOST_EPISODES", 5)
    for number in range(2):
        say(connection, NOW_S - 40 + number, f"{OURS}{number}")
    for number in range(10):
        say(connection, NOW_S - 20 + number, f"{THEIRS}{number}")
    found = found_now(connection)
    hosts = [each["host"] for each in found["incidents"]]
    assert sorted(hosts[:2]) == [f"{OURS}0", f"{OURS}1"]
    assert sorted(hosts[2:]) == [f"{THEIRS}{number}" for number in (7, 8, 9)], "those heard of last"
    assert (found["episodes"]["over"], found["truncated"]) == (5, True)
    for number in range(10):
        say(connection, NOW_S - 39 + number, f"{OURS}-late{number}")
    assert all(each["trusted"] for each in found_now(connection)["incidents"])


def test_hosts(connection: Connection) -> None:
    beat(connection, NOW_S - 10, f"{OURS}-heard")
    beat(connection, NOW_S - 10, f"{OURS}-blind", mode="poll")
    for number in range(4):
        beat(connection, 1000.0, f"{THEIRS}-silent{number}")
        beat(connection, NOW_S - 10, f"{THEIRS}-heard{number}")
    names: list[str] = []
    behind = None
    while not names or behind:
        answer, behind = find_hosts(connection, KnownRows(), NOW_S, HostFilter(3, behind=behind))
        names += [each["host"] for each in answer["hosts"]]
    theirs = [f"{THEIRS}-{state}{number}" for state in ("silent", "heard") for number in range(4)]
    assert names == [f"{OURS}-blind", f"{OURS}-heard", *theirs]
