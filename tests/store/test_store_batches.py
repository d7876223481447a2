# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Batches of alerts: each is kept once, or refused by itself, as it would be by a request of its own."""

from __future__ import annotations

import gzip
import json
import sqlite3
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from backports import zstd

from tests.live.waiting import DEADLINE_S, until
from tests.store.asking import is_problem
from tests.store.conftest import StartStore
from tests.store.serving import TOKEN, Store, find, tell, told

MOST_LINES, MOST_BYTES = 1000, 8 * 2**20
REFUSED_AT_LEAST = 3
"""Of eleven batches of 1000: one or two are being written, five or six wait."""
REFUSED: tuple[dict[str, object], ...] = (
    {"event": "burst"}, {"size": "-1"}, {"size": 1e9}, {"size": 9 * 10**29}, {"timestamp": "nan"},
    {"timestamp": ""}, {"protocol": "sctp"}, {"type": "BOTH"}, {"local_ip": "1.2.3"}, {"id": ""},
    {"host": ""}, {"seq": "one"}, {"seq": True}, {"size": None}, {"comm": ["nginx"]}, {"comm": "\ud800"},
)  # fmt: skip
"""Changes of an alert after which it makes no sense."""
NO_ALERTS = (
    b"", b"[]", b"7", b"{", b"null", b"{}", b'{"size": NaN}', b"\xff\xfe", b"[" * 20_000, b'"' + b"x" * 40_000,
)  # fmt: skip


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda body: gzip.compress(body, 1),
    "zstd": zstd.compress,
}


def lines(*alerts: object) -> bytes:
    return b"".join(json.dumps(alert).encode() + b"\n" for alert in alerts)


def send(store: Store, body: bytes, encoding: str = "", **headers: str) -> requests.Response:
    coded = {"Content-Encoding": encoding} if encoding else {}
    return requests.post(
        f"{store.url}/alerts", body, headers={**store.headers, **coded, **headers}, timeout=DEADLINE_S
    )


def kept(store: Store) -> list[dict[str, Any]]:
    return sorted(find(store, limit=1000), key=lambda alert: alert["seq"])


def test_a_batch_is_kept_as_its_alerts_would_be_one_by_one(emptied: Store) -> None:
    alerts = [told(n, id=f"{n // 3}", event=("exceeded", "ongoing", "cleared")[n % 3]) for n in range(1, 102)]
    for alert in alerts[:50]:
        assert tell(emptied, **alert).json() == {"new": True}
    singly = kept(emptied)
    answer = send(emptied, lines(*alerts))
    assert answer.status_code == 200
    assert answer.json() == {"new": 51, "known": 50, "refused": []}
    assert kept(emptied)[:50] == singly
    assert [alert["seq"] for alert in kept(emptied)] == list(range(1, 102))
    for encoding, compress in COMPRESS.items():
        again = send(emptied, compress(lines(*alerts)), encoding)
        assert again.json() == {"new": 0, "known": 101, "refused": []}
    assert sum(episode["alerts"] for episode in find(emptied, "/episodes")) == 101


def test_numbers_may_be_numbers(emptied: Store) -> None:
    as_numbers = {**told(1), "size": 1_048_578, "timestamp": 1_795_343_124.482913, "duration": 0, "seq": 1}
    assert send(emptied, lines(as_numbers, told(1))).json() == {"new": 1, "known": 1, "refused": []}


def test_what_is_refused_keeps_no_other_out_and_is_what_a_get_refuses(emptied: Store) -> None:
    rows = [{**told(n), **change} for n, change in enumerate(REFUSED)]
    body = b"".join(
        lines(told(100 + n), row) for n, row in enumerate(rows)
    ) + b"".join(line + b"\n" for line in NO_ALERTS)  # fmt: skip
    answer = send(emptied, body)
    assert answer.status_code == 200
    said = answer.json()
    assert (said["new"], said["known"]) == (len(REFUSED), 0)
    wrong = [2 * n + 2 for n in range(len(REFUSED))]
    assert [each["row"] for each in said["refused"]] == wrong + [
        2 * len(REFUSED) + n for n in range(1, len(NO_ALERTS) + 1)
    ]
    assert all(each["why"] and "Traceback" not in each["why"] for each in said["refused"])
    for row, each in list(zip(rows, said["refused"], strict=False))[:-4]:  # what a GET can say
        singly = tell(emptied, **{name: str(value) for name, value in row.items()})
        assert (singly.status_code, singly.json()["detail"]) == (422, each["why"])
    assert len(kept(emptied)) == len(REFUSED)
    counted = requests.get(f"{emptied.url}/metrics", timeout=DEADLINE_S).text
    assert "sockbpf_store_refused_rows_total" in counted


@pytest.mark.parametrize("encoding", COMPRESS)
def test_a_bomb_costs_nothing(one: Store, encoding: str) -> None:
    bomb = COMPRESS[encoding](b" " * (1 << 28))
    for _ in range(7):
        begun = time.monotonic()
        assert is_problem(send(one, bomb, encoding), 413)
        print(f"{len(bomb)} bytes, {time.monotonic() - begun:.3f} s")
    peak = next(
        line for line in Path(f"/proc/{one.process.pid}/status").read_text().splitlines() if "VmHWM" in line
    )
    print(peak)
    assert int(peak.split()[1]) < 250_000
    assert send(one, lines(told(1))).json()["new"] == 1


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (b"", "", 422),
        (b"", "gzip", 400),
        (lines(told(1)), "gzip", 400),
        (gzip.compress(lines(told(1)))[:-3], "gzip", 400),
        (gzip.compress(lines(told(1))) * 2, "gzip", 400),
        (b"", "zstd", 400),
        (lines(told(1)), "zstd", 400),
        (zstd.compress(lines(told(1)))[:-3], "zstd", 400),
        (zstd.compress(lines(told(1))) * 2, "zstd", 400),
        (
            zstd.compress(lines(told(1)) * 90_000, options={zstd.CompressionParameter.window_log: 25}),
            "zstd",
            400,
        ),
        (zlib.compress(lines(told(1))), "deflate", 415),
        (gzip.compress(gzip.compress(lines(told(1)))), "gzip, gzip", 415),
        (b"\n" * (MOST_LINES + 1), "", 413),
        (gzip.compress(b" " * (MOST_BYTES + 1)), "gzip", 413),
        (b" " * (MOST_BYTES + 1), "", 413),
    ],
)
def test_a_body_that_cannot_be_read_is_refused_as_a_whole(
    lasting: Any, body: bytes, encoding: str, status: int
) -> None:
    store = lasting("sqlite")
    answer = send(store, body, encoding)
    assert is_problem(answer, status)
    assert "Traceback" not in store.log()


def test_only_posts_and_not_from_a_browser_or_without_the_token(start: StartStore, database_of: Any) -> None:
    store = start(database_of("sqlite"), token=TOKEN)
    assert is_problem(requests.get(f"{store.url}/alerts", headers=store.headers, timeout=9), 405)
    bare = {"Authorization": ""}
    assert is_problem(send(store, lines(told(1)), **bare), 401)
    assert is_problem(send(store, lines(told(1)), **bare, Origin="http://a.example"), 403)
    assert send(store, lines(told(1))).json()["new"] == 1


def test_a_store_that_is_behind_takes_no_batch_but_single_alerts(start: StartStore, tmp_path: Path) -> None:
    """While another process has the database some 5000 alerts wait; further batches are refused at once."""
    file = tmp_path / "alerts.sqlite"
    store = start(f"sqlite:///{file}")
    batches = [gzip.compress(lines(*(told(1000 * n + at) for at in range(1000)))) for n in range(11)]
    with (
        ThreadPoolExecutor(len(batches)) as threads,
        closing(sqlite3.connect(file, isolation_level=None)) as holder,
    ):
        holder.execute("begin immediate")
        sent = [threads.submit(send, store, body, "gzip") for body in batches]
        until(lambda: sum(one.done() for one in sent) >= REFUSED_AT_LEAST, "no batch is refused")
        refused = [one.result() for one in sent if one.done()]
        assert all(is_problem(answer, 429) for answer in refused)
        assert {answer.headers["Retry-After"] for answer in refused} == {"1"}
        single = threads.submit(tell, store, **told(20_000))
        holder.execute("rollback")
        answers = [one.result() for one in sent]
        assert single.result().json() == {"new": True}
    assert {answer.status_code for answer in answers} == {200, 429}
    for answer, body in zip(answers, batches, strict=True):
        again = send(store, body, "gzip").json()
        assert again == {"new": 1000 * (answer.status_code == 429), "known": 1000 * answer.ok, "refused": []}
