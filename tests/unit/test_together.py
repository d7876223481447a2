# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which open episodes are one trouble: whatever they are, each is in exactly one, in any order the same."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sockbpf.store.data.incidents import queue_incidents, ranked
from sockbpf.store.data.together import troubles_of
from tests.unit.open_rows import open_row

CAUSES = (
    None,
    "unknown",
    "reader-stopped",
    "reader-slow",
    "peer-not-reading",
    "device-queue",
    "a word of a later version",
)


def row(number: int, chosen: dict[str, Any]) -> dict[str, Any]:
    return open_row(number, netns=1, threshold=1024) | chosen


SERVER, CLIENT = ("127.0.0.1", 5432), ("127.0.0.1", 40000)
ENDS = st.sampled_from([(SERVER, CLIENT), (CLIENT, SERVER), (SERVER, (None, 0)), ((None, 0), SERVER)])


def mostly(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([usual] * 5 + list(others))


@st.composite
def rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for number in range(draw(st.integers(0, 9))):
        (local_ip, local_port), (remote_ip, remote_port) = draw(ENDS)
        chosen = {
            "host": draw(mostly("web1", "web2")),
            "state": draw(mostly("over", "not-heard")),
            "ours": draw(mostly(1, 0)),
            "type": draw(st.sampled_from(["RECV", "SEND", "RECV", "SEND", "ACCEPT", "RATE"])),
            "comm": draw(st.sampled_from([None, "nginx", "curl"])),
            "pid": draw(st.sampled_from([None, 7, 8])),
            "cause": draw(st.sampled_from(CAUSES)),
            "peer_id": draw(st.sampled_from([None, "0", "1", "2"])),
            "peer_pid": draw(st.sampled_from([None, 7, 8])),
            "count": draw(st.sampled_from([None, 1, 40])),
            "size": draw(st.integers(0, 3)),
        }
        ends = {
            "local_ip": local_ip,
            "local_port": local_port,
            "remote_ip": remote_ip,
            "remote_port": remote_port,
        }
        found.append(row(number, chosen | ends))
    return found


@settings(max_examples=500, deadline=None)
@given(rows())
def test_each_episode_is_in_exactly_one_trouble(given_rows: list[dict[str, Any]]) -> None:
    troubles = troubles_of(given_rows)
    ids = [each["id"] for trouble in troubles for each in trouble.rows()]
    assert sorted(ids) == sorted(each["id"] for each in given_rows)
    for trouble in troubles:
        assert len({(each["host"], each["state"], each["ours"]) for each in trouble.rows()}) == 1
        assert {queue.rows[0]["type"] for queue in trouble.queues} == {trouble.queues[0].rows[0]["type"]}
    incidents = incidents_of(given_rows)
    assert sum(each["count"] for each in incidents) <= sum(each["count"] or 1 for each in given_rows)


def incidents_of(given_rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each.incident() for each in queue_incidents(ranked(given_rows))]


def told(incidents: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    names = ("host", "service", "type", "cause", "count", "since")
    return sorted((*(str(each[name]) for name in names), sorted(each["episodes"])) for each in incidents)


@settings(max_examples=500, deadline=None)
@given(rows(), st.randoms(use_true_random=False))
def test_the_order_of_the_episodes_does_not_matter(given_rows: list[dict[str, Any]], chance: Any) -> None:
    shuffled = list(given_rows)
    chance.shuffle(shuffled)
    assert told(incidents_of(shuffled)) == told(incidents_of(given_rows))


def test_an_end_that_waits_for_a_process_takes_its_own_other_end_along() -> None:
    usual = {"host": "web1", "state": "over", "ours": 1, "size": 1}
    here = dict(zip(("local_ip", "local_port", "remote_ip", "remote_port"), (*SERVER, *CLIENT), strict=True))
    there = dict(zip(("local_ip", "local_port", "remote_ip", "remote_port"), (*CLIENT, *SERVER), strict=True))
    nowhere = dict.fromkeys(here)
    stopped = {"type": "RECV", "pid": 7, "comm": "redis", "cause": "reader-stopped", "count": 35}
    waits = {"type": "SEND", "pid": 8, "comm": "shop", "cause": "peer-not-reading", "peer_pid": 7}
    unknown = {"type": "RECV", "comm": "redis"}
    (trouble,) = troubles_of(
        [row(0, usual | nowhere | stopped), row(1, usual | there | waits), row(2, usual | here | unknown)]
    )
    assert [queue.rows[0]["id"] for queue in trouble.queues] == ["0"]
    assert [queue.rows[0]["id"] for queue in trouble.others] == ["1", "2"]


def test_a_queue_that_waits_for_a_process_does_not_take_the_others_of_its_service_along() -> None:
    place = {"host": "web1", "state": "over", "ours": 1}
    sends = [
        row(number, place | {"type": "SEND", "comm": "nginx", "pid": 5, "cause": "peer-not-reading", "size": 9,
                             "local_ip": "192.0.2.1", "local_port": 443, "remote_ip": "198.51.100.7",
                             "remote_port": 1024 + number, "peer_pid": 77 if number == 40 else None})
        for number in range(41)
    ]  # fmt: skip
    reader = row(99, place | {"type": "RECV", "comm": "batch", "pid": 77, "cause": "reader-stopped", "size": 9,
                              "local_ip": "127.0.0.1", "local_port": 9, "remote_ip": "127.0.0.1",
                              "remote_port": 8})  # fmt: skip
    found = {each["service"]: each for each in incidents_of([*sends, reader])}
    assert {name: each["count"] for name, each in found.items()} == {"nginx": 40, "batch": 1}
    assert found["batch"]["other_ends"] == ["28"]


@given(st.randoms())
def test_sockets_that_share_a_port_are_several(chance: Any) -> None:
    place = {"host": "web1", "state": "over", "ours": 1, "type": "ACCEPT", "comm": "nginx", "size": 9}
    ends = {"local_ip": "0.0.0.0", "local_port": 443, "remote_ip": None, "remote_port": None}
    of_workers = [
        row(
            number,
            place | ends | {"pid": number // 2, "condition": ("accept", "stalled")[number % 2], "drops": 9},
        )
        for number in range(16)
    ]
    of_one_process = [
        row(100 + number, place | ends | {"local_port": 80, "pid": 5, "condition": "accept", "drops": 9})
        for number in range(3)
    ]
    rows = [*of_workers, *of_one_process]
    chance.shuffle(rows)
    (incident,) = incidents_of(rows)
    assert (incident["count"], incident["drops"]) == (11, 99)
