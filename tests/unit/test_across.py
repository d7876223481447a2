# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What several hosts cannot reach is one incident, by a model without troubles; each queue is in one of them."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockbpf.store.data.incidents import queue_incidents, ranked, worst_first
from tests.unit.open_rows import open_row

Row = dict[str, Any]
FAR = (
    "peer-not-reading",
    "peer-slow",
    "peer-not-answering",
    "no-acknowledgement",
    "path-limited",
    None,
    "unknown",
)
HERE = ("send-buffer-small", "device-queue")
ADDRESSES = ("10.0.0.5", "::ffff:10.0.0.5", "fd00::5", "127.0.0.1", "169.254.1.1", "fe80::1")
EVERYWHERE = ADDRESSES[3:]


def row(number: int, **changed: Any) -> Row:
    usual = {"state": "over", "ours": True, "type": "SEND", "threshold": 1, "size": 5, "host": "web1"}
    ends = {
        "local_ip": "10.1.0.1",
        "local_port": 40000 + number,
        "remote_ip": "10.0.0.5",
        "remote_port": 5432,
    }
    return open_row(number) | usual | ends | changed


def incidents_of(rows: list[Row]) -> list[Row]:
    by_host = defaultdict(list)
    for each in rows:
        by_host[each["host"]].append(each)
    found = queue_incidents([each for its in by_host.values() for each in ranked(its)])
    return [each.incident() for each in worst_first(found)]


@st.composite
def many(draw: st.DrawFn) -> list[Row]:
    found = []
    for number in range(draw(st.integers(0, 40))):
        chosen = {
            "host": draw(st.sampled_from([f"web{host}" for host in range(5)])),
            "remote_ip": draw(st.sampled_from(ADDRESSES)),
            "remote_port": draw(st.sampled_from([5432, 5432, 5432, 6379, 0])),
            "state": draw(st.sampled_from(["over"] * 5 + ["not-heard"])),
            "ours": draw(st.sampled_from([True] * 5 + [False])),
            "cause": draw(st.sampled_from(FAR * 3 + HERE)),
            "comm": draw(st.sampled_from(["shop", "mail"])),
            "size": draw(st.integers(1, 3)),
            "count": draw(st.sampled_from([None, None, 40])),
        }
        if draw(st.integers(0, 9)) == 0:
            chosen |= {"peer_pid": 7}
        found.append(row(number, **chosen))
    return found


def services(rows: list[Row]) -> dict[Any, list[Row]]:
    """Return what of these rows waits for a service of several hosts."""
    found = defaultdict(list)
    for each in rows:
        may_be = each["cause"] in FAR and each["remote_ip"] not in EVERYWHERE and each["remote_port"]
        if may_be and not each["peer_pid"]:
            ip = each["remote_ip"].removeprefix("::ffff:")
            at = f"[{ip}]:{each['remote_port']}" if ":" in ip else f"{ip}:{each['remote_port']}"
            found[each["state"], each["ours"], at].append(each)
    return {key: some for key, some in found.items() if len({each["host"] for each in some}) >= 3}


@settings(max_examples=200, deadline=None)
@given(many(), st.randoms(use_true_random=False))
def test_by_a_model(rows: list[Row], chance: Any) -> None:
    expected = {
        key: (
            sum(each["count"] or 1 for each in some),
            len({each["host"] for each in some}),
            some[0]["start"],
        )
        for key, some in services(rows).items()
    }
    found = incidents_of(rows)
    across = [each for each in found if each["kind"] == "remote-service"]
    assert {
        (each["state"], each["trusted"], each["remote"]): (each["count"], each["hosts"], each["since"])
        for each in across
    } == expected
    for each in across:
        assert len(set(each["host_names"])) == each["hosts"] == len(each["elsewhere"])
        assert each["host"] == each["host_names"][0]
    moved = {each["id"] for some in services(rows).values() for each in some}
    own = sum(each["count"] for each in found if each["kind"] == "queues")
    assert own == sum(each["count"] or 1 for each in rows if each["id"] not in moved)
    chance.shuffle(rows)
    assert sorted(map(str, incidents_of(rows))) == sorted(map(str, found))


def waiting(hosts: int, **changed: Any) -> list[Row]:
    return [row(n, host=f"web{n}", comm="shop", cause="peer-not-answering", **changed) for n in range(hosts)]


def test_what_is_wrong_at_the_service_leads() -> None:
    reader = row(99, host="db1", type="RECV", unit="postgresql.service", cause="reader-stopped", count=7,
                 local_ip="10.0.0.5", local_port=5432, remote_ip="10.1.0.1", remote_port=40001)  # fmt: skip
    (one,) = incidents_of([*waiting(50), reader])
    assert (one["kind"], one["host"], one["service"], one["cause"]) == (
        "remote-service", "db1", "postgresql.service", "reader-stopped",
    )  # fmt: skip
    assert (one["count"], one["hosts"], one["since"], one["other_services"]) == (57, 50, 0.0, ["shop"])
    assert (one["remote"], len(one["host_names"]), one["episodes"]) == ("10.0.0.5:5432", 20, ["63"])


@pytest.mark.parametrize("at", ["10.0.0.5", "0.0.0.0", "::"])
def test_a_listener_leads_where_its_host_has_the_address(at: str) -> None:
    listener = row(98, host="db1", type="ACCEPT", cause="not-accepting", local_ip=at, local_port=5432,
                   remote_ip="0.0.0.0", remote_port=0)  # fmt: skip
    other = row(99, host="db1", comm="cron", cause="device-queue", local_ip="10.0.0.5", remote_ip="10.9.9.9")
    found = incidents_of([*waiting(5), listener, other])
    assert [(each["kind"], each["host"]) for each in found] == [("remote-service", "db1"), ("queues", "db1")]
    not_known = 1 if at == "10.0.0.5" else 2
    assert len(incidents_of([*waiting(5), listener])) == not_known, "whose address it is, nobody says"
    other["ours"] = False
    found = incidents_of([*waiting(5), listener, other])
    assert len(found) == not_known + 1, "whose address it is, nobody says that is trusted"


@pytest.mark.parametrize(
    "changed",
    [
        {"cause": "peer-slow"},
        {"cause": "unknown"},
        {"local_port": 5433},
        {"local_ip": "10.0.0.6"},
        {"type": "SEND"},
        {"ours": False},
        {"state": "not-heard"},
    ],
)
def test_what_says_nothing_of_it_does_not_lead(changed: Row) -> None:
    at = {"type": "RECV", "cause": "reader-stopped", "local_ip": "10.0.0.5", "local_port": 5432}
    reader = row(99, host="db1", **{**at, "remote_ip": "10.1.0.1", "remote_port": 40001, **changed})
    found = incidents_of([*waiting(5), reader])
    assert [(each["kind"], each["host"], each["hosts"]) for each in found] == [
        ("remote-service", "web0", 5), ("queues", "db1", 1),
    ]  # fmt: skip


def test_thousands_of_queues_at_one_port_are_looked_at_once() -> None:
    """Of each of a hundred services at that port each queue would be compared with all of them: for minutes."""
    lost = [
        row(3 * n + web, host=f"web{web}", remote_ip=f"10.3.0.{n}", cause="path-limited")
        for n in range(100)
        for web in range(3)
    ]
    at = {"host": "db1", "type": "RECV", "cause": "reader-stopped", "local_ip": "10.0.0.5"}
    serving = [row(1000 + n, **at, local_port=5432, remote_port=n + 1) for n in range(3000)]
    begun_s = time.process_time()
    found = incidents_of([*lost, *serving])
    assert time.process_time() - begun_s < 10
    assert sorted(each["kind"] for each in found) == ["queues", *["remote-service"] * 100]


def test_a_client_with_the_same_port_at_several_hosts_is_no_service() -> None:
    client = {"local_port": 443, "remote_ip": "10.7.7.7", "remote_port": 50123}
    assert [each["kind"] for each in incidents_of(waiting(4, **client))] == ["queues"] * 4
    peers = {"local_port": 179, "remote_port": 179}
    assert [each["kind"] for each in incidents_of(waiting(4, **peers))] == ["remote-service"]
    assert [each["kind"] for each in incidents_of(waiting(2))] == ["queues"] * 2


def test_other_queues_of_a_service_stay_with_their_host() -> None:
    others = [
        row(50 + n, host=f"web{n}", comm="shop", cause="peer-not-answering", remote_ip=f"10.8.0.{n}")
        for n in range(5)
    ]
    found = incidents_of([*waiting(5), *others])
    assert [(each["kind"], each["count"]) for each in found] == [("remote-service", 5), *[("queues", 1)] * 5]
