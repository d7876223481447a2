# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Who may ask, from where, and how much: token, TLS, names, other origins, headers, sizes."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.live.waiting import DEADLINE_S, until
from tests.store.conftest import StartStore
from tests.store.serving import Store, start_store, told

TOKEN = "a-token-of-the-tests"
DATA = ("/store.json", "/episodes", "/metrics", "/openapi.json", "/stream", "/alert?event=cleared")
HALF_HELLO = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(40)
PAGE = ("/", "/main.js", "/page.css", "/uPlot.esm.js")


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/alerts.sqlite"


def ask(store: Store, path: str, method: str = "GET", **headers: str) -> requests.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.request(method, store.url + path, headers=given, timeout=9, stream=True)


def test_data_wants_the_token_and_the_page_does_not(start: StartStore, sqlite: str) -> None:
    store = start(sqlite, token=TOKEN)
    for path in DATA:
        for wrong in ({}, {"Authorization": TOKEN}, {"Authorization": f"Bearer {TOKEN}x"},
                      {"Authorization": "Bearer "}, {"Authorization": f"Basic {TOKEN}"}):  # fmt: skip
            answer = ask(store, path, **wrong)
            assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer"), path
        answer = ask(store, path, Authorization=f"Bearer {TOKEN}")
        assert answer.status_code == (422 if "alert" in path else 200)
        answer.close()
    for method in ("POST", "DELETE"):
        assert ask(store, "/store.json", method).status_code == 401
    assert [ask(store, path).status_code for path in (*PAGE, "/healthz")] == [200] * 5
    assert TOKEN not in store.log()


def test_others_reach_it_only_with_a_token(sqlite: str, tmp_path: Path) -> None:
    store = start_store(tmp_path / "store", sqlite, listen="0.0.0.0:1", healthy=False)
    assert store.process.wait(30) == 2
    assert "expected a token, or a listen that only this host reaches" in store.log()


def test_it_speaks_tls(start: StartStore, sqlite: str, tls: dict[str, str]) -> None:
    store, trusted = start(sqlite, **tls), tls["trusted"]
    answer = requests.get(f"{store.url}/alert", params=told(1), verify=trusted, timeout=9)
    assert answer.json() == {"new": True}
    plain = store.url.replace("https", "http")
    with pytest.raises(requests.RequestException):
        requests.get(f"{plain}/store.json", timeout=9)
    assert len(requests.get(f"{store.url}/store.json", verify=trusted, timeout=9).json()) == 1


def test_every_answer_has_the_headers_that_guard_a_browser(start: StartStore, sqlite: str) -> None:
    store = start(sqlite)
    for path, status in (
        ("/", 200),
        ("/nowhere", 404),
        ("/store.json", 200),
        ("/store.json?ip=x", 422),
        ("/alert", 422),
    ):
        answer = ask(store, path)
        assert answer.status_code == status
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "Access-Control-Allow-Origin" not in answer.headers
    assert ask(store, "/main.js").headers["Content-Type"].startswith("text/javascript")
    assert ask(store, "/page.css").headers["Content-Type"].startswith("text/css")
    assert ask(store, "/../serve.py").status_code == 404
    assert ask(store, "/store.json", "PUT").status_code == 405


def test_a_name_of_somebody_else_is_not_ours(start: StartStore, sqlite: str) -> None:
    """A page elsewhere can have its own name lead to this host: what it asks then is its own origin."""
    store = start(sqlite)
    port = urlsplit(store.url).port
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1.evil.example",
        "",
        "[::2]",
        "localhost@evil.example:80",
    ):
        assert ask(store, "/store.json", Host=host).status_code == 421, host
    for host in (f"localhost:{port}", "127.0.0.1", f"[::1]:{port}", "LOCALHOST"):
        assert ask(store, "/store.json", Host=host).status_code == 200, host


def test_a_page_of_another_origin_may_ask_nothing(start: StartStore, sqlite: str) -> None:
    store = start(sqlite)
    alert = requests.Request("GET", f"{store.url}/alert", params=told(1)).prepare().path_url
    for foreign in ({"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}, {"Origin": "http://evil.example"},
                    {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"}):  # fmt: skip
        for path, method in ((alert, "GET"), ("/store.json", "POST"), ("/store.json?before=9e9", "DELETE")):
            assert ask(store, path, method, **foreign).status_code == 403, (foreign, path)
        assert ask(store, "/", **foreign).status_code == 200  # a link may lead here
    assert ask(store, "/store.json", Sec_Fetch_Site="same-origin").json() == []
    assert ask(store, alert, Origin=store.url).json() == {"new": True}


def test_parameters_have_a_greatest_number_and_length(start: StartStore, sqlite: str) -> None:
    store = start(sqlite)
    for query, status in (
        ("&".join(f"k{n}=v" for n in range(129)), 400), ("k=" + "v" * 20_000, 414), ("k=%ff", 400), ("k=%zz", 422),
    ):  # fmt: skip
        for path in ("/alert", "/store.json"):
            wanted = 200 if path == "/store.json" and status == 422 else status
            assert ask(store, f"{path}?{query}").status_code == wanted, query[:20]


def test_a_head_without_end_is_cut_off(start: StartStore, sqlite: str) -> None:
    store = start(sqlite)
    sent = 0
    with socket.create_connection(("127.0.0.1", urlsplit(store.url).port), timeout=9) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        with suppress(ConnectionError):
            while sent < 50_000_000:
                sent += client.send(b"X-Filler: " + b"x" * 8000 + b"\r\n")
    assert sent < 20_000_000  # most of it in the buffers of the kernel
    assert ask(store, "/healthz").status_code == 200


@pytest.mark.parametrize("speaks_tls", [False, True])
def test_who_says_nothing_is_let_go(
    start: StartStore, sqlite: str, tls: dict[str, str], *, speaks_tls: bool
) -> None:
    store = start(sqlite, **(tls if speaks_tls else {}))
    address = ("127.0.0.1", urlsplit(store.url).port)
    silent = [socket.create_connection(address, timeout=DEADLINE_S) for _ in range(53)]
    for client in silent[::2]:
        client.sendall(HALF_HELLO if speaks_tls else b"GET /alert?event=ex")

    def gone(client: socket.socket) -> bool:
        try:
            return client.recv(1) == b""
        except ConnectionError:
            return True

    try:
        until(lambda: all(gone(client) for client in silent), "all let go")
    finally:
        for client in silent:
            client.close()
    assert requests.get(f"{store.url}/healthz", verify=store.trusted, timeout=9).status_code == 200
