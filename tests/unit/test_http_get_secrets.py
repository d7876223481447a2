# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""No error, log or repr of the HTTP GET shows a secret."""

from __future__ import annotations

import logging
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from pydantic import ValidationError

from sockbpf.delivery.destinations.http_get import redacted
from tests.unit.http_servers import (
    SECRET_OPTIONS,
    TOLD,
    destination,
    failure,
    http_server,
    raw_server,
    redirect_once,
    say,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("plain_environment")


def test_no_library_logs_the_secrets(caplog: pytest.LogCaptureFixture) -> None:
    bad_headers = b"HTTP/1.1 500 No\r\n: nameless\r\nno colon\r\nContent-Length: 0\r\n\r\n"
    with caplog.at_level(logging.DEBUG):
        with raw_server(lambda connection, _: connection.sendall(bad_headers)) as url:
            failure(url)
        with http_server(say(200)) as served, destination(f"{served.url}?token=s3cret") as http_get:
            http_get.send(TOLD)
    assert "s3cret" not in caplog.text


def test_nothing_that_is_shown_holds_a_secret(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tls: ssl.SSLContext, ca_file: Path
) -> None:
    with (
        caplog.at_level(logging.DEBUG),
        http_server(say(500)) as other,
        http_server(say(500), tls=tls) as served,
    ):
        for url in (
            f"{other.url}/s3cret/path?s3cret",
            f"http://127.0.0.1:{other.port}/s3cret",
            f"{served.url}/s3cret",
            "http://127.0.0.1:9/s3cret",
            "https://receiver.invalid/s3cret",
        ):
            monkeypatch.setenv("HOOK", url)
            kept: Any = {"env": "HOOK"}
            options: dict[str, Any] = SECRET_OPTIONS | {"ca_file": ca_file}
            error = failure(kept, **options)
            at = urlsplit(url)
            assert str(error).startswith(f"GET {at.scheme}://{at.netloc}/...: ")
            with destination(kept, **options) as http_get:
                assert "s3cret" not in repr(http_get) + repr(http_get._settings) + str(http_get._settings)
                assert "s3cret" not in repr(vars(http_get._settings)["headers"])
    assert served.targets
    assert other.targets
    assert "s3cret" not in caplog.text


def test_a_redirect_does_not_show_the_path_of_a_secret_url(monkeypatch: pytest.MonkeyPatch) -> None:
    with http_server(lambda handler: redirect_once(handler, "/s3cret/moved")) as served:
        monkeypatch.setenv("HOOK", served.url)
        kept: Any = {"env": "HOOK"}
        assert str(failure(kept)) == f"GET http://127.0.0.1:{served.port}/...: answered 500"


@pytest.mark.parametrize(
    "url",
    ["", "no scheme s3cret", "http://", "http://[::1/s3cret?s3cret", "gopher://host/", "http://host/#part"],
)
def test_a_url_that_is_none_gets_no_further_than_the_settings(url: str) -> None:
    with pytest.raises(ValidationError) as caught, destination(url):
        pass
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "plain", "host"),
    [
        ("http://user:s3cret@host:81/path?s3cret#s3cret", "http://host:81/path", "http://host:81/..."),
        ("https://us@er:s3c/ret@host/", "(unreadable URL)", "(unreadable URL)"),
        ("http://a:s3cret@b@[::1]:8080/x", "http://[::1]:8080/x", "http://[::1]:8080/..."),
        ("http://host", "http://host", "http://host/..."),
        ("http://[::1", "(unreadable URL)", "(unreadable URL)"),
        ("http://host:port/", "(unreadable URL)", "(unreadable URL)"),
    ],
)
def test_a_url_is_shown_without_what_may_be_secret(url: str, plain: str, host: str) -> None:
    assert redacted(url) == plain
    assert redacted(url, path=False) == host
