# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What has an end: how old entries grow, how large a table is, how long a listener is waited for."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from sockbpf.store.serve import STOP_S
from tests.live.waiting import until
from tests.store.altering import make_older
from tests.store.conftest import StartStore
from tests.store.serving import Store, find, post, start_store, tell, told


def test_what_is_older_is_deleted_with_its_episodes(erasable: Store) -> None:
    store = erasable
    now = time.time()
    for number in range(23):
        assert tell(store, **told(number, timestamp=f"{now - 1000 * number:.6f}")).ok
    post(store, [{"note": number, "timestamp": now - 1000 * number - 1} for number in range(23)])
    for query, deleted, left in (
        ("older_than=1d", 0, 46),
        (f"before={now - 19_999.5:.6f}", 2 * 3, 40),
        ("older_than=10000", 2 * 10 - 1 + 1, 20),
    ):
        answer = requests.delete(f"{store.url}/store.json?{query}", headers=store.headers, timeout=60)
        assert answer.json() == {"deleted": deleted}
        assert len(find(store, limit=1000)) == left
    assert len(find(store, "/episodes")) == 10
    assert find(store, note="22") == []
    assert find(store, note="3") != []
    for query in ("", "before=soon", "older_than=lots", "older_than=-1", "before=1&older_than=1d", "all=1"):
        answer = requests.delete(f"{store.url}/store.json?{query}", headers=store.headers, timeout=9)
        assert answer.status_code in {400, 422}, query
    assert len(find(store, limit=1000)) == 20


@pytest.mark.not_clickhouse
def test_what_is_too_old_goes_by_itself(start: StartStore, database: str) -> None:
    store = start(database)
    post(store, [{"n": number, "host": "old"} for number in range(2011)])
    post(store, [{"n": number} for number in range(53)])
    store.stop()
    make_older(database, 90_000, host="old")
    keeping = start(database, keep="1d")
    until(lambda: len(find(keeping, limit=1000)) == 53, "only what is younger")
    assert find(keeping, n=2000) == []


def test_a_table_that_would_be_huge_is_refused(store: Store) -> None:
    post(store, [{f"{row} {column}": 1 for column in range(1009)} for row in range(37)])
    answer = requests.get(f"{store.url}/store.json", headers={"Accept": "text/csv"}, timeout=60)
    assert (answer.status_code, "JSON" in answer.json()["detail"]) == (422, True)


def shown(store: Store, name: str) -> int:
    lines = requests.get(f"{store.url}/metrics", timeout=9).text.splitlines()
    (line,) = (line for line in lines if line.startswith(f"sockbpf_store_{name} "))
    return int(float(line.split()[1]))


def test_a_listener_that_goes_away_is_forgotten(store: Store) -> None:
    for _ in range(3):
        with requests.get(f"{store.url}/stream", stream=True, timeout=30):
            until(lambda: shown(store, "listeners") == 1, "it listens")
        until(lambda: shown(store, "listeners") == 0, "nobody listens")
    assert "Traceback" not in store.log()


def test_the_end_does_not_wait_for_listeners(store: Store) -> None:
    with requests.get(f"{store.url}/stream", stream=True, timeout=30):
        until(lambda: shown(store, "listeners") == 1, "it listens")
        begun_s = time.monotonic()
        assert store.stop() == 0
        assert time.monotonic() - begun_s < STOP_S
    assert "Traceback" not in store.log()


def test_a_file_that_may_not_grow_loses_what_anybody_sent_first(start: StartStore, tmp_path: Path) -> None:
    """Another user sends alerts and posts without end: the monitor's are all kept, and the file does not grow."""
    kept = tmp_path / "kept" / "alerts.sqlite"
    store = start(f"sqlite:///{kept}", max_size="4MiB")
    sent = 0

    def everybody(count: int) -> None:
        nobody = pwd.getpwnam("nobody")
        os.setegid(nobody.pw_gid)
        os.seteuid(nobody.pw_uid)
        try:
            with requests.Session() as session:
                for number in range(count):
                    alert = told(number, host="hostile", id=f"{time.monotonic_ns():x}", note="x" * 5000)
                    assert session.get(f"{store.url}/alert", params=alert, timeout=30).status_code == 200
                    posted = {"text": "y" * 20_000}
                    assert session.post(f"{store.url}/store.json", json=posted, timeout=30).status_code == 201
        finally:
            os.seteuid(0)
            os.setegid(0)

    for _ in range(5):
        for _ in range(23):
            assert tell(store, **told(sent)).status_code == 200
            sent += 1
        everybody(97)
    assert len(find(store, host="web1", limit=1000)) == sent
    assert kept.stat().st_size <= 4 * 2**20
    assert 0 < len(find(store, host="hostile", limit=1000)) < 5 * 97
    assert len(find(store, "/episodes", host="hostile", limit=1000)) < 5 * 97
    lines = requests.get(f"{store.url}/metrics", timeout=9).text
    assert "sockbpf_store_crowded_out_total 0.0" not in lines
    assert "sockbpf_store_not_kept_total 0.0" in lines
    for number in range(2003):  # and where there is nothing else, the oldest of its own
        assert tell(store, **told(10_000 + number, note="z" * 3000)).status_code == 200
    assert find(store, id=told(0)["id"]) == []
    assert find(store, id=told(12_002)["id"]) != []
    assert kept.stat().st_size <= 4 * 2**20
    assert "Traceback" not in store.log()


def test_a_log_that_nobody_takes_is_counted(tmp_path: Path, database_of: Callable[[str], str]) -> None:
    with open("/dev/full", "wb") as full:
        store = start_store(tmp_path / "store", database_of("sqlite"), log=full)
    try:
        until(lambda: shown(store, "log_dropped_total") > 0, "the lines of its start are counted")
        assert (shown(store, "late_total"), shown(store, "ignored_total")) == (0, 0)
    finally:
        store.stop()
