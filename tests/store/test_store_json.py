# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is posted to /store.json comes back as it was, whatever it is, and nothing takes another's place."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.store.asking import get, is_problem, post
from tests.store.serving import Store, told

ODD: list[dict[str, Any]] = [
    {},
    {"a": {"b": [1, {"c": None}], "d": {}}, "e": []},
    {"Schlüssel": "Wert", "鍵": "値", "🔑": "👩‍🚒", "": "no name", "العربية": "\u202e"},
    {"nul": "a\0b", "\0": 1, "half": "\ud800", "\udfff": "other half", "line": "\u2028\r\n\t"},
    {"big": 2**63, "bigger": 10**400, "negative": -(2**70), "float": 1.5e-300, "minus": -0.0},
    {"yes": True, "no": False, "none": None, "one": 1, "point": 1.0, "text": "1"},
    {"z": 1, "a": 2, "m": 3},
    {
        "timestamp": "not a time",
        "size": -1,
        "local_ip": "no address",
        "local_port": [],
        "host": 5,
        "pid": "x",
    },
    {"timestamp": 10**400, "size": 10**400, "event": {}, "protocol": "sctp", "key": "n", "at": "body"},
    {"'; drop table entry; --": "' or 1=1 --", "<script>alert(1)</script>": "</script>", "%s": ":n"},
    {"long": "x" * 100_000, "y" * 10_000: 1},
    {f"key{n}": n for n in range(500)},
]


def posted(store: Store, body: str | bytes, kind: str | None = None) -> requests.Response:
    raw = body.encode() if isinstance(body, str) else body
    headers = {"Content-Type": kind} if kind else {}
    return requests.post(f"{store.url}/store.json", data=raw, headers=headers, timeout=30)


def in_order(value: object) -> str:
    """Return JSON, by which an order of names and a type show."""
    return json.dumps(value)


def test_objects_come_back_as_they_were_the_last_first(emptied: Store) -> None:
    assert post(emptied, ODD) == len(ODD)
    assert post(emptied, ODD[1]) == 1
    assert in_order(get(emptied)) == in_order([ODD[1], *reversed(ODD)])


def test_what_is_posted_twice_is_there_twice(emptied: Store) -> None:
    for _ in range(3):
        post(
            emptied, {"timestamp": 1_795_343_123, "id": "same", "event": "exceeded", "seq": 1, "host": "web1"}
        )
    assert len(get(emptied)) == 3


def test_objects_are_sorted_by_their_own_time_and_alerts_among_them(emptied: Store) -> None:
    post(emptied, [{"timestamp": 30}, {"timestamp": "20.5"}, {"timestamp": 10, "note": "early"}])
    requests.get(f"{emptied.url}/alert", params=told(1, timestamp="25.000000"), timeout=9)
    post(emptied, {"timestamp": 20.5, "note": "later"})
    assert [float(each["timestamp"]) for each in get(emptied)] == [30, 25, 20.5, 20.5, 10]
    assert get(emptied)[2]["note"] == "later"


def test_a_thousand_objects_of_one_request_keep_their_order(emptied: Store) -> None:
    objects = [{"n": n} if n % 3 else {"nested": {"n": n}} for n in range(1000)]
    assert post(emptied, objects) == 1000
    assert get(emptied, limit=1000) == objects[::-1]


@pytest.mark.parametrize("option", ["--data", "--data-binary"])
@pytest.mark.parametrize("command", ["ss -tuan", "netstat -tuan"])
def test_curl_posts_what_ss_and_netstat_print(
    emptied: Store, tmp_path: Path, command: str, option: str
) -> None:
    lines = subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout.splitlines(
        True
    )
    assert len(lines) > 1
    printed = "".join(lines[:1009])  # of a host with very many sockets an answer would not hold two of them
    file = tmp_path / "printed"
    file.write_text(printed)
    for number in (1, 2):
        answer = curl(emptied, option, f"@{file}")
        assert answer == {"stored": 1}, number
    sent = printed if option == "--data-binary" else printed.replace("\n", "")  # curl does that
    assert get(emptied) == [{"text": sent}] * 2


def test_curl_posts_a_csv_and_each_row_becomes_an_object(emptied: Store, tmp_path: Path) -> None:
    rows = [
        ["timestamp", "protocol", "local_ip", "local_port", "size", "note"],
        ["1795343123.5", "udp", "192.0.2.1", "5353", "213248", 'quoted "word", comma'],
        ["1795343124.5", "udp", "::1", "514", "0", "two\nlines, ünicode"],
    ]
    file = tmp_path / "udp_redirect_output.csv"
    with file.open("w", newline="") as out:
        csv.writer(out).writerows(rows)
    assert curl(emptied, "--data-binary", f"@{file}") == {"stored": 2}
    names, *values = rows
    assert in_order(get(emptied)) == in_order([dict(zip(names, each, strict=True)) for each in values[::-1]])
    assert [each["local_port"] for each in get(emptied, port=5353, protocol="udp", ip="192.0.2.1")] == [
        "5353"
    ]
    assert curl(emptied, "--data", f"@{file}") == {"stored": 1}  # curl has made one line of it
    texts = [each["text"] for each in get(emptied) if "text" in each]
    assert texts == [file.read_text().replace("\n", "")]


def curl(store: Store, *arguments: str) -> Any:
    command = ["curl", "-sS", "-X", "POST", *arguments, f"{store.url.removeprefix('http://')}/store.json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=30).stdout)


@pytest.mark.parametrize("kind", [None, "text/plain", "text/csv", "application/x-www-form-urlencoded"])
def test_text_that_is_no_table_comes_back_to_the_character(emptied: Store, kind: str | None) -> None:
    texts = [
        "one line", " spaces \n\n", "a,b\n1,2,3\n", "a,a\n1,2\n", 'a,b\n"open,2\n', "{not json", "[2026] log, x",
        "nul \0 in,it\n", "a=1&b=%20", "\r\n", '{"a": NaN}', '{"a": 1, "a": 2}', "x" * 200_000 + ",y\n1,2\n",
        "[" * 100_000,
    ]  # fmt: skip
    for text in texts:
        assert posted(emptied, text, kind).json() == {"stored": 1}, text[:20]
    assert [each["text"] for each in get(emptied)] == texts[::-1]


def test_bytes_of_no_encoding_are_kept_each(emptied: Store) -> None:
    everything = bytes(range(256))
    assert posted(emptied, everything).status_code == 201
    (kept,) = get(emptied)
    assert kept["text"].encode("latin-1") == everything


def test_what_cannot_be_kept_is_refused_whole(emptied: Store) -> None:
    for status, body in (
        (400, b"{"), (400, b""), (400, b'{"a": NaN}'), (400, b"[Infinity]"), (400, b'{"a": 1, "a": 2}'),
        (400, b'{"a": "\xff"}'), (422, b"[]"), (422, b"1"), (422, b'"text"'), (422, b'[{"a": 1}, 2]'),
        (422, b"null"), (422, b'{"a": 1e999}'), (400, b"[" * 100_000), (422, b"[" + b"{}," * 10_000 + b"{}]"),
        (400, b'{"a": ' + b"1" * 5000 + b"}"),
    ):  # fmt: skip
        assert is_problem(posted(emptied, body, "application/json"), status), body[:20]
    assert is_problem(posted(emptied, b"", "text/plain"), 422)
    assert get(emptied) == []


def test_deep_objects_are_kept_and_shown_or_refused_but_never_kept_and_not_shown(emptied: Store) -> None:
    kept = 0
    for levels in range(50, 1100, 50):
        body = '{"a":' * levels + "1" + "}" * levels
        answer = posted(emptied, body, "application/json")
        assert answer.status_code == 201 or is_problem(answer, 400) or is_problem(answer, 422)
        kept += answer.status_code == 201
        for kind in ("application/json", "text/csv"):
            shown = requests.get(f"{emptied.url}/store.json", headers={"Accept": kind}, timeout=9)
            assert shown.status_code == 200
    assert kept > 0


def test_csv_runs_in_no_spreadsheet(emptied: Store) -> None:
    """A process may have any name: what a spreadsheet would run gets an apostrophe, numbers stay numbers."""
    hostile = (
        "=cmd|' /C calc'!A0",
        "+1+1",
        "-1+1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        " =1",
        "\uff1d1",
        "=",
        "-",
        "+",
    )
    harmless = ("nginx", "a=b", "-5", "+1.5e-3", "'=1", "", "2026-01-01", "a;b", "a\t=b")
    for number, name in enumerate(hostile):
        alert = requests.get(f"{emptied.url}/alert", params=told(number, comm=name), timeout=9)
        assert alert.json() == {"new": True}
    post(emptied, [{"text": text, "n": -5, "f": -0.5, "=h()": 1, "-3": 1} for text in (*hostile, *harmless)])
    answer = requests.get(f"{emptied.url}/store.json?limit=1000", headers={"Accept": "text/csv"}, timeout=9)
    head, *rows = csv.reader(io.StringIO(answer.content.decode(), newline=""), strict=True)
    assert {"'=h()", "-3"} <= set(head)
    dangerous = tuple("=+@\t\r\n")
    for cell in (*head, *(cell for row in rows for cell in row)):
        assert not cell.startswith(dangerous) or cell == "+1.5e-3", cell
        assert not cell.startswith("-") or float(cell) < 0, cell
    by_name = [dict(zip(head, row, strict=True)) for row in rows]
    texts = [row["text"] for row in by_name if row["text"] or row["n"]]
    assert sorted(texts) == sorted([*(f"'{text}" for text in hostile), *harmless])
    assert sorted(row["comm"] for row in by_name if row["comm"]) == sorted(f"'{text}" for text in hostile)
    assert {(row["n"], row["f"]) for row in by_name} == {("-5", "-0.5"), ("", "")}


def test_csv_comes_back_to_what_was_posted(emptied: Store) -> None:
    objects: list[dict[str, Any]] = [
        {"a": "plain", "b": 'quote " and, comma'},
        {"b": "two\r\nlines\rand\nmore", "c": " spaces "},
        {"ü,\n": "鍵", "a": "=1+1", "n": 1, "f": 1.5, "t": True, "none": None, "deep": {"x": [1, "ü"]}},
        {"half": "\ud800", "nul": "a\0b", "tab": "\t"},
        {"empty": ""},
    ]
    post(emptied, objects)
    answer = requests.get(f"{emptied.url}/store.json", headers={"Accept": "text/csv"}, timeout=9)
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.content.decode(), newline=""), strict=True))
    assert len(rows) == len(objects)
    for row, each in zip(rows, reversed(objects), strict=True):
        written = {
            name: value if isinstance(value, str) else json.dumps(value) for name, value in each.items()
        }
        written |= {"a": "'=1+1"} if "deep" in written else {}
        if "half" in written:
            written |= {"half": "\\ud800", "tab": "'\t"}
        assert {name: value for name, value in row.items() if value} == {
            name: value for name, value in written.items() if value
        }
