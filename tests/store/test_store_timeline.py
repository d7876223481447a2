# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`GET /timeline` through HTTP: what was told is counted once, whatever else happens to it."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from sqlalchemy import text

from sockbpf.store.data.engine import open_engine
from tests.live.waiting import until
from tests.store.asking import delete, get, is_problem
from tests.store.conftest import StartStore
from tests.store.serving import TOKEN, Store, engine_url, find, tell, told
from tests.store.timeline_model import differences

SEED = 20_261_129
BEGIN_S = 1_795_343_000
SPAN_S = 900
EPISODES = 61


def history(dice: random.Random) -> list[dict[str, str]]:
    """Return the alerts of some episodes, in any order, some of them twice."""
    alerts = []
    for number in range(EPISODES):
        start_s, lasts_s = BEGIN_S + dice.uniform(0, SPAN_S - 300), dice.uniform(0.001, 290)
        owner = dice.choice(({"comm": "nginx"}, {"unit": "db.service"}, {"comm": "<b>=1"}, {}))
        fixed: dict[str, Any] = {
            "id": f"e{number}",
            "type": dice.choice(("SEND", "RECV")),
            "host": f"web{number % 3}",
        }
        for step, event in enumerate(("exceeded", "ongoing", "cleared")[: dice.randrange(1, 4)]):
            at_s = start_s + lasts_s * step / 2
            alert = told(
                3 * number + step, event=event, timestamp=f"{at_s:.6f}", duration=f"{at_s - start_s:.6f}",
                size=dice.choice((512, 4096, 70_000)), threshold=1024, fill=dice.randrange(1, 100), **fixed,
            )  # fmt: skip
            del alert["comm"], alert["pid"]
            alerts.append(alert | owner)
    twice = [*alerts, *dice.sample(alerts, 20)]
    dice.shuffle(twice)
    return twice


def timeline(store: Store, **asked: object) -> dict[str, Any]:
    given = {"from_": BEGIN_S, "to": BEGIN_S + SPAN_S} | asked
    return find(store, "/timeline", **given)  # type: ignore[return-value]


def agrees(store: Store, **asked: object) -> dict[str, Any]:
    """Return the timeline, which must be that of what the store shows alert by alert."""
    answer = timeline(store, **asked)
    chosen = {name: value for name, value in asked.items() if name in {"host", "type", "port"}}
    alerts, episodes = get(store, limit=1000, **chosen), find(store, "/episodes", limit=1000, **chosen)
    assert not differences(answer, alerts, episodes, exact_worst=False), asked
    assert not answer["partial"]
    return answer


def test_alerts_in_any_order_and_twice_are_counted_once(emptied: Store) -> None:
    for alert in history(random.Random(SEED)):
        assert tell(emptied, **alert).ok
    whole = agrees(emptied)
    assert whole["width"] == 20
    assert len(whole["times"]) == 46 - (BEGIN_S % 10 == 0)
    assert [each["service"] for each in whole["services"]] != []
    assert {each["service"] for each in whole["services"]} == {"nginx", "db.service", "<b>=1", "tcp 8443"}
    agrees(emptied, top=1)
    agrees(emptied, buckets=7)
    agrees(emptied, host="web1")
    agrees(emptied, type="SEND", host="web2")
    agrees(emptied, port=8443)
    by_name = timeline(emptied, service="nginx")
    assert by_name["open_s"] == next(
        each["open_s"] for each in whole["services"] if each["service"] == "nginx"
    )
    # The same by the rows, which another filter asks for.
    by_rows = timeline(emptied, port=8443)
    assert by_rows == whole
    wide = timeline(emptied, from_=BEGIN_S - 86400 * 30, to=BEGIN_S + 86400)
    assert sum(sum(of["exceeded"]) for of in wide["counts"].values()) == EPISODES


def test_what_is_deleted_is_no_longer_counted(erasable: Store) -> None:
    alerts = history(random.Random(SEED + 1))
    for alert in alerts:
        assert tell(erasable, **alert).ok
    assert delete(erasable, before=BEGIN_S + 300).ok
    left = timeline(erasable)
    kept = requests.get(
        f"{erasable.url}/store.json", params={"limit": "1000"}, headers=erasable.headers, timeout=30
    ).json()
    episodes = find(erasable, "/episodes", limit=1000)
    assert 0 < len(kept) < len({(alert["id"], alert["event"]) for alert in alerts})
    assert not differences(left, kept, episodes, exact_worst=False)
    assert delete(erasable, before=BEGIN_S + 2 * SPAN_S).ok
    nothing = timeline(erasable)
    assert (nothing["counts"], nothing["services"], sum(nothing["open_s"])) == ({}, [], 0.0)


def test_two_stores_count_each_alert_once(start: StartStore, shared: str) -> None:
    stores = [start(shared), start(shared)]
    alerts = history(random.Random(SEED + 2))

    def both(alert: dict[str, str]) -> bool:
        return all(tell(store, **alert).ok for store in random.Random(alert["seq"]).sample(stores, 2))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(both, alerts))
    assert agrees(stores[0]) == agrees(stores[1])


def test_a_restarted_store_goes_on_counting(start: StartStore, database: str) -> None:
    alerts = history(random.Random(SEED + 3))
    for part in (alerts[::2], alerts[1::2]):
        store = start(database)
        for alert in part:
            assert tell(store, **alert).ok
        agrees(store)
        store.stop()


def test_without_a_window_it_is_of_the_last_quarter_of_an_hour(emptied: Store) -> None:
    now = time.time()
    assert tell(emptied, **told(1, timestamp=f"{now - 60:.6f}")).ok
    assert tell(emptied, **told(2, timestamp=f"{now - 1000:.6f}")).ok
    answer = find(emptied, "/timeline")
    assert sum(answer["counts"]["RECV"]["exceeded"]) == 1  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "asked",
    [
        "buckets=0", "buckets=241", "top=51", "top=x", "buckets=1&buckets=2",
        "open=true", "limit=3", "rack=r1", "event=cleared", "type=X", "from=x", "service=a&service=b", "cursor=1~~",
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(lasting: Any, asked: str) -> None:
    assert is_problem(requests.get(f"{lasting('sqlite').url}/timeline?{asked}", timeout=30), 422)


def test_any_window_is_answered(emptied: Store) -> None:
    for at_s in (0, 1, 5_000_000_000, 253_402_300_799):
        number = at_s % 1009
        assert tell(emptied, **told(number, timestamp=str(at_s), id=f"e{at_s}", duration=10**9)).ok
    for window in (
        {"from_": 0, "to": 10**18},
        {"from_": -5, "to": 1e300},
        {"from_": 253402300798, "to": 1e18},
    ):
        answer = find(emptied, "/timeline", **window)
        assert len(answer["times"]) <= 61  # type: ignore[call-overload]
    for window in (
        {"from_": 5, "to": 5},
        {"from_": 1e300},
        {"to": -1e300},
        {"from_": 253402300801, "to": 1e18},
    ):
        nothing = find(emptied, "/timeline", **window)
        assert (nothing["times"], nothing["open_s"], nothing["partial"]) == ([], [], False)  # type: ignore[call-overload]


@pytest.mark.not_clickhouse
def test_an_altered_row_is_counted_no_more(start: StartStore, database: str) -> None:
    store = start(database, token=TOKEN)
    for number in range(7):
        assert tell(store, **told(number, timestamp=f"{BEGIN_S + 5 + number}", id=f"e{number}")).ok
    engine = open_engine(engine_url(database), connections=1)
    with engine.begin() as connection:
        connection.execute(text("update entry set size = 7 where id = 'e3'"))
        connection.execute(text("update episode set peak = 7 where id = 'e3'"))
    engine.dispose()
    assert len(get(store)) == 6
    assert len(find(store, "/episodes")) == 6

    def counted() -> int:
        numbers = timeline(store)["counts"].get("RECV", {}).get("exceeded", [0])
        return sum(number or 0 for number in numbers)

    until(lambda: counted() == 6 and not timeline(store)["partial"], lambda: f"{counted()} are counted")
