# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Redirects are followed, proxies are asked as the environment says; passwords and headers go to no other host."""

from __future__ import annotations

import base64
import ssl
import threading
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from sockbpf import __version__
from sockbpf.delivery.destinations import http_get as http_get_module
from tests.unit.http_servers import (
    SECRET_OPTIONS,
    TOLD,
    destination,
    drip,
    failure,
    http_server,
    raw_server,
    redirect_once,
    redirect_to,
    say,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("plain_environment")


def test_redirects_are_followed() -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.path.startswith("/alert"):
            say(307, Location="/moved?to=1")(handler)
        elif handler.path.startswith("/moved"):
            say(302, Location="there")(handler)
        else:
            say(204)(handler)

    with http_server(answer) as served, destination(served.url) as http_get:
        http_get.send(TOLD)
    assert [urlsplit(target).path for target in served.targets] == ["/alert", "/moved", "/there"]
    assert len(served.connections) == 1


def test_a_redirect_loop_ends() -> None:
    with http_server(say(302, Location="/alert?token=s3cret")) as served:
        error = failure(served.url)
    assert str(error) == f"GET http://127.0.0.1:{served.port}/alert: more than 30 redirects"
    assert len(served.targets) == 31


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/", "http://[::1/", "http://", "//:x", "\xff\xfe"])
def test_a_redirect_to_nowhere(location: str) -> None:
    with http_server(lambda handler: redirect_once(handler, location)) as served:
        failure(served.url)


def test_a_chain_of_slow_redirects_is_cut_as_a_whole() -> None:
    over = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        over.wait(0.15)
        say(302, Location="/alert")(handler)

    with http_server(answer) as served:
        error = failure(served.url, timeout_s=0.4)
        over.set()
    assert str(error).endswith("/alert: no answer within 0.4 s")
    assert len(served.targets) < 31


def test_the_password_of_the_url_is_used_but_not_carried_elsewhere() -> None:
    with http_server(say(200)) as elsewhere, http_server(say(302, Location=elsewhere.url)) as served:
        url = served.url.replace("http://", "http://us%40er:s3cret@")
        with destination(url) as http_get:
            http_get.send(TOLD)
    expected = "Basic " + base64.b64encode(b"us@er:s3cret").decode()
    assert served.headers[0]["Authorization"] == expected
    assert "Authorization" not in elsewhere.headers[0]


SECRET_HEADERS = {
    "Authorization": "Bearer s3cret.token",
    "X-Key": "s3cret key",
    "Cookie": "a=s3cret",
    "User-Agent": "s3cret agent",
}


def secrets_in(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if "s3cret" in value}


def test_headers_and_token_are_sent_each_time() -> None:
    with http_server(say(200)) as served, destination(served.url, **SECRET_OPTIONS) as http_get:
        http_get.send(TOLD)
        http_get.send(TOLD)
    assert [secrets_in(headers) for headers in served.headers] == [SECRET_HEADERS] * 2


def test_headers_and_token_stay_with_the_host_through_its_own_redirects() -> None:
    with (
        http_server(lambda handler: redirect_to(handler, "/moved")) as served,
        destination(served.url, **SECRET_OPTIONS) as http_get,
    ):
        http_get.send(TOLD)
    assert [urlsplit(target).path for target in served.targets] == ["/alert", "/moved"]
    # A Cookie is the only one that requests itself takes away at every redirect.
    assert secrets_in(served.headers[0]) == SECRET_HEADERS
    assert secrets_in(served.headers[1]).keys() == SECRET_HEADERS.keys() - {"Cookie"}


def test_headers_and_token_go_to_no_other_port_and_do_not_come_back() -> None:
    with (
        http_server(lambda handler: redirect_to(handler, f"{served.url}/back")) as other,
        http_server(lambda handler: redirect_to(handler, other.url)) as served,
        destination(served.url, **SECRET_OPTIONS) as http_get,
    ):
        http_get.send(TOLD)
        http_get.send(TOLD)
    assert [secrets_in(headers) for headers in other.headers] == [{}, {}]
    assert other.headers[0]["User-Agent"] == f"sockbpf/{__version__}"
    assert [urlsplit(target).path for target in served.targets] == ["/alert", "/alert/back"] * 2
    assert [secrets_in(headers) for headers in served.headers] == [SECRET_HEADERS, {}] * 2


def test_headers_and_token_go_to_no_other_name_at_the_same_port() -> None:
    with (
        http_server(lambda handler: redirect_to(handler, f"http://localhost:{served.port}/moved")) as served,
        destination(served.url, **SECRET_OPTIONS) as http_get,
    ):
        http_get.send(TOLD)
    assert [secrets_in(headers) for headers in served.headers] == [SECRET_HEADERS, {}]


def test_headers_and_token_go_nowhere_without_tls(tls: ssl.SSLContext, ca_file: Path) -> None:
    with (
        http_server(say(200)) as other,
        http_server(say(302, Location=other.url), tls=tls) as served,
        destination(served.url, ca_file=ca_file, **SECRET_OPTIONS) as http_get,
    ):
        http_get.send(TOLD)
    assert secrets_in(served.headers[0]) == SECRET_HEADERS
    assert secrets_in(other.headers[0]) == {}


def test_a_header_authorization_is_no_less_a_secret() -> None:
    with (
        http_server(say(200)) as other,
        http_server(say(302, Location=other.url)) as served,
        destination(served.url, headers={"AUTHORIZATION": "s3cret"}) as http_get,
    ):
        http_get.send(TOLD)
    assert [*secrets_in(served.headers[0]).values()] == ["s3cret"]
    assert secrets_in(other.headers[0]) == {}


@pytest.mark.parametrize("direct", [True, False])
def test_the_password_of_a_proxy_goes_to_proxies_only(monkeypatch: pytest.MonkeyPatch, direct: bool) -> None:
    with (
        http_server(say(200)) as other,
        http_server(lambda handler: redirect_to(handler, to)) as proxy,
    ):
        monkeypatch.setenv("http_proxy", f"http://us%40er:s3cret@127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        to = f"http://127.0.0.1:{other.port}/moved" if direct else "http://other.invalid/moved"
        with destination("http://receiver.invalid/alert") as http_get:
            http_get.send(TOLD)
    expected = "Basic " + base64.b64encode(b"us@er:s3cret").decode()
    assert [headers["Proxy-Authorization"] for headers in proxy.headers] == [expected] * (1 if direct else 2)
    assert ["Proxy-Authorization" in headers for headers in other.headers] == ([False] if direct else [])


def test_netrc_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login user password s3cret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with http_server(say(200)) as elsewhere, http_server(say(302, Location=elsewhere.url)) as served:
        with destination(served.url) as http_get:
            http_get.send(TOLD)
        assert "Authorization" not in served.headers[0]
        assert "Authorization" not in elsewhere.headers[0]


def test_cookies_are_not_kept() -> None:
    with http_server(say(200, Set_Cookie="a=1")) as served, destination(served.url) as http_get:
        http_get.send(TOLD)
        http_get.send(TOLD)
    assert "Cookie" not in served.headers[1]


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with http_server(say(200)) as proxy, http_server(say(200)) as direct:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with destination("http://receiver.invalid/alert") as http_get:
            http_get.send(TOLD)
        with destination(direct.url) as http_get:
            http_get.send(TOLD)
    assert proxy.targets[0].startswith("http://receiver.invalid/alert?timestamp=")
    assert (len(proxy.targets), len(direct.targets)) == (1, 1)


def test_the_environment_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def proxies_of(url: str) -> dict[str, str]:
        asked.append(url)
        return {}

    monkeypatch.setattr(http_get_module, "get_environ_proxies", proxies_of)
    with (
        http_server(say(200)) as other,
        http_server(say(302, Location=other.url)) as served,
        destination(served.url.replace("//", "//user:s3cret@")) as http_get,
    ):
        assert len(asked) == 1
        for _ in range(5):
            http_get.send(TOLD)
    assert [urlsplit(url).port for url in asked] == [served.port, other.port]


def test_what_the_environment_says_later_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    with http_server(say(200)) as served, destination(served.url) as http_get:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        http_get.send(TOLD)


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "10.0.0.0/8,127.0.0.0/8", "localhost, 127.0.0.1"])
def test_whether_there_is_a_proxy_is_asked_of_each_redirect_too(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str
) -> None:
    with (
        http_server(lambda handler: redirect_to(handler, "http://receiver.invalid/moved")) as direct,
        http_server(lambda handler: redirect_to(handler, f"http://127.0.0.1:{direct.port}/moved")) as proxy,
    ):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", no_proxy)
        for url in (direct.url, "http://receiver.invalid/alert"):
            with destination(url) as http_get:
                http_get.send(TOLD)
    # A proxy is asked for whole URLs.
    assert [target.partition("?")[0] for target in direct.targets] == ["/alert", "/moved"]
    assert [target.partition("?")[0] for target in proxy.targets] == [
        "http://receiver.invalid/moved",
        "http://receiver.invalid/alert",
    ]


def test_a_proxy_that_drips_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_server(lambda connection, over: drip(connection.sendall, over)) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("https_proxy", proxy)
        failure("http://receiver.invalid/alert", timeout_s=0.2)
        failure("https://receiver.invalid/alert", timeout_s=0.2)
