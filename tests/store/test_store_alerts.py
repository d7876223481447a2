# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The monitor's requests are kept, once each, and found again as they were."""

from __future__ import annotations

import requests

from tests.store.serving import Store, told


def get(store: Store, **filters: object) -> list[dict[str, object]]:
    answer = requests.get(
        f"{store.url}/store.json", params={k: str(v) for k, v in filters.items()}, timeout=9
    )
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def send(store: Store, **parameters: str) -> requests.Response:
    return requests.get(f"{store.url}/alert", params=parameters, timeout=9)


def test_the_same_alert_twice_is_kept_once(store: Store) -> None:
    first, again = send(store, **told(1)), send(store, **told(1))
    assert (first.json(), again.json()) == ({"new": True}, {"new": False})
    (kept,) = get(store)
    sent = told(1)
    assert {name: str(value) for name, value in kept.items()} == sent | {
        "timestamp": str(float(sent["timestamp"])),
        "duration": "0.0",
    }
    assert isinstance(kept["size"], int)


def test_an_episode_is_told_from_its_alerts_in_any_order(store: Store) -> None:
    for event, second, size, seq in (
        ("exceeded", 0, 2_000_000, 1),
        ("cleared", 90, 10, 3),
        ("ongoing", 60, 5_000_000, 2),
    ):
        timestamp = f"{1_795_000_000 + second}.000000"
        answer = send(
            store,
            **told(7, event=event, timestamp=timestamp, duration=second, size=size, peak=5_000_000, seq=seq),
        )
        assert answer.json() == {"new": True}
    (episode,) = requests.get(f"{store.url}/episodes", timeout=9).json()
    assert episode["start"] == 1_795_000_000
    assert episode["end"] == episode["last"] == 1_795_000_090
    assert (episode["size"], episode["peak"], episode["alerts"]) == (10, 5_000_000, 3)
    assert requests.get(f"{store.url}/episodes?open=true", timeout=9).json() == []


def test_what_makes_no_sense_is_refused_and_not_kept(store: Store) -> None:
    for changed in (
        {"event": "burst"}, {"size": "-1"}, {"size": "1e9"}, {"size": "9" * 30}, {"timestamp": "nan"},
        {"timestamp": ""}, {"protocol": "sctp"}, {"type": "BOTH"}, {"local_ip": "1.2.3"}, {"id": ""},
        {"host": ""}, {"seq": "one"}, {"local_port": "٣"},
    ):  # fmt: skip
        answer = send(store, **(told(1) | changed))
        assert answer.status_code == 422, changed
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["detail"].startswith(next(iter(changed)))
    assert get(store) == []


def test_a_heartbeat_is_kept_with_its_counters(store: Store) -> None:
    beat = {
        "event": "heartbeat",
        "timestamp": "1795343123.000001",
        "host": "web1",
        "seq": "7",
        "delivered": "12",
    }
    assert send(store, **beat).json() == {"new": True}
    assert send(store, **beat).json() == {"new": False}
    (kept,) = get(store, event="heartbeat", delivered=12)
    assert kept["delivered"] == "12"
    assert requests.get(f"{store.url}/episodes", timeout=9).json() == []
