"""Whatever is posted is kept as it was, given back newest first, and never overwritten."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import time
from pathlib import Path

import requests

from tests.store.conftest import StartStore
from tests.store.serving import Store, find, post, tell, told

TABLE = (
    "Proto,Recv-Q,Send-Q,Local Address,State\nudp,0,4352,127.0.0.1:53,UNCONN\nudp,213,0,[::1]:546,UNCONN\n"
)
"""As `ss` and `netstat` are turned into CSV."""


def send(store: Store, body: bytes | str, kind: str | None = None, **headers: str) -> requests.Response:
    data = body.encode() if isinstance(body, str) else body
    headers |= {"Content-Type": kind} if kind else {}
    return requests.post(f"{store.url}/store.json", data, headers=headers, timeout=60)


def curl(store: Store, *arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        ["curl", "-sS", "-X", "POST", *arguments, f"{store.url}/store.json"],
        cwd=cwd, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def test_objects_come_back_as_they_were(store: Store) -> None:
    """Their keys in order, their types, what no text column would take, and what looks like markup or SQL."""
    given = [
        {"z": 1, "a": {"deep": [1, 2.5, None, True, {"b": "c"}]}, "m": "ü ☃ \u0000 \ud800"},
        {"<script>alert(1)</script>": "'; drop table entry; --", "": "", "n": 2**70, "e": 1e-300},
        {"timestamp": "yesterday", "local_ip": 7, "size": "large", "pid": -1, "protocol": None},
    ]
    answers = [send(store, json.dumps(each), "application/json") for each in given]
    assert [(a.status_code, a.json()) for a in answers] == [(201, {"stored": 1})] * 3
    back = find(store)
    assert back == given[::-1]
    assert [list(each) for each in back] == [list(each) for each in given[::-1]]


def test_an_array_is_its_objects(store: Store) -> None:
    post(store, [{"number": number} for number in range(211)])
    assert [each["number"] for each in find(store, limit=1000)] == list(range(211))[::-1]


def test_newest_first_by_timestamp_else_by_arrival(store: Store) -> None:
    now = time.time()
    post(store, [{"is": "second", "timestamp": now - 7}, {"is": "third", "timestamp": str(now - 70)}])
    post(store, {"is": "first"})
    assert [each["is"] for each in find(store)] == ["first", "second", "third"]


def test_curl_as_everybody_writes_it(store: Store, tmp_path: Path) -> None:
    """`--data @file` takes the ends of the lines away: what is left of them is kept to the letter."""
    (tmp_path / "udp_redirect_output.csv").write_text(TABLE)
    for _ in range(3):
        assert curl(store, "--data", "@./udp_redirect_output.csv", cwd=tmp_path) == '{"stored":1}'
    assert find(store) == [{"text": TABLE.replace("\n", "")}] * 3
    assert curl(store, "--data", '{"key": "value", "n": 1}', cwd=tmp_path) == '{"stored":1}'
    assert find(store, key="value") == [{"key": "value", "n": 1}]


def test_a_table_is_its_rows(store: Store, tmp_path: Path) -> None:
    (tmp_path / "ss.csv").write_text(TABLE)
    for kind in ("text/csv", "text/csv; charset=utf-8", "application/x-www-form-urlencoded"):
        said = curl(store, "-H", f"Content-Type: {kind}", "--data-binary", "@ss.csv", cwd=tmp_path)
        assert said == '{"stored":2}'
    assert find(store) == list(csv.DictReader(io.StringIO(TABLE)))[::-1] * 3
    assert find(store, **{"Recv-Q": "213"})[0]["Local Address"] == "[::1]:546"


def test_what_is_no_table_is_kept_to_the_letter(store: Store) -> None:
    texts = (
        "State Recv-Q Send-Q\nLISTEN 0 128\n", "a,b\n1,2,3\n", "a,a\n1,2\n", "one line, with commas", "{not json",
        "[1,2]", '"', 'a,b\n"1,2\n', " ", "x" * 300_007, "line\r\nline\r\n",
    )  # fmt: skip
    for text in texts:
        assert send(store, text, "application/x-www-form-urlencoded").status_code == 201
    assert find(store) == [{"text": text} for text in reversed(texts)]


def test_bytes_that_are_no_text_are_not_lost(store: Store) -> None:
    raw = bytes(range(256))
    assert send(store, raw, "text/plain").status_code == 201
    assert str(find(store)[0]["text"]).encode("latin-1") == raw


def test_what_is_no_object_is_refused_as_a_problem(store: Store) -> None:
    for body, status in (
        ("{", 400), (b"\xff\xfe{}", 400), ("", 400), ("[" * 100_000, 400), ("1", 422), ("[]", 422),
        ("[{}, 1]", 422), ('{"a": NaN}', 422), ('{"a": 1e999}', 422),
    ):  # fmt: skip
        answer = send(store, body, "application/json")
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
        assert answer.json().keys() == {"type", "title", "status", "detail"}
    assert find(store) == []


def test_a_body_has_a_greatest_size(start: StartStore, database: str) -> None:
    store = start(database, max_body="100kB")
    assert send(store, b"x" * 100_000, "text/plain").status_code == 201
    assert send(store, b"x" * 100_001, "text/plain").status_code == 413

    def pieces() -> list[bytes]:
        return [b"x" * 10_000] * 11

    chunked = requests.post(f"{store.url}/store.json", data=iter(pieces()), timeout=60)
    assert chunked.status_code == 413
    assert len(find(store)) == 1


def test_a_page_of_large_objects_is_short_and_leads_on(store: Store) -> None:
    """What is answered is held in memory: pages end where they grow large, whatever `limit` says."""
    for number in range(5):
        post(store, {"number": number, "filler": "x" * 3_000_017})
    url, numbers, pages = f"{store.url}/store.json?limit=1000", [], 0
    while url:
        answer = requests.get(url, timeout=60)
        assert len(answer.content) < 9 * 2**20
        numbers += [each["number"] for each in answer.json()]
        url = answer.links["next"]["url"] if "next" in answer.links else ""
        url = f"{store.url}{url}" if url.startswith("/") else url
        pages += 1
    assert numbers == [4, 3, 2, 1, 0]
    assert pages == 3


def test_a_table_has_all_names_that_any_object_has(store: Store) -> None:
    post(store, [{"a": 1, "b": 'x,"y"'}, {"c": [1, 2], "a": None}, {"a": "line\nline"}])
    answer = requests.get(f"{store.url}/store.json", headers={"Accept": "text/csv"}, timeout=9)
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert list(csv.DictReader(io.StringIO(answer.text, newline=""))) == [
        {"a": "line\nline", "c": "", "b": ""},
        {"a": "null", "c": "[1, 2]", "b": ""},
        {"a": "1", "c": "", "b": 'x,"y"'},
    ]


def test_a_table_that_would_be_huge_is_refused(store: Store) -> None:
    post(store, [{f"{row} {column}": 1 for column in range(1009)} for row in range(37)])
    answer = requests.get(f"{store.url}/store.json", headers={"Accept": "text/csv"}, timeout=60)
    assert (answer.status_code, "JSON" in answer.json()["detail"]) == (422, True)


def test_what_is_older_is_deleted_with_its_episodes(store: Store) -> None:
    now = time.time()
    for number in range(23):
        assert tell(store, **told(number, timestamp=f"{now - 1000 * number:.6f}")).ok
    post(store, [{"note": number, "timestamp": now - 1000 * number - 1} for number in range(23)])
    for query, deleted, left in (
        ("older_than=1d", 0, 46),
        (f"before={now - 19_999.5:.6f}", 2 * 3, 40),
        ("older_than=10000", 2 * 10 - 1 + 1, 20),
    ):
        answer = requests.delete(f"{store.url}/store.json?{query}", timeout=60)
        assert answer.json() == {"deleted": deleted}
        assert len(find(store, limit=1000)) == left
    assert len(find(store, "/episodes")) == 10
    assert find(store, note="22") == []
    assert find(store, note="3") != []
    for query in ("", "before=soon", "older_than=lots", "older_than=-1", "before=1&older_than=1d", "all=1"):
        assert requests.delete(f"{store.url}/store.json?{query}", timeout=9).status_code in {400, 422}, query
    assert len(find(store, limit=1000)) == 20
