# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Stores that guard something: one with a token, TLS and a small greatest body, one without a token."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import trustme

from tests.store.altering import empty
from tests.store.serving import Store, start_store

TOKEN = "correct-horse-battery-staple"
MAX_BODY = 50_000
PAGES = ("/", "/main.js", "/page.css", "/uPlot.esm.js")
FOREIGN = (
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def trusted(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the file of the authority's certificate."""
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return str(file)


@pytest.fixture(scope="module")
def locked(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Start a store with a token, TLS and a small greatest body."""
    folder = tmp_path_factory.mktemp("locked")
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    (folder / "token").write_text(TOKEN)
    store = start_store(
        folder / "store",
        f"sqlite:///{folder / 'alerts.sqlite'}",
        trusted=str(folder / "ca.pem"),
        token={"file": str(folder / "token")},
        tls_cert=str(folder / "cert.pem"),
        tls_key=str(folder / "key.pem"),
        max_body=MAX_BODY,
    )
    yield store
    assert store.stop() == 0
    assert TOKEN not in store.log()
    assert "Traceback" not in store.log()


@pytest.fixture
def plain(lasting: Callable[..., Store]) -> Store:
    """Return a store without a token, on loopback."""
    store = lasting("sqlite")
    empty(store)
    return store


def ask(store: Store, path: str, *, ca: str, method: str = "GET", **more: Any) -> requests.Response:
    return requests.request(method, f"{store.url}{path}", verify=ca, timeout=9, stream=True, **more)


def raw(store: Store, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes; return status, headers and body of the answer."""
    parts = urlsplit(store.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=9) as connection:
        connection.sendall(sent)
        answer = b""
        while b"\r\n\r\n" not in answer:
            got = connection.recv(65536)
            assert got, answer
            answer += got
        head, _, body = answer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        while len(body) < int(headers.get("content-length", 0)):
            got = connection.recv(65536)
            assert got, answer
            body += got
    return int(first.split()[1]), headers, body
