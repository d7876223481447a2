# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`GET /now` and `GET /hosts`: incidents, not sockets; the worst first; what is silent or blind is one too."""

from __future__ import annotations

import json
import time

import pytest
import requests
from sqlalchemy import text

from sockbpf.store.data.engine import open_engine
from sockbpf.store.data.schema import EPISODE
from sockbpf.store.data.turn import take_turn
from tests.live.waiting import until
from tests.store.asking import is_problem
from tests.store.now_telling import ABOUT, NOW_S, READER, age, ask, say
from tests.store.serving import Store, database_of_store, told


def test_nothing_is_wrong(emptied: Store) -> None:
    nothing = ask(emptied, "/now")
    assert (nothing["incidents"], nothing["count"], nothing["truncated"]) == ([], 0, False)
    assert nothing["hosts"] == {"heard": 0, "silent": 0, "stopped": 0, "all_heard_since": None}
    say(emptied, 1, event="heartbeat", **ABOUT)
    say(emptied, 2, event="exceeded")
    say(emptied, 3, event="cleared", id=told(2)["id"])
    now = ask(emptied, "/now")
    assert (now["incidents"], now["episodes"]["over"]) == ([], 0)
    assert now["hosts"]["heard"] == 1
    assert abs(now["hosts"]["all_heard_since"] - time.time()) < 60


def test_queues_of_one_service_and_cause_are_one_incident(emptied: Store) -> None:
    for number in range(7):
        say(emptied, number, unit="nginx.service", size=2_000_000 + number, fill=90 + number, **READER)
    say(emptied, 8, unit="nginx.service", cause="reader-slow")
    say(emptied, 9, host="web2", unit="nginx.service", **READER)
    say(emptied, 10, count=40, comm="psql", severity="critical", size=1_048_577)
    say(emptied, 11, comm="psql", type="SEND", size=90_000_000)
    found = ask(emptied, "/now")
    assert [(each["host"], each["service"], each["count"]) for each in found["incidents"]] == [
        ("web1", "psql", 40), ("web1", "psql", 1), ("web1", "nginx.service", 7),
        ("web2", "nginx.service", 1), ("web1", "nginx.service", 1),
    ]  # fmt: skip
    nginx = found["incidents"][2]
    assert (nginx["size"], nginx["fill"], nginx["since"]) == (2_000_006, 96, NOW_S - 50)
    assert nginx["reason"] == "it is stopped"
    assert len(nginx["episodes"]) == 7
    assert (found["episodes"]["over"], found["count"]) == (11, 5)
    assert nginx["change"] is None
    say(emptied, 20, unit="nginx.service", size=2_000_034, id=told(6)["id"], event="ongoing", **READER)
    assert ask(emptied, "/now")["incidents"][2]["change"] == 2  # bytes a second, over 14 s
    some = ask(emptied, "/now", limit=2)
    assert (len(some["incidents"]), some["count"], some["truncated"]) == (2, 5, True)
    assert [each["host"] for each in ask(emptied, "/now", host="web2")["incidents"]] == ["web2"]


def test_an_answer_is_json_whatever_was_told(emptied: Store) -> None:
    for seq, timestamp, size in ((1, "0", 0), (2, "1e-300", 2**63 - 1)):
        say(emptied, seq, id="0a", timestamp=timestamp, size=size, duration=0)
    said = requests.get(f"{emptied.url}/now", headers=emptied.headers, timeout=30).text
    (one,) = json.loads(said, parse_constant=pytest.fail)["incidents"]
    assert one["change"] is None


@pytest.mark.parametrize("first", [0, 1])
def test_both_ends_are_one_incident_led_by_the_cause(emptied: Store, first: int) -> None:
    ends = [
        {"id": "0a", "type": "SEND", "comm": "curl", "cause": "peer-not-reading", "peer_id": "0b"},
        {"id": "0b", "type": "RECV", "comm": "nginx", "peer_id": "0a", **READER},
    ]
    for number in (first, 1 - first):
        say(emptied, number, size=9_000_000 - number, **ends[number])
    (one,) = ask(emptied, "/now")["incidents"]
    assert (one["service"], one["cause"], one["count"]) == ("nginx", "reader-stopped", 1)
    assert (one["episodes"], one["other_ends"], one["since"]) == (["0b"], ["0a"], NOW_S - 50)


def test_the_conditions_of_one_queue_are_one_socket_and_follow_its_other_end_by_the_addresses(
    emptied: Store,
) -> None:
    server = {"local_port": 5432, "remote_ip": "192.0.2.1", "remote_port": 40000}
    client = {"local_port": 40000, "remote_ip": "192.0.2.1", "remote_port": 5432}
    to_send = {"type": "SEND", "comm": "postgres", "cause": "peer-not-reading", **server}
    say(emptied, 1, **to_send, size=3_000_000)
    say(emptied, 2, **to_send, size=3_000_000, threshold=1024, condition="stalled")
    say(emptied, 3, **to_send, size=3_000_000, netns=7)
    say(emptied, 4, **client, comm="psql", **READER)
    say(emptied, 5, **client, comm="psql", threshold=1024, condition="stalled", count=1)
    own, other = sorted(
        ask(emptied, "/now")["incidents"], key=lambda each: str(each["service"]), reverse=True
    )
    assert (own["service"], own["count"], own["since"]) == ("psql", 1, NOW_S - 49)
    assert own["reason"] == "it is stopped"
    assert (own["episodes"], own["other_ends"]) == ([told(4)["id"]], [told(2)["id"]])
    assert (other["service"], other["netns"], other["count"]) == ("postgres", 7, 1)


def test_folded_queues_are_with_the_others_of_their_service_and_with_who_is_to_blame(emptied: Store) -> None:
    server, client = {"comm": "redis", "pid": 7}, {"comm": "shop", "pid": 8, "type": "SEND"}
    for number in range(5):
        say(emptied, number, **server, **READER, peer_pid=8, peer_comm="shop")
    say(emptied, 5, **server, count=35, size=90_000_000)
    say(emptied, 6, **client, cause="peer-not-reading", peer_pid=7, peer_comm="redis")
    say(emptied, 7, **client, count=39)
    say(emptied, 8, comm="mail", pid=9, type="SEND", cause="peer-not-reading", peer_pid=10)
    say(emptied, 9, comm="mail", pid=7, type="SEND", cause="device-queue", peer_pid=7)
    found = {(each["service"], each["cause"]): each for each in ask(emptied, "/now")["incidents"]}
    assert set(found) == {("redis", "reader-stopped"), ("mail", "peer-not-reading"), ("mail", "device-queue")}
    redis = found["redis", "reader-stopped"]
    assert (redis["count"], redis["reason"]) == (40, "it is stopped")
    assert sorted(redis["other_ends"]) == [told(6)["id"], told(7)["id"]]
    assert redis["other_services"] == ["shop"]


def test_silent_hosts_and_blind_monitors_are_incidents(emptied: Store) -> None:
    for number, host in enumerate(("dead", "poll", "well", "away")):
        mode = {"mode": "poll"} if host == "poll" else {}
        say(emptied, number, event="heartbeat", host=host, **ABOUT | mode)
        say(emptied, 10 + number, host=host, size=2_000_000)
    age(emptied, 1000, "dead")
    say(emptied, 20, event="stopped", host="away")
    found = ask(emptied, "/now")
    assert [(each["kind"], each["host"], each["state"]) for each in found["incidents"]] == [
        ("silent-host", "dead", "silent"), ("queues", "poll", "over"), ("queues", "well", "over"),
        ("blind-monitor", "poll", "over"), ("queues", "away", "not-heard"),
    ]  # fmt: skip
    assert found["incidents"][0]["count"] == 1
    assert found["hosts"]["silent"] == found["hosts"]["stopped"] == 1
    hosts = ask(emptied, "/hosts")
    assert [(each["host"], each["state"], each["over"]) for each in hosts["hosts"]] == [
        ("dead", "silent", 0), ("poll", "heard", 1), ("away", "stopped", 0), ("well", "heard", 1),
    ]  # fmt: skip
    assert hosts["hosts"][1]["blind"] == ["it watches by polling: short crossings are not seen"]
    states = {each["host"]: each["state"] for each in ask(emptied, "/now", open="true")["open"]}
    assert states == {"dead": "silent", "poll": "over", "well": "over", "away": "not-heard"}
    assert is_problem(requests.get(f"{emptied.url}/now?open=false", timeout=30), 422)
    assert [each["host"] for each in ask(emptied, "/hosts", state="silent")["hosts"]] == ["dead"]
    assert ask(emptied, "/hosts", limit=1)["truncated"]
    assert ask(emptied, "/hosts", host="well")["hosts"][0]["host"] == "well"


def test_a_host_says_what_its_monitor_told(emptied: Store) -> None:
    say(emptied, 1, event="started", **ABOUT)
    counts = {
        "delivered": 7,
        "lost_submit": 3,
        "dropped": 2,
        "lost_ago": "5.5",
        "open_episodes": 4,
        "nonsense": 9,
    }
    say(
        emptied,
        2,
        event="heartbeat",
        **ABOUT | counts | {"kernel": "k" * 999, "retried": "many", "sweeps": -1},
        labels="role=a%3Bb=c;dc=fra1;no;9=9;x=",
    )
    (host,) = ask(emptied, "/hosts")["hosts"]
    assert host["labels"] == {"dc": "fra1", "role": "a;b=c"}
    assert host["counters"] == {"delivered": 7, "lost_submit": 3, "dropped": 2}
    assert (host["lost"], host["open"], host["kernel"]) == (5, 4, "k" * 256)
    assert host["lost_at"] == NOW_S - 50 + 2 - 5.5
    assert (host["run"], host["since"], host["last"]) == ("r1", NOW_S - 49, NOW_S - 48)
    assert "lost" in host["blind"][0]


@pytest.mark.not_clickhouse
def test_a_damaged_host_is_made_again_of_what_it_told(emptied: Store) -> None:
    say(emptied, 1, event="heartbeat", **ABOUT)
    was = ask(emptied, "/hosts")["hosts"]
    engine = open_engine(database_of_store(emptied), connections=1)
    with engine.begin() as connection:
        connection.execute(text("update host set kernel = 'another'"))
    engine.dispose()
    assert ask(emptied, "/hosts")["hosts"] == was


def test_what_makes_no_sense_is_refused(emptied: Store) -> None:
    for query in (
        "now?limit=0", "now?limit=1001", "now?limit=x", "now?host=", "now?state=silent", "now?limit=1&limit=2",
        "hosts?state=dead", "hosts?open=1", "hosts?limit=", "hosts?label=dc", "hosts?label=9=x", "hosts?blind=yes",
        "hosts?host=a&host=b", "hosts?cursor=1", "hosts?cursor=1~", "hosts?" + "&".join(["label=a=b"] * 17),
    ):  # fmt: skip
        answer = requests.get(f"{emptied.url}/{query}", headers=emptied.headers, timeout=9)
        assert is_problem(answer, 422), query


@pytest.mark.not_clickhouse
def test_an_answer_is_of_the_latest_commit_also_of_another_process(emptied: Store) -> None:
    """Answers are kept, and what has not changed is not made again: nobody may notice."""

    def shown() -> list[tuple[str, str, int]]:
        found = ask(emptied, "/now", limit=1000)
        assert found["episodes"]["over"] == sum(each["count"] for each in found["incidents"])
        return sorted((each["host"], each["comm"], each["count"]) for each in found["incidents"])

    expected: dict[tuple[str, str], int] = {}
    for number in range(40):
        host, comm = f"web{number % 3}", f"worker{number % 4}"
        say(emptied, number, host=host, comm=comm)
        expected[host, comm] = expected.get((host, comm), 0) + 1
        assert shown() == [(*key, count) for key, count in sorted(expected.items())]
    say(emptied, 50, host="web0", id=told(0)["id"], event="cleared", comm="worker0")
    expected["web0", "worker0"] -= 1
    assert shown() == [(*key, count) for key, count in sorted(expected.items())]
    of_one = {"host": "web0", "id": told(3)["id"], "comm": "worker3", "event": "ongoing", "timestamp": NOW_S}
    for number, size in enumerate((3_000_000, 2_000_000, 9_000_000), 60):
        say(emptied, number, **of_one, size=size)
        assert ask(emptied, "/now", limit=1000)["incidents"][0]["size"] == size
    until(lambda: ask(emptied, "/now")["at"] == ask(emptied, "/now")["at"], "an answer is kept")
    engine = open_engine(database_of_store(emptied), connections=1)
    with engine.begin() as connection:
        take_turn(connection)  # as every store does
        connection.execute(EPISODE.delete().where(EPISODE.c.host == "web1"))
        connection.execute(EPISODE.update().where(EPISODE.c.host == "web2").values(comm="altered"))
    engine.dispose()
    assert {each["comm"] for each in ask(emptied, "/now", limit=1000)["incidents"]} == {
        f"worker{number}" for number in range(4)
    }
    assert {(host, count) for host, _, count in shown() if host != "web0"} == {("web2", 3), ("web2", 4)}
