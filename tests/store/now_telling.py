# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Telling a store what is so now, and asking it."""

from __future__ import annotations

import time
from typing import Any

import requests

from sockbpf.store.data.digest import digest_of
from sockbpf.store.data.engine import is_clickhouse, open_engine
from sockbpf.store.data.schema import HOST
from tests.store.altering import make_host_older
from tests.store.serving import Store, database_of_store, tell, told

NOW_S = time.time() // 1
ABOUT = {
    "version": "1",
    "kernel": "6.1.0",
    "mode": "ebpf",
    "unseen": "",
    "repeat": "60.0",
    "heartbeat": "60.0",
}
READER = {"cause": "reader-stopped", "confidence": "high", "reason": "it is stopped"}


def say(store: Store, number: int, **changed: Any) -> None:
    fields = told(number, **{"timestamp": f"{NOW_S - 50 + number:.6f}", "run": "r1", **changed})
    if fields["event"] in {"started", "stopped", "heartbeat"}:
        fields = {name: fields[name] for name in ("timestamp", "event", "host", "seq", "run", *changed)}
    answer = tell(store, **fields)
    assert answer.json() == {"new": True}, answer.text


def ask(store: Store, path: str, **asked: Any) -> dict[str, Any]:
    answer = requests.get(f"{store.url}{path}", params=asked, headers=store.headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def age(store: Store, seconds: float, host: str) -> None:
    """Have the last word of a host have come so long ago."""
    engine = open_engine(database_of_store(store), connections=1)
    with engine.begin() as connection:
        if is_clickhouse(connection):
            make_host_older(connection, seconds, host)
            return
        for row in connection.execute(HOST.select().where(HOST.c.host == host)).mappings().all():
            made = {**row, "heard": row["heard"] - seconds}
            made["digest"] = digest_of(made, HOST.c.keys())
            connection.execute(HOST.update().where(HOST.c.host == host).values(made))
    engine.dispose()
