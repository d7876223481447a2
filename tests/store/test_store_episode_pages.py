# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Episodes page by page: none twice, none left out, in any order, also where many have the same value."""

from __future__ import annotations

import random

import pytest
import requests
from sqlalchemy import text

from sockbpf.store.data.engine import open_engine
from sockbpf.store.data.episode_order import SORTS, cursor_behind, place_of, read_cursor
from sockbpf.store.data.episode_search import episodes_statement
from sockbpf.store.data.filters import parse
from sockbpf.store.data.migration import migrate
from tests.store.asking import Object, is_problem
from tests.store.serving import Store, engine_url, find, tell, told

SEED = 20_261_129
EPISODES = 83
HOSTS = ("web1", "Web2", "web-3", "schlüssel", "web1 ~<b>")


def fill(store: Store) -> None:
    """Keep episodes of few different values, hosts that collations sort differently among them."""
    dice = random.Random(SEED)
    for number in range(EPISODES):
        size = dice.choice((1, 4096, 70_000))
        alert = told(
            number,
            timestamp=f"{1_795_343_123 + dice.randrange(3)}.482913",
            host=HOSTS[number % len(HOSTS)],
            id=f"{'aB-c'[number % 4]}{number:x}",
            size=size,
            peak=size,
            local_port=dice.choice((443, 8443)),
            remote_port=dice.choice((443, 8443)),
        )
        assert tell(store, **alert).json() == {"new": True}


def pages(store: Store, **filters: object) -> list[list[Object]]:
    found: list[list[Object]] = []
    url = requests.Request("GET", f"{store.url}/episodes", params=filters).prepare().url
    while url:
        answer = requests.get(url, timeout=30)
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
        url = f"{store.url}{answer.links['next']['url']}" if "next" in answer.links else None
    return found


@pytest.mark.parametrize("sort", SORTS)
def test_the_pages_together_are_all_episodes_once(emptied: Store, sort: str) -> None:
    fill(emptied)
    for more in ({}, {"port": 443}):
        whole = find(emptied, "/episodes", sort=sort, limit=1000, **more)
        assert [(row[sort], row["host"], row["id"]) for row in whole] == sorted(
            ((row[sort], row["host"], row["id"]) for row in whole), reverse=True
        )
        paged = pages(emptied, sort=sort, limit=7, **more)
        assert [row for page in paged for row in page] == whole
        assert len(paged) == len(whole) // 7 + 1


def test_what_comes_and_goes_meanwhile_moves_nothing_else(emptied: Store) -> None:
    fill(emptied)
    before = {row["id"] for row in find(emptied, "/episodes", limit=1000)}
    seen: list[str] = []
    answer = requests.get(f"{emptied.url}/episodes", params={"limit": "11"}, timeout=30)
    number = 1000
    while True:
        seen += [row["id"] for row in answer.json()]
        # One that is newer than all, one that is older than all: neither moves the place of the rest.
        for at_s in (1_795_443_123, 1_795_243_123):
            number += 1
            assert tell(emptied, **told(number, timestamp=f"{at_s}.{number:06}", id=f"new{number}")).ok
        if "next" not in answer.links:
            break
        answer = requests.get(f"{emptied.url}{answer.links['next']['url']}", timeout=30)
    old = [id_ for id_ in seen if not id_.startswith("new")]
    assert len(old) == len(set(old)) == EPISODES
    assert set(old) == before


def test_a_cursor_is_not_believed(emptied: Store) -> None:
    for wrong in ("x", "1~zz~", "1~00", "-1~~", "1e9~~", "1~~\n", "9" * 20 + "~~", f"1~{'ab' * 1025}~"):
        answer = requests.get(f"{emptied.url}/episodes", params={"cursor": wrong}, timeout=30)
        assert is_problem(answer, 422), (wrong, answer.text)
    for sort in SORTS:
        for odd in ("0~~", "9" * 19 + ".9~00~ff", f"1.5~{'c3' * 1024}~"):
            answer = requests.get(f"{emptied.url}/episodes", params={"cursor": odd, "sort": sort}, timeout=30)
            assert answer.json() == [], (sort, odd)


def test_a_place_survives_its_way_through_a_cursor() -> None:
    for value in (1_795_343_123.482913, 0.1 + 0.2, 1e-7, 0.0, 2**62):
        row = {"start": value, "host": "schlüssel ~\ud7ff", "id": "é" * 256}
        read, host, id_ = read_cursor("cursor", cursor_behind(place_of(row, "start")))
        assert (float(read), host, id_) == (value, row["host"], row["id"])


@pytest.mark.not_clickhouse
@pytest.mark.parametrize(("open_", "index"), [({}, "episode_by"), ({"open": "true"}, "episode_open_by")])
@pytest.mark.parametrize("sort", SORTS)
def test_each_order_goes_by_its_index(database: str, sort: str, open_: dict[str, str], index: str) -> None:
    """A page needs no sorting, also where all episodes have the same value."""
    engine = open_engine(engine_url(database), connections=1)
    migrate(engine)
    wanted = parse([("sort", sort), ("cursor", "5~61~62"), *open_.items()], episodes=True)
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("set local enable_seqscan = off"))
            connection.execute(text("set local enable_sort = off"))
        explain = "explain query plan" if connection.dialect.name == "sqlite" else "explain"
        statement = episodes_statement(connection, wanted, {}, 0.0)
        compiled = statement.compile(engine, compile_kwargs={"literal_binds": True})
        plan = " ".join(str(row) for row in connection.exec_driver_sql(f"{explain} {compiled}"))
    engine.dispose()
    assert f"{index}_{sort}" in plan, plan
    assert "TEMP B-TREE" not in plan, plan
    assert "Sort" not in plan, plan
    assert "filesort" not in plan, plan
