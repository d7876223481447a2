"""Whoever listens is told what comes in, at once, and after a pause from where it left off."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests

from tests.live.waiting import until
from tests.store.conftest import StartStore
from tests.store.serving import Store, post, tell, told

Event = tuple[int, dict[str, Any]]


@contextmanager
def listening(store: Store, **headers: str) -> Iterator[Iterator[Event]]:
    """Listen; yield the events, number and object."""
    before = listeners(store)
    with requests.get(f"{store.url}/stream", headers=headers, stream=True, timeout=30) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        until(lambda: listeners(store) > before, "it listens")
        yield events(answer)


def events(answer: requests.Response) -> Iterator[Event]:
    said: dict[str, str] = {}
    for line in answer.iter_lines(chunk_size=1):
        if line:
            name, _, value = line.decode().partition(": ")
            said[name] = value
        elif "data" in said:
            assert said["event"] == "alert"
            yield int(said["id"]), json.loads(said["data"])
            said = {}


def listeners(store: Store) -> int:
    lines = requests.get(f"{store.url}/metrics", timeout=9).text.splitlines()
    (line,) = (line for line in lines if line.startswith("sockbpf_store_listeners "))
    return int(float(line.split()[1]))


def resumed(number: int) -> dict[str, str]:
    return {"Last-Event-ID": str(number)}


def test_what_comes_is_told_at_once_and_what_was_there_is_not(store: Store) -> None:
    assert tell(store, **told(1)).ok
    with listening(store) as said:
        begun_s = time.monotonic()
        assert tell(store, **told(2)).ok
        assert tell(store, **told(2)).ok  # known already
        post(store, {"key": "value"})
        assert next(said)[1]["seq"] == 2
        assert next(said)[1] == {"key": "value"}
        assert time.monotonic() - begun_s < 5


def test_it_goes_on_from_where_it_left_off(store: Store) -> None:
    for number in range(1009):
        post(store, {"number": number}) if number % 101 == 0 else None
    post(store, [{"number": number} for number in range(2003)])
    with listening(store, **resumed(0)) as said:
        everything = [next(said) for _ in range(10 + 2003)]
    assert [each["number"] for _, each in everything] == [*range(0, 1009, 101), *range(2003)]
    assert [n for n, _ in everything] == sorted({n for n, _ in everything})
    middle, _ = everything[1500]
    with listening(store, **resumed(middle)) as said:
        assert [next(said) for _ in range(512)] == everything[1501:]


def test_a_number_that_is_still_to_come_is_taken_for_the_newest(store: Store) -> None:
    """As a page left open has it when the database was made anew."""
    with listening(store, **resumed(10**17)) as said:
        post(store, {"key": "value"})
        assert next(said)[1] == {"key": "value"}


def test_who_goes_away_is_forgotten(store: Store) -> None:
    for _ in range(3):
        with listening(store):
            assert listeners(store) == 1
        until(lambda: listeners(store) == 0, "nobody listens")
    assert "Traceback" not in store.log()


def test_too_many_are_told_so(store: Store, stack: Any) -> None:
    for _ in range(50):
        answer = stack.enter_context(requests.get(f"{store.url}/stream", stream=True, timeout=30))
        assert answer.status_code == 200
    until(lambda: listeners(store) == 50, "all listen")
    refused = requests.get(f"{store.url}/stream", timeout=9)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "10")


def test_the_end_does_not_wait_for_listeners(store: Store) -> None:
    with listening(store):
        begun_s = time.monotonic()
        assert store.stop() == 0
        assert time.monotonic() - begun_s < 3
    assert "Traceback" not in store.log()


def test_what_another_store_took_is_told_too(start: StartStore, database_of: Callable[[str], str]) -> None:
    database = database_of("postgresql")
    one, other = start(database), start(database)
    with listening(one) as said:
        for number in range(101):
            assert tell((one, other)[number % 2], **told(number)).ok
        assert sorted(next(said)[1]["seq"] for _ in range(101)) == list(range(101))
