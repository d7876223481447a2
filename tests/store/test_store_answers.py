# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What every answer has, of whatever kind; what is too large, and what is no HTTP, is refused."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import requests

from tests.store.asking import is_problem
from tests.store.guarded import FOREIGN, MAX_BODY, PAGES, TOKEN, ask, raw
from tests.store.serving import Store, told

pytestmark = pytest.mark.filterwarnings("ignore:Unverified HTTPS")


POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def test_every_kind_of_answer_has_the_headers_of_safety(locked: Store, plain: Store, trusted: str) -> None:
    url = f"{plain.url}/store.json"
    tag = requests.get(f"{plain.url}/", timeout=9).headers["ETag"]
    host = {"Host": "evil.example"}
    answers = {
        200: [requests.get(f"{plain.url}{path}", timeout=9) for path in (*PAGES, "/healthz", "/metrics")]
        + [requests.get(f"{plain.url}{path}", timeout=9) for path in ("/store.json", "/episodes", "/openapi.json")]
        + [requests.get(f"{plain.url}/alert", params=told(1), timeout=9), requests.head(url, timeout=9)]
        + [requests.get(url, headers={"Accept": "text/csv"}, timeout=9)]
        + [requests.get(f"{plain.url}/stream", stream=True, timeout=9)],
        201: [requests.post(url, json={}, timeout=9)],
        304: [requests.get(f"{plain.url}/", headers={"If-None-Match": tag}, timeout=9)],
        400: [requests.get(f"{url}?x=%ff", timeout=9)],
        401: [ask(locked, "/metrics", ca=trusted)],
        403: [requests.delete(url, timeout=9), requests.get(url, headers=FOREIGN[0], timeout=9)],
        404: [requests.get(f"{plain.url}/{path}", timeout=9) for path in ("nothing", "store.json/", "..%2f", "a/b")],
        405: [requests.put(url, timeout=9), requests.post(f"{plain.url}/", timeout=9)],
        414: [requests.get(f"{url}?x={'y' * 20_000}", timeout=9)],
        421: [requests.get(url, headers=host, timeout=9)],
        422: [requests.get(f"{url}?port=x", timeout=9)],
    }  # fmt: skip
    for status, some in answers.items():
        for answer in some:
            assert answer.status_code == status, (status, answer.url)
            assert_safe(dict(answer.headers))
            if status >= 400:
                assert is_problem(answer, status)
            answer.close()


def assert_safe(headers: dict[str, str]) -> None:
    low = {name.lower(): value for name, value in headers.items()}
    assert low["content-security-policy"] == POLICY
    assert low["x-content-type-options"] == "nosniff"
    assert low["referrer-policy"] == "no-referrer"
    assert not {"server", "x-powered-by"} & low.keys()


def test_a_body_is_bounded_whether_its_length_is_told_or_not(locked: Store, trusted: str) -> None:
    url = f"{locked.url}/store.json"
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "text/plain"}
    most = b"x" * MAX_BODY

    def send(body: Any) -> requests.Response:
        return requests.post(url, data=body, headers=headers, verify=trusted, timeout=9)

    for fits in (most, iter([most[:1], most[1:]])):
        assert send(fits).json() == {"stored": 1}
    for over in (most + b"x", iter([most, b"x"]), iter([b"x"] * 10 + [most])):
        assert is_problem(send(over), 413)
    assert get_locked(locked, trusted, headers) == 2


def get_locked(store: Store, ca: str, headers: dict[str, str]) -> int:
    found = requests.get(
        f"{store.url}/store.json", headers=headers, params={"text": "x" * 256}, verify=ca, timeout=9
    )
    return len(found.json())


def test_a_body_that_is_told_to_be_too_large_is_not_waited_for(plain: Store) -> None:
    host = plain.url.removeprefix("http://")
    for length in (b"10485761", b"9" * 18):
        head = b"POST /store.json HTTP/1.1\r\nHost: %s\r\nContent-Length: %s\r\n\r\n" % (
            host.encode(),
            length,
        )
        status, headers, body = raw(plain, head)
        assert (status, json.loads(body)["status"]) == (413, 413)
        assert headers["connection"] == "close"
        assert_safe(headers)


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost 127.0.0.1\r\n\r\n",
        b"FROB / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"POST /store.json HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /store.json HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_http_gets_a_problem_too(plain: Store, sent: bytes) -> None:
    status, headers, body = raw(plain, sent)
    assert (status, json.loads(body)["status"]) == (400, 400)
    assert headers["content-type"] == "application/problem+json"
    assert_safe(headers)


def test_methods_that_are_not_known_are_refused_with_those_that_are(plain: Store) -> None:
    known = {
        "/alert": {"GET"}, "/stream": {"GET"}, "/store.json": {"GET", "HEAD", "POST", "DELETE"},
        "/episodes": {"GET", "HEAD"}, "/healthz": {"GET", "HEAD"}, "/metrics": {"GET", "HEAD"},
        "/openapi.json": {"GET", "HEAD"}, "/": {"GET", "HEAD"}, "/main.js": {"GET", "HEAD"},
    }  # fmt: skip
    for path, methods in known.items():
        for method in {
            "GET",
            "HEAD",
            "POST",
            "DELETE",
            "PUT",
            "PATCH",
            "OPTIONS",
            "TRACE",
            "PROPFIND",
        } - methods:
            answer = requests.request(method, f"{plain.url}{path}", timeout=9)
            assert answer.status_code == 405, (method, path)
            assert method == "HEAD" or is_problem(answer, 405)
            assert set(re.split(", *", answer.headers["Allow"])) == methods, (method, path)
