# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`GET /hosts` by a model: every filter finds what it says, page by page, and all hosts are counted."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.store.now_telling import ABOUT, age, ask, say
from tests.store.serving import Store

NAMES = ("web", "Web", "db-", "a_b", "ä%")
VERSIONS = ("1.0", "1.1", "2")
LABELS: tuple[dict[str, str], ...] = (
    {},
    {"dc": "fra1"},
    {"dc": "fra1", "role": "db"},
    {"dc": "fra", "role": "d;b"},
    {"role": "db=1", "xdc": "fra1"},
)
HOSTS = 40


def text(labels: dict[str, str]) -> str:
    return ";".join(f"{name}={value.replace(';', '%3B')}" for name, value in labels.items())


def made(store: Store, seed: int) -> list[dict[str, Any]]:
    """Have hosts tell what they are; return what they told, in the order of the answer."""
    chosen = random.Random(seed)
    hosts = []
    for number in range(HOSTS):
        host: dict[str, Any] = {
            "host": f"{chosen.choice(NAMES)}{number % 13}-{number}",
            "version": chosen.choice(VERSIONS),
            "labels": chosen.choice(LABELS),
            "mode": chosen.choice(["ebpf", "ebpf", "poll"]),
            "unseen": chosen.choice(["", "", "", "UDP-Lite"]),
            "silences": chosen.choice(["", "", "all until noon"]),
            "state": chosen.choice(["heard", "heard", "heard", "silent", "stopped"]),
        }
        told = {**ABOUT, **{name: host[name] for name in ("version", "mode", "unseen", "silences")}}
        say(store, number, event="heartbeat", host=host["host"], labels=text(host["labels"]), **told)
        if host["state"] == "stopped":
            say(store, 100 + number, event="stopped", host=host["host"])
        if host["state"] == "silent":
            age(store, 1000, host["host"])
        host["blind"] = host["state"] == "heard" and bool(host["mode"] == "poll" or host["unseen"])
        hosts.append(host)
    return sorted(hosts, key=lambda host: (_kind(host), host["host"]))


def _kind(host: dict[str, Any]) -> int:
    kinds = [
        host["state"] == "silent",
        host["blind"],
        host["state"] == "stopped",
        bool(host["silences"]),
        True,
    ]
    return kinds.index(True)


FILTERS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "": lambda _: True,
    "state=silent": lambda host: host["state"] == "silent",
    "state=heard": lambda host: host["state"] == "heard",
    "version=1.1": lambda host: host["version"] == "1.1",
    "blind=true": lambda host: host["blind"],
    "blind=false&state=heard": lambda host: not host["blind"] and host["state"] == "heard",
    "label=dc=fra1": lambda host: host["labels"].get("dc") == "fra1",
    "label=dc=fra": lambda host: host["labels"].get("dc") == "fra",
    "label=role=d;b".replace(";", "%3B"): lambda host: host["labels"].get("role") == "d;b",
    "label=role=db%3D1": lambda host: host["labels"].get("role") == "db=1",
    "label=dc=fra1&label=role=db": lambda host: host["labels"] == {"dc": "fra1", "role": "db"},
    "label=dc=fra1&label=dc=fra": lambda _: False,
    "text=WEB": lambda host: "web" in host["host"].lower(),
    "text=a_b": lambda host: "a_b" in host["host"],
    "text=%25+-3": lambda host: "%" in host["host"] and "-3" in host["host"],
    "text=WEB&label=dc=fra1&blind=false": lambda host: (
        "web" in host["host"].lower() and host["labels"].get("dc") == "fra1" and not host["blind"]
    ),
}


def pages(store: Store, query: str, limit: int) -> list[list[str]]:
    """Return the names on each page, by the links from page to page."""
    found, path = [], f"/hosts?{query}&limit={limit}".replace("?&", "?")
    while path:
        answer = requests.get(store.url + path, headers=store.headers, timeout=30)
        assert answer.status_code == 200, answer.text
        found.append([host["host"] for host in answer.json()["hosts"]])
        link = answer.headers.get("Link", "")
        assert answer.json()["truncated"] == bool(link)
        path = link.partition(">")[0].removeprefix("<")
    return found


@pytest.mark.parametrize("seed", [1])
def test_filters_and_pages_by_a_model(emptied: Store, seed: int) -> None:
    hosts = made(emptied, seed)
    some = 0
    for query, fits in FILTERS.items():
        expected = [host["host"] for host in hosts if fits(host)]
        some += bool(expected)
        for limit in (7, 1000):
            found = pages(emptied, query, limit)
            assert [host for page in found for host in page] == expected, query
            assert all(len(page) == limit for page in found[:-1]), query
    assert some > len(FILTERS) / 2, "the filters find something"


def test_all_hosts_are_counted(emptied: Store) -> None:
    hosts = made(emptied, 2)
    found = ask(emptied, "/hosts", limit=1, version="no such")
    assert found["hosts"] == []
    assert found["counts"] == {
        state: sum(host["state"] == state for host in hosts) for state in ("heard", "silent", "stopped")
    }
    assert found["blind"] == sum(host["blind"] for host in hosts)
    versions = Counter(host["version"] for host in hosts)
    assert {each["version"]: each["count"] for each in found["versions"]} == versions
    labels = Counter(pair for host in hosts for pair in host["labels"].items())
    told = {
        (each["name"], value["value"]): value["count"] for each in found["labels"] for value in each["values"]
    }
    assert told == labels
    names = Counter(name for host in hosts for name in host["labels"])
    assert [(each["name"], each["count"], each["more"]) for each in found["labels"]] == [
        (name, count, 0) for name, count in sorted(names.items(), key=lambda each: (-each[1], each[0]))
    ]
