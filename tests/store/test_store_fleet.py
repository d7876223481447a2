# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`GET /now` of many hosts: what is wrong with all of them is one incident; what is each host's own is not."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from sockbpf.store.data.engine import open_engine
from tests.store.now_telling import ABOUT, READER, age, ask, say
from tests.store.serving import Store, database_of_store, told

TO_DATABASE = {"type": "SEND", "remote_ip": "10.0.0.5", "remote_port": 5432, "comm": "shop"}
NO_ANSWER = {"cause": "peer-not-answering", "reason": "nothing was acknowledged for 15 s"}


def waits(store: Store, number: int, **changed: Any) -> None:
    ends = {"local_ip": f"10.1.0.{number}", "local_port": 40000 + number}
    say(store, number, host=f"web{number}", **{**TO_DATABASE, **NO_ANSWER, **ends, **changed})


def test_a_service_that_many_hosts_cannot_reach_is_one_incident(emptied: Store) -> None:
    for number in range(1, 3):
        waits(emptied, number)
    assert [each["kind"] for each in ask(emptied, "/now")["incidents"]] == ["queues"] * 2
    for number in range(3, 8):
        waits(emptied, number, size=3_000_000 + number)
    say(emptied, 9, host="web3", comm="cron", severity="critical", **READER)
    found = ask(emptied, "/now")
    assert [(each["kind"], each["host"]) for each in found["incidents"]] == [
        ("remote-service", "web7"), ("queues", "web3"),
    ]  # fmt: skip
    one = found["incidents"][0]
    assert (one["remote"], one["service"], one["service_kind"]) == (
        "10.0.0.5:5432",
        "10.0.0.5:5432",
        "remote",
    )
    assert (one["count"], one["hosts"], one["cause"], one["comm"]) == (7, 7, "peer-not-answering", "shop")
    assert one["host_names"][:2] == ["web7", "web6"]
    assert one["elsewhere"][1] == {"host": "web6", "id": told(6)["id"]}
    assert (found["count"], found["episodes"]["over"]) == (2, 8)
    assert [each["kind"] for each in ask(emptied, "/now", host="web4")["incidents"]] == ["queues"]
    say(
        emptied,
        20,
        host="db1",
        type="RECV",
        unit="postgresql.service",
        local_ip="10.0.0.5",
        local_port=5432,
        **READER,
    )
    led = ask(emptied, "/now")["incidents"][0]
    assert (led["host"], led["service"], led["reason"]) == ("db1", "postgresql.service", READER["reason"])
    assert (led["count"], led["hosts"], led["other_services"]) == (8, 7, ["shop"])


def test_hosts_that_fall_silent_together_are_one_incident(emptied: Store) -> None:
    for number in range(8):
        labels = f"dc=fra1;rack=r{number % 2}" if number < 5 else "dc=ams1"
        say(emptied, number, event="heartbeat", host=f"web{number}", labels=labels, **ABOUT)
        say(emptied, 10 + number, host=f"web{number}")
    for number in range(5):
        age(emptied, 1000 + number, f"web{number}")
    age(emptied, 2000, "web5")
    found = ask(emptied, "/now")
    first, second = [each for each in found["incidents"] if each["kind"] != "queues"]
    assert (first["kind"], first["hosts"], first["count"]) == ("silent-hosts", 5, 5)
    assert first["labels"] == ["dc=fra1"]
    assert sorted(first["host_names"]) == [f"web{number}" for number in range(5)]
    assert "nearly all of them dc=fra1" in first["reason"]
    assert (second["kind"], second["host"], second["count"]) == ("silent-host", "web5", 1)
    assert found["hosts"]["silent"] == 6
    assert found["hosts"]["heard"] == 2
    (alone,) = ask(emptied, "/now", host="web1")["incidents"]
    assert (alone["kind"], alone["count"]) == ("silent-host", 1)


def test_monitors_that_do_not_see_the_same_are_one_incident(emptied: Store) -> None:
    for number in range(4):
        say(emptied, number, event="heartbeat", host=f"old{number}", **ABOUT | {"mode": "poll"})
    say(emptied, 5, event="heartbeat", host="lacks", **ABOUT | {"unseen": "UDP-Lite"})
    found = ask(emptied, "/now")["incidents"]
    assert [(each["kind"], each["host"], each["hosts"]) for each in found] == [
        ("blind-monitors", "old0", 4), ("blind-monitor", "lacks", 1),
    ]  # fmt: skip
    assert found[0]["host_names"] == ["old0", "old1", "old2", "old3"]
    assert "polling" in found[0]["reason"]


@pytest.mark.not_clickhouse
def test_no_host_is_named_whose_row_was_altered(emptied: Store) -> None:
    for number in range(5):
        say(emptied, number, event="heartbeat", host=f"web{number}", **ABOUT)
        age(emptied, 1000, f"web{number}")
    engine = open_engine(database_of_store(emptied), connections=1)
    with engine.begin() as connection:
        connection.execute(text("update host set host = 'evil' where host = 'web3'"))
    engine.dispose()
    said = ask(emptied, "/now")
    assert "evil" not in str(said)
    assert said["incidents"][0]["hosts"] == 4
