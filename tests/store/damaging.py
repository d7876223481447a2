# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A store's database that tests damage, and what a store still finds in it."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import requests

from tests.live.waiting import until
from tests.store.asking import pages
from tests.store.serving import Store, told

ALERTS, POSTS = 211, 23
NAME = "alerts.sqlite"


def write_all(store: Store) -> None:
    with requests.Session() as session:
        for number in range(ALERTS):
            alert = told(number, comm=f"process-{number}", note="x" * (number % 7 * 900))
            assert session.get(f"{store.url}/alert", params=alert, timeout=30).json() == {"new": True}
        for number in range(POSTS):
            posted = {"posted": number, "text": f"text {number} " * (number * 9)}
            assert session.post(f"{store.url}/store.json", json=posted, timeout=30).ok


def damage(chance: random.Random, folder: Path) -> str:
    """Damage one of the files; return how."""
    names = [file for file in sorted(folder.iterdir()) if file.stat().st_size]
    file = chance.choices(names, [file.stat().st_size for file in names])[0]
    if chance.random() < 0.1:
        file = chance.choice(names)
    content = bytearray(file.read_bytes())
    kind = chance.choice(
        ("bytes", "bytes", "bytes", "bytes", "bytes", "head", "cut", "zeroed", "noise", "swapped")
    )
    page = 4096
    at = chance.randrange(len(content)) // page * page
    if kind == "bytes":
        for _ in range(chance.randint(1, 20)):
            content[chance.randrange(len(content))] = chance.randrange(256)
    elif kind == "head":
        for _ in range(chance.randint(1, 20)):
            content[chance.randrange(min(len(content), 200))] = chance.randrange(256)
    elif kind == "cut":
        del content[chance.randrange(len(content)) :]
    elif kind == "zeroed":
        content[at : at + page] = bytes(len(content[at : at + page]))
    elif kind == "noise":
        content[at : at + page] = chance.randbytes(len(content[at : at + page]))
    else:
        other = chance.randrange(len(content)) // page * page
        content[at : at + page], content[other : other + page] = (
            content[other : other + page], content[at : at + page],
        )  # fmt: skip
    file.write_bytes(content)
    return f"{kind} of {file.name}"


def canonical(found: list[dict[str, Any]]) -> Counter[str]:
    return Counter(json.dumps(each, sort_keys=True) for each in found)


def everything(store: Store) -> tuple[Counter[str], Counter[str]]:
    """Return all entries and episodes; what finds damage is answered 503, then the file is a new one."""

    def found() -> Any:
        try:
            entries = [each for page in pages(store) for each in page]
            answer = requests.get(f"{store.url}/episodes?limit=1000", timeout=30)
            assert answer.status_code == 200, answer.text
        except AssertionError:
            return None
        return canonical(entries), canonical(answer.json())

    return until(found, "all is read")  # type: ignore[no-any-return]


def settled(store: Store, folder: Path) -> bool:
    return not [file for file in folder.iterdir() if ".damaged-" in file.name or ".salvaging-" in file.name]
