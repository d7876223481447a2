# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which urls are taken, how others are refused, and that no secret of one is shown."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sockbpf.settings.config import (
    Config,
    load,
)
from tests.unit.written_settings import PORT, URL, WEB, faults

SPACES = "expected a url without spaces, control characters and backslashes"


HIDDEN = "'http://***'"
"""More than the scheme may be secret."""

BAD_URLS = {
    "empty": ("", WEB, "''"),
    "scheme": ("ftp://host/", WEB, "'ftp://host/'"),
    "no-scheme": ("host/alert", WEB, "'host/alert'"),
    "no-host": ("http:///alert", WEB, "'http:///alert'"),
    "one-slash": ("http:/host", WEB, "'http:/host'"),
    "host-characters": ("http://a*b/", WEB, HIDDEN),
    "host-empty-label": ("http://a..b/", WEB, "'http://a..b/'"),
    "host-bracket": ("'http://[::1/'", WEB, HIDDEN),
    "host-bracket-word": ("'http://[word]/'", WEB, HIDDEN),
    "host-bad-ipv6": ("'http://[1:2]:80/'", WEB, "'http://[1:2]:80/'"),
    "port-zero": ("http://host:0/", PORT, "'http://host:0/'"),
    "port-over": ("http://host:65536/", PORT, "'http://host:65536/'"),
    "port-word": ("http://host:http/", PORT, HIDDEN),
    "fragment": ("http://host/#top", "expected a url without a fragment (#...)", HIDDEN),
    "space": ("http://host/a b", SPACES, HIDDEN),
    "newline": ('"http://host/\\nX: y"', SPACES, HIDDEN),
    "backslash": ("http://host\\@other/", SPACES, HIDDEN),
    "zero-width": ('"http://ho\\u200bst/"', SPACES, HIDDEN),
    "long": (
        "http://host/" + "x" * 2000,
        "expected a url of at most 2000 characters",
        f"'http://host/{'x' * 45}...'",
    ),
}


@pytest.mark.parametrize(("url", "expected", "got"), BAD_URLS.values(), ids=BAD_URLS.keys())
def test_bad_url(file: Path, url: str, expected: str, got: str) -> None:
    assert faults(file, f"log: info\nurl: {url}") == [f":2: url: {expected}, got {got}"]


@pytest.mark.parametrize(
    "content",
    [
        "url: ftp://user:secret@host/",
        "- url: http://host/?secret",
        "[{token: secret}]",
        "url: {secret: x}",
        "url: {env: secret}",
        "url: {file: secret}",
        "url: {file: /secret}",
        "url: {env: x, secret: x}",
        "url: http://user:secret@host:99999/",
        "url: http://user:se#secret@host/",
        "url: http://user:se/secret@host/",
        "url: http://user:se?secret@host/",
        "url: http://user:se@secret@host:0/",
        "url: user:secret@host",
        "url: http://user:secret",
        "url: http://user:secret #@host",
        "url: http://user:secret%40host/",
        "url: http://host:0/?token=secret",
        'url: "http://user:\\nsecret@host/"',
        'url: "http://user:secret@host/" x',
        "url: [http://user:secret@host/]",
        "url: {http://user:secret@host/: 1}",
        "url: !http://user:secret@host/ x",
        "uri: http://user:secret@host/",
        f"url: {URL}\nlog: http://user:secret@host/",
        f"url: {URL}\nevents: [http://user:secret@host/]",
        f"url: {URL}\nkernel: [http://user:secret@host/]",
        f"url: {URL}\nhttp://user:secret@host/: 1",
        f"url: {URL}\nhttp://user:secret@host/: 1\nhttp://user:secret@host/: 1",
        "http://user:secret@host/",
        "url: http://user:secret@host/\nurl: http://user:secret@host/",
        "url: http://user:secret@host/\nlog: loud",
    ],
)
def test_no_secret_in_a_fault(file: Path, content: str) -> None:
    told = faults(file, content)
    assert told
    assert "secret" not in "".join(told)


def test_no_secret_where_settings_are_shown() -> None:
    assert "secret" not in repr(Config(url="http://user:secret@host/"))
    with pytest.raises(ValidationError) as caught:
        Config(url="ftp://user:secret@host/")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "https://host",
        "HTTP://Host.example.:65535/a/b?c=d&e",
        "http://user:pass@host:1/",
        "http://user:p%40ss@10.0.0.1",
        "http://a_b-c/",
        "http://[::1]:8080/alert",
        "http://[fe80::1%25eth0]/",
        "http://host/ä?ö=%20",
        "http://xn--bcher-kva.example/",
    ],
)
def test_good_url(file: Path, url: str) -> None:
    file.write_text(f"url: '{url}'")
    assert load(file).url == url
    assert requests.Request("GET", url).prepare().url


@settings(deadline=None)
@given(st.text() | st.from_regex(r"https?://[\[\]a-z0-9.:%@*_-]{0,20}(/[ -~]*)?", fullmatch=True))
def test_the_client_takes_every_url_that_is_taken_here(url: str) -> None:
    try:
        Config(url=url)
    except ValidationError:
        return
    assert requests.Request("GET", url).prepare().url
