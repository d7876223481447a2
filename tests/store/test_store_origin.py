# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""No page elsewhere has a browser write into the store: also by browsers that do not say which page it was."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlencode

import requests
from playwright.sync_api import sync_playwright

from tests.live.waiting import until
from tests.store.asking import delete, get, is_problem
from tests.store.conftest import StartStore
from tests.store.hostile import request
from tests.store.serving import TOKEN, Store, told
from tests.store.talking import Talk

SAFARI = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/15.6 Safari/605.1.15"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:68.0) Gecko/20100101 Firefox/68.0"
EXPLORER = "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko"
SHOWN = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

# What each browser sends for a page of https://evil.example, or of a file, as far as it matters here.
GETS = {
    "img, Safari 15": {"User-Agent": SAFARI, "Accept": "image/webp,image/avif,image/*,*/*;q=0.8"},
    "img, Firefox 68": {"User-Agent": FIREFOX, "Accept": "image/webp,*/*", "Referer": "http://evil.example/"},
    "img, no agent": {"Accept": "image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5"},
    "script": {"User-Agent": FIREFOX, "Accept": "*/*"},
    "style": {"Accept": "text/css,*/*;q=0.1"},
    "link prefetch": {"User-Agent": FIREFOX, "Accept": "*/*", "X-Moz": "prefetch"},
    "prefetch, no agent": {"Accept": "*/*", "Purpose": "prefetch"},
    "navigation, Safari 15": {"User-Agent": SAFARI, "Accept": SHOWN},
    "navigation, no agent": {"Accept": SHOWN, "Upgrade-Insecure-Requests": "1"},
    "a link in a mail, Chromium": {
        "User-Agent": SAFARI, "Accept": SHOWN, "Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate",
    },
    "form, Explorer 11": {"User-Agent": EXPLORER, "Accept": "text/html, application/xhtml+xml, */*"},
    "with a cookie": {"Cookie": "a=b", "Accept": "*/*"},
    "a language": {"Accept-Language": "de", "Accept": "*/*"},
    "Opera 12": {"User-Agent": "Opera/9.80 (X11; Linux x86_64) Presto/2.12.388 Version/12.16", "Accept": "*/*"},
    "a frame of no origin": {"Accept": "*/*", "Origin": "null"},
    "the page's own name, another port": {"Accept": "*/*", "Referer": "http://127.0.0.1:1/"},
    "a broken referer": {"Accept": "*/*", "Referer": "http://[/"},
    "a mode alone": {"Accept": "*/*", "Sec-Fetch-Mode": "no-cors"},
    "client hints alone": {"Accept": "*/*", "Sec-CH-UA": '"Chromium";v="90"'},
}  # fmt: skip
POSTS = {
    "form, Firefox 68": {"User-Agent": FIREFOX, "Accept": SHOWN, "Content-Type": "text/plain"},
    "form, Safari 15": {"User-Agent": SAFARI, "Accept": SHOWN, "Origin": "https://evil.example"},
    "form, Explorer 11": {"User-Agent": EXPLORER, "Content-Type": "application/x-www-form-urlencoded"},
    "beacon": {"User-Agent": FIREFOX, "Accept": "*/*", "Content-Type": "text/plain;charset=UTF-8"},
    "ping": {"User-Agent": SAFARI, "Content-Type": "text/ping", "Ping-From": "http://evil.example"},
    "a sandbox": {"User-Agent": SAFARI, "Origin": "null"},
}
PROGRAMS: tuple[dict[str, str], ...] = (
    {},
    {"User-Agent": "curl/7.88.1", "Accept": "*/*"},
    {"User-Agent": "python-requests/2.28.1", "Accept": "*/*", "Accept-Encoding": "gzip"},
    {"User-Agent": "Wget/1.21.3", "Accept": "*/*", "Accept-Encoding": "identity"},
    {"User-Agent": "Go-http-client/1.1", "Accept-Encoding": "gzip"},
)  # fmt: skip


def said(store: Store, sent: bytes) -> int:
    with Talk(store.url) as talk:
        talk.send(sent)
        answer = talk.answer()
        assert answer
        return answer.status


def alert_of(number: int) -> bytes:
    return b"/alert?" + urlencode(told(number)).encode()


def test_no_browser_writes_for_a_page_elsewhere(plain: Store) -> None:
    for number, (name, headers) in enumerate(GETS.items()):
        assert said(plain, request(alert_of(number), *headers.items())) == 403, name
    for name, headers in POSTS.items():
        for body in (b"{}", b"text", b"a=b"):
            sent = request(b"/store.json", *headers.items(), method="POST", body=body)
            assert said(plain, sent) == 403, name
    assert get(plain) == []
    for number, headers in enumerate(PROGRAMS):
        assert said(plain, request(alert_of(number), *headers.items())) == 200, headers
        assert said(plain, request(b"/store.json", *headers.items(), method="POST", body=b"{}")) == 201
    assert len(get(plain)) == 2 * len(PROGRAMS)


def test_our_page_reads_in_every_browser(plain: Store) -> None:
    """Also beyond loopback, where none says what a request is for."""
    for headers in (
        {"User-Agent": SAFARI, "Accept": "*/*"},
        {"User-Agent": FIREFOX, "Accept-Language": "de"},
    ):
        for path in ("/store.json", "/episodes", "/", "/main.js"):
            assert requests.get(f"{plain.url}{path}", headers=headers, timeout=9).status_code == 200
    elsewhere = {"User-Agent": FIREFOX, "Referer": "http://evil.example/"}
    assert requests.get(f"{plain.url}/store.json", headers=elsewhere, timeout=9).status_code == 403
    assert requests.get(f"{plain.url}/", headers=elsewhere, timeout=9).status_code == 200


def test_who_sends_the_token_may_say_what_it_likes(
    start: StartStore, database_of: Callable[[str], str]
) -> None:
    store = start(database_of("sqlite"), token=TOKEN)
    agent = {"User-Agent": SAFARI, "Accept": SHOWN, **store.headers}
    assert requests.post(f"{store.url}/store.json", json={}, headers=agent, timeout=9).status_code == 201
    agent["Sec-Fetch-Site"] = "cross-site"
    assert requests.post(f"{store.url}/store.json", json={}, headers=agent, timeout=9).status_code == 403


def test_nothing_is_deleted_without_a_token(plain: Store, erasable: Store) -> None:
    for store in (plain, erasable):
        assert (
            requests.post(
                f"{store.url}/store.json", json={"n": 1}, headers=store.headers, timeout=9
            ).status_code
            == 201
        )
    for query in ("older_than=0s", "before=1e18", "older_than=1d", "", "x=y"):
        answer = requests.delete(f"{plain.url}/store.json?{query}", timeout=9)
        assert is_problem(answer, 403)
        assert "store > token" in answer.json()["detail"]
        for headers in (
            {"Authorization": "Bearer "},
            {"Authorization": "Bearer None"},
            {"X-HTTP-Method-Override": "DELETE"},
        ):
            assert (
                requests.delete(f"{plain.url}/store.json?{query}", headers=headers, timeout=9).status_code
                == 403
            )
        assert is_problem(requests.delete(f"{erasable.url}/store.json?{query}", timeout=9), 401)
    assert get(plain) == get(erasable) == [{"n": 1}]
    assert delete(erasable, older_than="0s").json() == {"deleted": 1}


@contextmanager
def page_elsewhere(text: str) -> Iterator[str]:
    """Serve a page from another origin; yield its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_a_page_elsewhere_in_chromium_writes_nothing(plain: Store) -> None:
    def url(number: int) -> str:
        return plain.url + alert_of(number).decode()

    page_text = f"""<!doctype html>
        <img src="{url(1)}"><script src="{url(2)}"></script><link rel=stylesheet href="{url(3)}">
        <iframe src="{url(4)}"></iframe><iframe name=f></iframe><video src="{url(5)}"></video>
        <form id=post target=f method=post enctype=text/plain action="{plain.url}/store.json"><input name=a></form>
        <script>
          navigator.sendBeacon("{plain.url}/store.json", "beacon");
          fetch("{url(6)}", {{mode: "no-cors", referrerPolicy: "no-referrer"}}).catch(() => 0);
          document.getElementById("post").submit();
        </script>"""
    ended: list[str] = []
    with page_elsewhere(page_text) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page()
        statuses: list[int] = []
        page.on("response", lambda got: statuses.append(got.status))
        page.on("requestfinished", lambda sent: ended.append(sent.url))
        page.on(
            "requestfailed", lambda sent: ended.append(sent.url)
        )  # Chromium keeps the answer from the page
        page.goto(address)

        def all_sent() -> bool:
            page.wait_for_timeout(10)  # lets the events in
            return {plain.url + "/store.json", *(url(number) for number in range(1, 7))} <= set(ended)

        until(all_sent, lambda: str(ended))
        browser.close()
    assert get(plain) == []
    assert statuses.count(403) >= 2, "the frame's and the form's are told"
