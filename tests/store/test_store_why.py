# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Why, whose and the other end: found by, shown in episodes, and added to a database that knew nothing of them."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from tests.store.altering import third_edition
from tests.store.asking import get, is_problem, post
from tests.store.conftest import StartStore
from tests.store.serving import Store, find, tell, told

WHY = {"cause": "reader-stopped", "confidence": "high", "reason": "nginx (pid 4711) is stopped"}
WHOSE = {"unit": "nginx.service", "container": "0123456789ab", "user": "www-data"}
PEER = {"peer_pid": "12312", "peer_comm": "psql", "peer_id": "00000000000003e9"}
ALL = {**WHY, **WHOSE, **PEER}
HOSTILE = "\u202e\x1b[1m<b>@all\n=cmd()" + "x" * 1009


def keep(store: Store, number: int, **changed: object) -> None:
    answer = tell(store, **told(number, **changed))
    assert answer.status_code == 200, answer.text


def episode(store: Store, **filters: object) -> dict[str, Any]:
    (found,) = find(store, "/episodes", **filters)
    return found


@pytest.mark.parametrize("name", ["cause", "unit", "container", "user"])
def test_it_is_found_by(emptied: Store, name: str) -> None:
    keep(emptied, 1, **ALL)
    keep(emptied, 2, **ALL | {"cause": "reader-slow"} | dict.fromkeys(WHOSE, "another"))
    keep(emptied, 3)
    assert [each["seq"] for each in get(emptied, **{name: ALL[name]})] == [1]
    assert episode(emptied, **{name: ALL[name]})["id"] == told(1)["id"]


def test_it_is_found_by_all_of_it_at_once_also_where_it_was_posted(emptied: Store) -> None:
    keep(emptied, 1, **ALL)
    keep(emptied, 2, **ALL | {"user": "root"})
    post(emptied, {"seq": 3, **WHOSE})
    assert [each["seq"] for each in get(emptied, **WHOSE)] == [3, 1]
    assert [each["seq"] for each in get(emptied, cause=WHY["cause"], **WHOSE)] == [1]


def test_an_episode_says_it_all(emptied: Store) -> None:
    keep(emptied, 1)
    nothing = episode(emptied)
    assert {nothing[name] for name in ALL} == {None}
    keep(emptied, 1, seq=2, timestamp=1_795_343_200, event="ongoing", **ALL)
    assert episode(emptied).items() >= {**ALL, "peer_pid": 12312}.items()
    assert get(emptied, cause=WHY["cause"])[0].items() >= {**ALL, "peer_pid": 12312}.items()


def test_what_is_said_of_a_cause_goes_with_it_and_the_rest_stays(emptied: Store) -> None:
    keep(emptied, 1, **ALL)
    keep(emptied, 1, seq=2, timestamp=1_795_343_200, event="ongoing", cause="unknown")
    now = episode(emptied)
    assert (now["cause"], now["confidence"], now["reason"]) == ("unknown", None, None)
    assert now.items() >= (WHOSE | {"peer_id": PEER["peer_id"]}).items()
    keep(emptied, 1, seq=3, timestamp=1_795_343_210, event="cleared")  # nobody has asked
    keep(emptied, 1, seq=0, timestamp=1_795_343_000, event="ongoing", **ALL)  # it comes late
    assert episode(emptied)["cause"] == "unknown"


def test_hostile_names_are_kept_as_they_are_and_bounded(emptied: Store) -> None:
    keep(emptied, 1, **dict.fromkeys(("unit", "user", "reason", "peer_comm"), HOSTILE))
    shown = episode(emptied)
    assert {shown[name] for name in ("unit", "user", "reason", "peer_comm")} == {HOSTILE[:256]}
    assert get(emptied)[0]["reason"] == HOSTILE
    assert find(emptied, "/episodes", unit=HOSTILE)
    keep(emptied, 2, reason="=cmd()")
    headers = {**emptied.headers, "Accept": "text/csv"}
    found = requests.get(f"{emptied.url}/store.json?id={told(2)['id']}", headers=headers, timeout=30)
    assert '"\'=cmd()"' in found.text


def test_a_cause_that_there_is_not_is_refused(emptied: Store) -> None:
    assert tell(emptied, **told(1, cause="bad luck")).status_code == 422
    asked = requests.get(f"{emptied.url}/episodes?cause=luck", headers=emptied.headers, timeout=30)
    assert is_problem(asked, 422)
    shown = requests.get(f"{emptied.url}/episodes?reason=x", headers=emptied.headers, timeout=30)
    assert is_problem(shown, 422)


@pytest.mark.not_clickhouse
@pytest.mark.not_mysql
def test_a_database_of_the_third_edition_gets_it(start: StartStore, database: str) -> None:
    first = start(database)
    for number in range(53):
        keep(first, number)
    entries, episodes = get(first, limit=1000), find(first, "/episodes", limit=1000)
    assert first.stop() == 0
    third_edition(database)
    store = start(database)
    assert get(store, limit=1000) == entries
    assert find(store, "/episodes", limit=1000) == episodes
    keep(store, 7, seq=1009, timestamp=1_795_343_200, event="ongoing", **ALL)
    now = episode(store, unit=WHOSE["unit"])
    assert (now["alerts"], now["id"], now["reason"]) == (2, told(7)["id"], WHY["reason"])
    assert [each["seq"] for each in get(store, cause=WHY["cause"])] == [1009]
    assert len(get(store, limit=1000)) == len(entries) + 1
