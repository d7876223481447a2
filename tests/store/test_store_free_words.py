# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Words find an episode wherever they stand in its texts, page by page, however few episodes a page looks at."""

from __future__ import annotations

import random
from string import ascii_letters

import pytest
import requests

from sockbpf.store.data import episode_search as search
from sockbpf.store.data.engine import open_engine
from sockbpf.store.data.entry import alert_entry
from sockbpf.store.data.episode_order import cursor_behind
from sockbpf.store.data.filters import Filter, parse
from sockbpf.store.data.free_words import MOST_WORDS, SEARCHED
from sockbpf.store.data.migration import migrate
from sockbpf.store.data.rows import write
from tests.store.asking import Object, is_problem
from tests.store.serving import Store, engine_url, find, tell, told

SEED = 20_261_129
EPISODES = 211
NAMES = (
    "nginx", "NGINX worker", "100%", "100 percent", "a_b", "axb", "back\\slash", "back/slash", "it's", "<b>",
    "';drop table episode;--", "schlüssel", "SCHLÜSSEL", "\u202egnp", "tab\there", "\0nul", "x" * 256,
    ".*", "[a-z]", "",
)  # fmt: skip
TEXTS = ("comm", "unit", "container", "user", "name", "reason")
WORDS = (
    "nginx", "NgInX", "%", "_", "a_b", "\\", "/", "'", "drop", "ü", "schlüssel", "SCHLÜSSEL", "\u202e", "\t", "\0",
    "xxx", ".*", "[a-z]", "web1", "192.0.2.1", "reader-slow", "nobody", '"NGINX worker"', "slash nginx", '"', '" " %',
    "a b", "i n g", "percent 100",
)  # fmt: skip


def hostile(dice: random.Random, number: int) -> dict[str, str]:
    """Return an alert of an episode of its own, with hostile names; many have the same time and size."""
    given = {name: dice.choice(NAMES) for name in TEXTS if dice.random() < 0.4}
    ends = {"local_port": dice.choice((443, 8443)), "remote_port": dice.choice((443, 8443))}
    at = {"timestamp": f"{1_795_343_123 + dice.randrange(40)}.5", "peak": dice.choice((3_000_000, 4_000_000))}
    size = {"size": at["peak"], "host": dice.choice(("web1", "Web2", "schlüssel")), "cause": "reader-slow"}
    return told(number, **at | size | ends | given)


def has(episode: Object, text: str) -> bool:
    """Whether an episode has all words of a text, by a plain look at its texts."""

    def low(value: object) -> str:
        return "".join(c.lower() if c in ascii_letters else c for c in str(value or ""))

    pieces = text.split('"')  # every other one is within quotes
    assert len(pieces) % 2 or text == '"'
    words = [word for place, each in enumerate(pieces) for word in ([each] if place % 2 else each.split(" "))]
    texts = [low(episode[name]) for name in SEARCHED]
    return all(any(low(word).replace("\0", "\ufffd") in each for each in texts) for word in words)


@pytest.mark.not_clickhouse
def test_words_find_what_a_plain_look_finds(emptied: Store) -> None:
    dice = random.Random(SEED)
    for number in range(EPISODES):
        assert tell(emptied, **hostile(dice, number)).json() == {"new": True}
    everything = find(emptied, "/episodes", limit=1000)
    assert len(everything) == EPISODES
    found = 0
    for word in WORDS:
        for further in ({}, {"port": 443}, {"sort": "peak", "type": "RECV"}):
            answer = find(emptied, "/episodes", limit=1000, text=word, **further)
            whole = find(emptied, "/episodes", limit=1000, **further)
            assert answer == [row for row in whole if has(row, word)], (word, further)
            found += len(answer)
    assert found > EPISODES


def test_a_text_that_is_too_long_is_refused(emptied: Store) -> None:
    url = f"{emptied.url}/episodes"
    for wrong in ("x" * 201, " ".join("abcdefghi"), '"' + " ".join("abcdefghi") + '"', "a " * 9):
        assert is_problem(requests.get(url, params={"text": wrong}, timeout=30), 422), wrong
    assert is_problem(requests.get(url, params=[("text", "a"), ("text", "b")], timeout=30), 422)
    assert is_problem(requests.get(f"{emptied.url}/timeline", params={"text": "a"}, timeout=30), 422)
    for fits in ("x" * 200, " ".join("abcdefgh"), " " * 200, '""', ""):
        assert requests.get(url, params={"text": fits}, timeout=30).json() == [], fits


def wanted(**given: object) -> Filter:
    return parse([(name.rstrip("_"), str(value)) for name, value in given.items()], episodes=True)


@pytest.mark.parametrize("sort", ["start", "peak"])
@pytest.mark.parametrize("looked_at", [pytest.param(1, marks=pytest.mark.not_clickhouse), 13, EPISODES])
def test_pages_that_look_at_few_are_together_all_once(
    database: str, monkeypatch: pytest.MonkeyPatch, sort: str, looked_at: int
) -> None:
    monkeypatch.setattr(search, "LOOKED_AT", looked_at)
    dice = random.Random(SEED)
    engine = open_engine(engine_url(database), connections=1)
    migrate(engine)
    alerts = [hostile(dice, number) for number in range(EPISODES)]
    with engine.begin() as connection:
        write(connection, [alert_entry(alert) for alert in alerts])
    with engine.begin() as connection:
        for given in (
            {"text": "nginx"},
            {"text": "nobody"},
            {"text": "ginx web1", "port": 443},
            {"text": ""},
        ):
            given |= {"sort": sort, "limit": 5}
            whole, _ = search.find_page(connection, wanted(**given | {"text": "", "limit": 1000}), 0.0)
            expected = [(row["host"], row["id"]) for row in whole if has(row, str(given["text"]))]
            found: list[tuple[str, str]] = []
            pages = 0
            cursor: dict[str, object] = {}
            while True:
                rows, end = search.find_page(connection, wanted(**given, **cursor), 0.0)
                found += [(row["host"], row["id"]) for row in rows]
                pages += 1
                if end is None:
                    break
                assert len(rows) == 5 or given["text"], "only words make a page short"
                cursor = {"cursor": cursor_behind(end)}
            assert found == expected, given
            if given["text"] and looked_at == 1:
                assert pages == len(whole) + 1
    engine.dispose()


def test_as_many_words_as_there_may_be_are_all_looked_for(emptied: Store) -> None:
    assert tell(emptied, **told(1, comm="a b c d e f g h")).ok
    text = " ".join("abcdefgh")
    assert len(text.split()) == MOST_WORDS
    assert len(find(emptied, "/episodes", text=text)) == 1
    assert find(emptied, "/episodes", text=text[:-1] + "z") == []
