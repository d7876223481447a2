# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What tests ask of a store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import requests

from tests.store.serving import Store

Object = dict[str, Any]


def get(store: Store, **filters: object) -> list[Object]:
    """Return what a search finds, one page."""
    answer = requests.get(f"{store.url}/store.json", params=texts(filters), headers=store.headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def texts(filters: dict[str, object]) -> dict[str, str]:
    """Return filters as parameters; `from_` stands for `from`."""
    return {name.rstrip("_"): str(value) for name, value in filters.items()}


def post(store: Store, value: object) -> int:
    """Post JSON; return how many were stored."""
    answer = requests.post(f"{store.url}/store.json", json=value, headers=store.headers, timeout=30)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["stored"])


def delete(store: Store, **asked: object) -> requests.Response:
    """Have it delete."""
    return requests.delete(f"{store.url}/store.json", params=texts(asked), headers=store.headers, timeout=60)


def pages(store: Store, **filters: object) -> list[list[Object]]:
    """Return all pages of a search, by the links between them."""
    found: list[list[Object]] = []
    url = requests.Request("GET", f"{store.url}/store.json", params=texts(filters)).prepare().url
    while url:
        answer = requests.get(url, headers=store.headers, timeout=30)
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
        following = answer.links.get("next")
        url = f"{store.url}{following['url']}" if following else None
    return found


def is_problem(answer: requests.Response, status: int) -> bool:
    """Whether an answer is the problem document of this status, and holds nothing of our insides."""
    problem = answer.json()
    return (
        answer.status_code == status == problem["status"]
        and answer.headers["Content-Type"] == "application/problem+json"
        and problem.keys() == {"type", "title", "status", "detail"}
        and bool(problem["detail"])
        and "Traceback" not in answer.text
    )


def everything(store: Store) -> Iterator[dict[str, Any]]:
    """Yield all that the store has, as its pages link to each other."""
    url = f"{store.url}/store.json?limit=1000"
    while url:
        answer = requests.get(url, timeout=30)
        assert answer.status_code == 200, answer.text
        yield from answer.json()
        url = f"{store.url}{answer.links['next']['url']}" if "next" in answer.links else ""
