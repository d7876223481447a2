# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Options of HTTP, certificates and keys; every fault of every destination in one run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockbpf.settings.config import Config, load
from sockbpf.settings.destinations import (
    MODELS,
)
from tests.unit.written_destinations import (
    ABSOLUTE,
    FORMS,
    KEYS,
    NAMESAKE,
    NOT_MADE,
    SHOWN,
    SYSLOG,
    TLS,
    TYPES,
    URL,
    WEB,
    destinations,
    faults,
)

HEADER = "expected the value of a header, one line of ASCII without a space at its ends"
FRAMING = "connection, content-length, host, te, trailer, transfer-encoding, upgrade"
CERTIFICATES = "expected a file of certificates, PEM"
TAG = "expected a value without a tag, got one (!...): if it is the value itself, quote it"
KEY = "expected the key of client_cert, PEM, without a passphrase"


BAD_OPTIONS = {
    "word": ("http: s3cret", "", f"expected keys ({TLS}) with their values"),
    "list": ("http: [token, s3cret]", "", f"expected keys ({TLS}) with their values"),
    "key": ("http: {ca_fil: x}", " > ca_fil", "unknown key, did you mean 'ca_file'?"),
    "key-far": ("http: {zzz: s3cret}", " > zzz", f"unknown key, expected one of {TLS}"),
    "headers-word": ("http: {headers: 'X-Key: s3cret'}", " > headers", "expected names with their values"),
    "headers-list": ("http: {headers: ['X-Key: s3cret']}", " > headers", "expected names with their values"),
    "header-name-space": (
        "http: {headers: {X s3cret: x}}",
        " > headers",
        "expected names of headers such as X-Team, got another",
    ),
    "header-name-line": (
        'http: {headers: {"X:\\r\\ns3cret": x}}',
        " > headers",
        "expected names of headers such as X-Team, got another",
    ),
    "header-name-empty": (
        "http: {headers: {'': x}}",
        " > headers",
        "expected names of headers such as X-Team, got another",
    ),
    "header-name-umlaut": (
        "http: {headers: {Schlüssel: x}}",
        " > headers",
        "expected names of headers such as X-Team, got another",
    ),
    "header-framing": (
        "http: {headers: {content-Length: 3}}",
        " > headers",
        f"expected names of headers other than {FRAMING}",
    ),
    "header-twice": (
        "http: {headers: {x-team: a, X-Team: b}}",
        " > headers",
        "expected no header twice, upper and lower case are the same",
    ),
    "header-line-feed": ('http: {headers: {X-A: "s3cret\\nX-B: c"}}', " > headers > X-A", HEADER),
    "header-return": ('http: {headers: {X-A: "s3cret\\r"}}', " > headers > X-A", HEADER),
    "header-nul": ('http: {headers: {X-A: "s3cret\\0"}}', " > headers > X-A", HEADER),
    "header-space": ("http: {headers: {X-A: ' s3cret'}}", " > headers > X-A", HEADER),
    "header-umlaut": ("http: {headers: {X-A: s3cretä}}", " > headers > X-A", HEADER),
    "header-empty": ("http: {headers: {X-A: }}", " > headers > X-A", HEADER),
    "header-list": ("http: {headers: {X-A: [s3cret]}}", " > headers > X-A", FORMS),
    "token-space": ("http: {token: Bearer s3cret}", " > token", "expected a token, ASCII without spaces"),
    "token-line": ('http: {token: "s3cret\\n"}', " > token", "expected a token, ASCII without spaces"),
    "token-list": ("http: {token: [s3cret]}", " > token", FORMS),
    "token-twice": (
        "http: {token: s3cret, headers: {authorization: s3cret}}",
        " > token",
        "expected either a token or a header Authorization",
    ),
    "ca-relative": ("http: {ca_file: ca.pem}", " > ca_file", f"{ABSOLUTE}, got 'ca.pem'"),
    "ca-missing": (
        "http: {ca_file: /nowhere/ca.pem}",
        " > ca_file",
        f"{CERTIFICATES}, it cannot be read: No such file or directory, got '/nowhere/ca.pem'",
    ),
    "key-alone": ("http: {client_key: /x}", " > client_key", "expected client_cert beside it, got '/x'"),
}


@pytest.mark.parametrize(("content", "where", "fault"), BAD_OPTIONS.values(), ids=BAD_OPTIONS.keys())
def test_bad_option_of_http(file: Path, content: str, where: str, fault: str) -> None:
    assert faults(file, f"url: {URL}\n{content}") == [f":2: http{where}: {fault}"]
    if where:
        nested = content.replace("http: {", f"destinations: [{{type: http, name: n, url: '{URL}', ") + "]"
        fault = fault.replace(f"expected one of {TLS}", f"expected one of {KEYS}, {TLS}, url")
        assert faults(file, f"url: {URL}\n{nested}") == [f":2: destinations > item 1{where}: {fault}"]


def test_the_url_and_its_options_say_only_once_who_we_are(file: Path) -> None:
    expected = [":2: http: expected no user in the url beside a token or a header Authorization"]
    for options in ("token: s3cret", "headers: {authorization: s3cret}"):
        assert faults(file, f"url: http://user:s3cret@host/\nhttp: {{{options}}}") == expected
    assert not faults(file, "url: http://user:s3cret@host/\nhttp: {headers: {X-Team: net}}")


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("text.pem", ""),
        ("empty.pem", ""),
        ("key.pem", ""),
        ("", ", it cannot be read: Is a directory"),
        ("none.pem", ", it cannot be read: No such file or directory"),
    ],
)
@pytest.mark.parametrize("key", ["ca_file", "client_cert"])
def test_files_of_certificates_are_looked_into(
    file: Path, pem: Path, key: str, name: str, fault: str
) -> None:
    path = str(pem / name)
    got = path if len(path) <= 60 else f"{path[:SHOWN]}..."
    told = f":2: http > {key}: expected a file of certificates, PEM{fault}, got '{got}'"
    assert faults(file, f"url: {URL}\nhttp: {{{key}: {path}}}") == [told]


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ("other.pem", ""),
        ("locked.pem", ""),
        ("text.pem", ""),
        ("cert.pem", ""),
        ("none.pem", ", it cannot be read: No such file or directory"),
    ],
)
def test_the_key_must_be_that_of_the_certificate(file: Path, pem: Path, key: str, fault: str) -> None:
    (told,) = faults(file, f"url: {URL}\nhttp:\n  client_cert: {pem}/cert.pem\n  client_key: {pem}/{key}")
    assert told.startswith(f":4: http > client_key: {KEY}{fault}, got '")


def test_a_certificate_without_a_key_is_no_good_unless_it_holds_one(file: Path, pem: Path) -> None:
    expected = [f":2: http > client_key: {KEY}"]
    assert faults(file, f"url: {URL}\nhttp: {{client_cert: {pem}/cert.pem}}") == expected
    assert not faults(file, f"url: {URL}\nhttp: {{client_cert: {pem}/both.pem}}")


def test_a_faulty_certificate_is_not_said_to_be_missing(file: Path, pem: Path) -> None:
    http = f"{{client_cert: client.pem, client_key: {pem}/key.pem}}"
    assert faults(file, f"url: {URL}\nhttp: {http}") == [
        f":2: http > client_cert: {ABSOLUTE}, got 'client.pem'"
    ]


def test_empty_options_are_none(file: Path) -> None:
    empty = "{ca_file: '', client_cert: , client_key: '', headers: {}, token: }"
    assert destinations(file, f"url: {URL}\nhttp: {empty}") == Config(url=URL).destinations


def test_every_fault_of_every_destination_is_told_in_one_run(file: Path) -> None:
    content = """\
url: http://host:0/
http:
  token: a b
  headers:
    X A: x
    X-B: 'x '
delivery: {rate: fast}
events: [exceeded]
destinations:
  - type: file
    path: here
    rate: -1
  - type: fiel
  - type: slack
    url: here
    nmae: x
  - {type: syslog, name: slack, address: here}
  - {type: file, path: /x, events: [cleared], name: !x y}
"""
    assert faults(file, content) == [
        ":1: url: expected a port from 1 to 65535, got 'http://host:0/'",
        ":3: http > token: expected a token, ASCII without spaces",
        ":5: http > headers: expected names of headers such as X-Team, got another",
        f":6: http > headers > X-B: {HEADER}",
        ":7: delivery > rate: expected a number such as 10, got 'fast'",
        f":11: destinations > item 1 > path: {ABSOLUTE}, got 'here'",
        ":12: destinations > item 1 > rate: expected a number from 0 to 1000000, got '-1'",
        f":13: destinations > item 2 > type: expected one of {TYPES}, got 'fiel', did you mean file?",
        f":15: destinations > item 3 > url: {WEB}",
        ":16: destinations > item 3 > nmae: unknown key, did you mean 'name'?",
        f":17: destinations > item 4 > name: {NAMESAKE}, got 'slack'",
        f":17: destinations > item 4 > address: {SYSLOG}, got 'here'",
        f":18: destinations > item 5 > name: {TAG}",
        f":18: destinations > item 5 > events: {NOT_MADE}",
    ]


NAMES = sorted({name for model in MODELS.values() for name in model.model_fields} - {"type"})
LEAVES = st.sampled_from([*MODELS, "x", "/x", URL, "1", "", "udp://h:1", "env", "/dev/null"]) | st.text()
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["env", "file", *NAMES]) | st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries({"type": st.sampled_from(list(MODELS))}, optional=dict.fromkeys(NAMES, VALUES)),
        max_size=3,
    )
)
def test_any_destinations_are_settings_or_faults(file: Path, items: list[dict[str, Any]]) -> None:
    told = faults(file, f"url: {URL}\ndestinations: {json.dumps(items)}")
    assert told or len(load(file).destinations) == 1 + len(items)


@settings(deadline=None)
@given(VALUES)
def test_any_options_are_settings_or_faults(file: Path, value: object) -> None:
    for key in ("url", "http", "destinations"):
        faults(file, f"{key}: {json.dumps(value)}")
