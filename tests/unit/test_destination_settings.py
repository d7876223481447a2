# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What config.yaml may say of where alerts go: destinations, secrets, TLS; and what is told of it otherwise."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sockbpf.delivery.destinations import syslog_message
from sockbpf.errors import ConfigError
from sockbpf.settings.addresses import SyslogAddress
from sockbpf.settings.config import Config, load
from sockbpf.settings.destination_list import every_destination
from sockbpf.settings.destinations import (
    FACILITIES,
    MODELS,
    AlertmanagerSettings,
    AnyDestination,
    FileSettings,
    HttpSettings,
    SlackSettings,
    SyslogSettings,
)
from sockbpf.settings.secret import Secret

URL = "http://127.0.0.1:8080/alert"
KEYS = "type, name, events, types, rate, burst, timeout"
TLS = "ca_file, client_cert, client_key, headers, token"
WEB = f"expected an http or https address with a host, such as {URL}"
FORMS = "expected text, {env: NAME} or {file: PATH}"
HEADER = "expected the value of a header, one line of ASCII without a space at its ends"
TYPES = ", ".join(MODELS)
NAMESAKE = "expected a name that no destination before it has"
SYSLOG = "expected /dev/log, or an address such as udp://192.0.2.1:514 or tcp://192.0.2.1:601"
ABSOLUTE = "expected the absolute path of a file"
TOLD = "exceeded, ongoing, cleared, heartbeat"
FRAMING = "connection, content-length, host, te, trailer, transfer-encoding, upgrade"
CERTIFICATES = "expected a file of certificates, PEM"
TAG = "expected a value without a tag, got one (!...): if it is the value itself, quote it"
NOT_MADE = "expected what is made at all, which cleared is not: see the key 'events'"
KEY = "expected the key of client_cert, PEM, without a passphrase"
SHOWN = 57


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config") / "config.yaml"


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with ca.pem, cert.pem and key.pem that fit, both.pem, other.pem (a key) and locked.pem."""
    folder = tmp_path_factory.mktemp("pem")
    authority = trustme.CA()
    client, other = authority.issue_cert("client"), authority.issue_cert("other")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    client.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    client.private_key_pem.write_to_path(folder / "key.pem")
    client.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    other.private_key_pem.write_to_path(folder / "other.pem")
    key = serialization.load_pem_private_key(client.private_key_pem.bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"s3cret"),
    )
    (folder / "locked.pem").write_bytes(locked)
    (folder / "text.pem").write_text("s3cret\n")
    (folder / "empty.pem").write_text("")
    return folder


def faults(file: Path, content: str) -> list[str]:
    """Return the faults of a file of this content, without the name of the file; empty when it is good."""
    file.write_text(content)
    try:
        load(file)
    except ConfigError as error:
        told = error.faults
    else:
        return []
    assert all(fault.startswith(f"{file}:") and fault.isprintable() for fault in told)
    return [fault.removeprefix(str(file)) for fault in told]


def destinations(file: Path, content: str) -> tuple[AnyDestination, ...]:
    file.write_text(content)
    return load(file).destinations


def test_the_first_destination_is_that_of_the_url(file: Path, pem: Path) -> None:
    http = f"ca_file: {pem}/ca.pem, client_cert: {pem}/cert.pem, client_key: {pem}/key.pem"
    (first,) = destinations(
        file,
        f"""\
url: {URL}
http: {{{http}, headers: {{X-Team: net}}, token: t0k.en}}
delivery: {{timeout: 3s, rate: 7, burst: 9}}
""",
    )
    assert first == HttpSettings(
        type="http",
        name="http",
        url=URL,
        events=frozenset({"exceeded", "ongoing", "cleared", "heartbeat"}),
        types=frozenset({"SEND", "RECV"}),
        rate=7.0,
        burst=9,
        timeout=3.0,
        ca_file=pem / "ca.pem",
        client_cert=pem / "cert.pem",
        client_key=pem / "key.pem",
        headers={"X-Team": "net"},
        token="t0k.en",
    )
    assert Config(url=URL).destinations == (HttpSettings(url=URL),)


def test_each_type_and_what_it_has_by_itself(file: Path) -> None:
    found = destinations(
        file,
        f"""\
url: {URL}
heartbeat: 1m
delivery: {{timeout: 3s, rate: 7, burst: 9}}
destinations:
  - {{type: http, name: second, url: 'http://u:p@h/', events: [exceeded], types: [RECV], rate: 0.1, burst: 2,
     timeout: 1s}}
  - {{type: file, path: /var/log/alerts.jsonl, events: [heartbeat, ongoing]}}
  - {{type: syslog}}
  - {{type: syslog, name: udp, address: 'udp://192.0.2.1:514', facility: local7}}
  - {{type: syslog, name: tcp, address: 'tcp://[2001:DB8::1]:601'}}
  - {{type: syslog, name: other, address: /run/other.sock}}
  - {{type: slack, url: https://hooks.example/services/T/B/x}}
  - {{type: alertmanager, url: http://127.0.0.1:9093/under}}
""",
    )
    limits: dict[str, Any] = {"rate": 7.0, "burst": 9, "timeout": 3.0}
    assert found[1:] == (
        HttpSettings(
            name="second",
            url="http://u:p@h/",
            events=frozenset({"exceeded"}),
            types=frozenset({"RECV"}),
            rate=0.1,
            burst=2,
            timeout=1.0,
        ),
        FileSettings(
            name="file",
            path=Path("/var/log/alerts.jsonl"),
            events=frozenset({"heartbeat", "ongoing"}),
            **limits,
        ),
        SyslogSettings(name="syslog", facility="daemon", **limits),
        SyslogSettings(
            name="udp", address=SyslogAddress("udp", "192.0.2.1", 514), facility="local7", **limits
        ),
        SyslogSettings(name="tcp", address=SyslogAddress("tcp", "2001:db8::1", 601), **limits),
        SyslogSettings(name="other", address=SyslogAddress("unix", "/run/other.sock", 0), **limits),
        SlackSettings(name="slack", url="https://hooks.example/services/T/B/x", **limits),
        AlertmanagerSettings(name="alertmanager", url="http://127.0.0.1:9093/under", **limits),
    )
    assert found[3].model_dump()["address"] == ("unix", "/dev/log", 0)
    with pytest.raises(ValidationError):
        found[1].rate = 5.0


def test_the_facilities_are_those_that_syslog_has() -> None:
    assert FACILITIES == syslog_message.FACILITIES


BAD_ITEMS = {
    "word": ("- file", ": expected keys (type, ...) with their values"),
    "list": ("- [type, file]", ": expected keys (type, ...) with their values"),
    "empty": ("-", ": expected keys (type, ...) with their values"),
    "no-type": ("- {path: /x}", f" > type: required, one of {TYPES}"),
    "no-type-but-name": ("- {name: file, path: x}", f" > type: required, one of {TYPES}"),
    "type": ("- {type: slak, url: x}", f" > type: expected one of {TYPES}, got 'slak'"),
    "type-case": ("- {type: File}", f" > type: expected one of {TYPES}, got 'File'"),
    "type-list": ("- {type: [file]}", f" > type: expected one of {TYPES}"),
    "type-empty": ("- {type: }", f" > type: expected one of {TYPES}, got ''"),
    "key-near": ("- {type: file, path: /x, evnts: []}", " > evnts: unknown key, did you mean 'events'?"),
    "key-far": ("- {type: file, path: /x, zzz: 1}", f" > zzz: unknown key, expected one of {KEYS}, path"),
    "key-of-another-type": (
        f"- {{type: slack, url: '{URL}', address: x}}",
        f" > address: unknown key, expected one of {KEYS}, url",
    ),
    "key-of-http": (
        f"- {{type: http, name: n, url: '{URL}', zzz: x}}",
        f" > zzz: unknown key, expected one of {KEYS}, {TLS}, url",
    ),
    "no-url": ("- {type: slack}", f" > url: required, where alerts go, such as {URL}"),
    "no-path": ("- {type: file}", " > path: required, the absolute path of a file"),
    "name": (
        "- {type: syslog, name: a b}",
        " > name: expected a name of letters, digits and _.-, such as second, got 'a b'",
    ),
    "name-long": (
        f"- {{type: syslog, name: {'n' * 65}}}",
        f" > name: expected a name of letters, digits and _.-, such as second, got '{'n' * SHOWN}...'",
    ),
    "name-of-the-url": ("- {type: syslog, name: http}", f" > name: {NAMESAKE}, got 'http'"),
    "name-by-default": (f"- {{type: http, url: '{URL}'}}", f" > name: {NAMESAKE}, got 'http'"),
    "events-word": (
        "- {type: syslog, events: exceeded}",
        " > events: expected a list such as [exceeded, ongoing]",
    ),
    "events-empty": (
        "- {type: syslog, events: []}",
        " > events: expected a list with something in it and nothing twice",
    ),
    "events-twice": (
        "- {type: syslog, events: [ongoing, ongoing]}",
        " > events: expected a list with something in it and nothing twice",
    ),
    "events-unknown": (
        "- {type: syslog, events: [exceeded, over]}",
        f" > events > item 2: expected one of {TOLD}, got 'over'",
    ),
    "events-not-made": (
        "- {type: syslog, events: [exceeded, cleared]}",
        f" > events: {NOT_MADE}",
    ),
    "heartbeat-not-made": (
        "- {type: syslog, events: [heartbeat]}",
        " > events: expected what is made at all, which heartbeat is not: see the key 'heartbeat'",
    ),
    "types-case": (
        "- {type: syslog, types: [send]}",
        " > types > item 1: expected one of SEND, RECV, got 'send'",
    ),
    "types-word": ("- {type: syslog, types: SEND}", " > types: expected a list such as [SEND, RECV]"),
    "rate": (
        "- {type: syslog, rate: 1000001}",
        " > rate: expected a number from 0 to 1000000, got '1000001'",
    ),
    "burst": ("- {type: syslog, burst: 0}", " > burst: expected a whole number from 1 to 1000000, got '0'"),
    "timeout": ("- {type: syslog, timeout: 0s}", " > timeout: expected a duration from 1ms to 10m, got '0s'"),
    "path-relative": ("- {type: file, path: a.jsonl}", f" > path: {ABSOLUTE}, got 'a.jsonl'"),
    "path-folder": ("- {type: file, path: /var/log/}", f" > path: {ABSOLUTE}, got '/var/log/'"),
    "path-list": ("- {type: file, path: [/x]}", f" > path: {ABSOLUTE}"),
    "syslog-relative": ("- {type: syslog, address: dev/log}", f" > address: {SYSLOG}, got 'dev/log'"),
    "syslog-host": ("- {type: syslog, address: 'host:514'}", f" > address: {SYSLOG}, got 'host:514'"),
    "syslog-transport": (
        "- {type: syslog, address: tls://h:6514}",
        f" > address: {SYSLOG}, got 'tls://h:6514'",
    ),
    "syslog-no-port": ("- {type: syslog, address: udp://h}", f" > address: {SYSLOG}, got 'udp://h'"),
    "syslog-no-host": ("- {type: syslog, address: 'udp://:514'}", f" > address: {SYSLOG}, got 'udp://:514'"),
    "syslog-bare-ipv6": (
        "- {type: syslog, address: 'udp://::1:514'}",
        f" > address: {SYSLOG}, got 'udp://***'",
    ),
    "syslog-path": ("- {type: syslog, address: udp://h:514/x}", f" > address: {SYSLOG}, got 'udp://h:514/x'"),
    "syslog-user": (
        "- {type: syslog, address: 'tcp://u:s3cret@h:601'}",
        f" > address: {SYSLOG}, got 'tcp://***'",
    ),
    "syslog-port": (
        "- {type: syslog, address: 'udp://h:0'}",
        " > address: expected a port from 1 to 65535, got 'udp://h:0'",
    ),
    "facility": (
        "- {type: syslog, facility: local8}",
        f" > facility: expected one of {', '.join(FACILITIES)}, got 'local8'",
    ),
    "alertmanager-query": (
        "- {type: alertmanager, url: 'http://h/?s3cret'}",
        " > url: expected a url without a query (?...), got 'http://***'",
    ),
    "http-url": (
        "- {type: http, name: n, url: 'ftp://u:s3cret@h/?s3cret'}",
        f" > url: {WEB}, got 'ftp://***'",
    ),
    "slack-url": ("- {type: slack, url: hooks.slack.com/s3cret}", f" > url: {WEB}"),
    "two-logins": (
        "- {type: http, name: n, url: 'http://u:s3cret@h/', token: s3cret}",
        " > url: expected no user in the url beside a token or a header Authorization",
    ),
}


@pytest.mark.parametrize(("item", "fault"), BAD_ITEMS.values(), ids=BAD_ITEMS.keys())
def test_bad_item(file: Path, item: str, fault: str) -> None:
    told = "events: [exceeded, ongoing]"
    content = f"url: {URL}\n{told}\ndestinations:\n  - {{type: file, path: /x, name: good}}\n  {item}\n"
    assert faults(file, content) == [f":5: destinations > item 2{fault}"]


@pytest.mark.parametrize("written", ["", "file", "{type: file, path: /x}"])
def test_destinations_are_a_list(file: Path, written: str) -> None:
    expected = ":2: destinations: expected a list of destinations, each with its type"
    assert faults(file, f"url: {URL}\ndestinations: {written}\n") == [expected]


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


def test_secrets_are_read_where_they_are_kept(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALERT_URL", "https://user:s3cret@host/hook/s3cret")
    monkeypatch.setenv("TEAM", "s3cret team")
    for name, text in (("token", "s3cret\n"), ("windows", "s3cret\r\n"), ("bare", "https://h/s3cret")):
        (tmp_path / name).write_bytes(text.encode())
    first, *rest = destinations(
        file,
        f"""\
url: {{env: ALERT_URL}}
http: {{headers: {{X-Team: {{env: TEAM}}, X-Plain: s3cret}}}}
destinations:
  - {{type: http, name: second, url: '{URL}', token: {{file: {tmp_path}/token}}}}
  - {{type: http, name: third, url: '{URL}', token: {{file: {tmp_path}/windows}}}}
  - {{type: slack, url: {{file: {tmp_path}/bare}}}}
  - {{type: slack, name: plain, url: 'https://h/s3cret'}}
  - {{type: alertmanager, url: {{file: {tmp_path}/bare}}}}
""",
    )
    assert isinstance(first, HttpSettings)
    assert (first.url, first.headers) == (
        "https://user:s3cret@host/hook/s3cret",
        {"X-Team": "s3cret team", "X-Plain": "s3cret"},
    )
    assert [each.token for each in rest[:2] if isinstance(each, HttpSettings)] == ["s3cret", "s3cret"]
    assert [getattr(each, "url", "") for each in rest[2:]] == ["https://h/s3cret"] * 3
    # What is not written here is not for anybody's eyes, not even its path; what Slack gives never is.
    assert isinstance(first.url, Secret)
    assert [isinstance(getattr(each, "url", ""), Secret) for each in rest] == [False, False, True, True, True]
    config = load(file)
    assert "s3cret" not in repr(config) + str(config) + repr(first.headers) + repr([first.url])
    assert all("s3cret" not in repr(each) + str(each) for each in config.destinations)


BAD_SECRETS = {
    "env-unset": ("{env: SOCKBPF_S3CRET}", " > env", "expected an environment variable that is set, and not empty"),
    "env-empty": ("{env: EMPTY}", " > env", "expected an environment variable that is set, and not empty"),
    "env-name": ("{env: 's3cret!'}", " > env", "expected the name of an environment variable"),
    "env-nul": ('{env: "A\\0"}', " > env", "expected the name of an environment variable"),
    "env-bytes": ("{env: BYTES}", " > env", "expected a token, ASCII without spaces"),
    "env-lines": ("{env: LINES}", " > env", "expected a token, ASCII without spaces"),
    "file-none": ("{file: /s3cret}", " > file", "cannot be read: No such file or directory"),
    "file-relative": ("{file: s3cret}", " > file", ABSOLUTE),
    "file-folder": ("{file: FOLDER}", " > file", "cannot be read: Is a directory"),
    "file-empty": ("{file: FOLDER/empty}", " > file", "expected a file with a secret in it, got an empty one"),
    "file-newline": ("{file: FOLDER/newline}", " > file", "expected a file with a secret in it, got an empty one"),
    "file-lines": ("{file: FOLDER/lines}", " > file", "expected a file of one line, at most 16384 bytes"),
    "file-long": ("{file: FOLDER/long}", " > file", "expected a file of one line, at most 16384 bytes"),
    "file-endless": ("{file: /dev/zero}", " > file", "expected a file of one line, at most 16384 bytes"),
    "file-bytes": ("{file: FOLDER/bytes}", " > file", "expected a file of UTF-8 text"),
    "file-spaces": ("{file: FOLDER/spaces}", " > file", "expected a token, ASCII without spaces"),
    "file-pipe": ("{file: FOLDER/pipe}", " > file", "expected a file with a secret in it, got an empty one"),
    "neither": ("{s3cret: s3cret}", "", FORMS),
    "both": ("{env: s3cret, file: s3cret}", "", FORMS),
    "nested": ("{file: {file: s3cret}}", "", FORMS),
    "nothing": ("{}", "", FORMS),
}  # fmt: skip


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with faulty secrets; some more are in the environment."""
    for name, raw in {
        "empty": b"",
        "newline": b"\n",
        "lines": b"s3cret\ns3cret\n",
        "long": b"s" * 20_000,
        "bytes": b"s3cret\xff\n",
        "spaces": b"the s3cret\n",
    }.items():
        (tmp_path / name).write_bytes(raw)
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.delenv("SOCKBPF_S3CRET", raising=False)
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("BYTES", os.fsdecode(b"s3cret\xff"))
    monkeypatch.setenv("LINES", "s3cret\ns3cret")
    return tmp_path


@pytest.mark.parametrize(("written", "where", "fault"), BAD_SECRETS.values(), ids=BAD_SECRETS.keys())
def test_bad_secret(file: Path, kept: Path, written: str, where: str, fault: str) -> None:
    written = written.replace("FOLDER", str(kept))
    told = faults(file, f"url: {URL}\nhttp:\n  token: {written}")
    assert told == [f":3: http > token{where}: {fault}"]


def test_a_secret_refused_already_is_told_once(file: Path) -> None:
    for form in ("{file: !x y}", "{env: *x }", "!x y"):
        (told,) = faults(file, f"url: {URL}\nhttp: {{token: {form}}}")
        assert "http > token" in told
        assert FORMS not in told


def test_a_secret_that_cannot_be_read_for_want_of_rights(
    file: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def forbidden(path: str | Path, *more: Any, **named: Any) -> int:
        if "lines" not in str(path):
            return opened(path, *more, **named)
        raise PermissionError(13, "Permission denied", "s3cret")

    monkeypatch.setattr(os, "open", forbidden)
    told = faults(file, f"url: {URL}\nhttp: {{token: {{file: {kept}/lines}}}}")
    assert told == [":2: http > token > file: cannot be read: Permission denied"]


def test_a_url_that_is_kept_elsewhere_is_not_shown_when_it_is_faulty(file: Path, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("ftp://s3cret/\n")
    kept = f"{{file: {tmp_path}/url}}"
    assert faults(file, f"url: {kept}\ndestinations: [{{type: slack, url: {kept}}}]") == [
        f":1: url > file: {WEB}",
        f":2: destinations > item 1 > url > file: {WEB}",
    ]


@pytest.mark.parametrize(
    "content",
    [
        "token: s3cret",
        "token: !s3cret",
        "token: !s3cret x",
        "token: !s3cret!x y",
        "token: !!s3cret x",
        "token: *s3cret",
        "token: &s3cret",
        "token: @s3cret",
        "token: %s3cret",
        "token: 's3cret",
        'token: "s3cret" x',
        "token: {s3cret",
        "http: {token: !s3cret x}",
        "http: {token: {file: !s3cret x}}",
        "http: {token: s3cret s3cret}",
        "http: [{token: s3cret}]",
        "http: {headers: s3cret}",
        "http: {headers: [s3cret]}",
        "http: {headers: {X-Key: [s3cret]}}",
        "http: {headers: {'X-Key: s3cret': x}}",
        'http: {headers: {X-Key: "s3cret\\n"}}',
        "http: {headers: {X-Key: {value: s3cret}}}",
        "http: {tokn: s3cret}",
        "destinations: s3cret",
        "destinations: {type: http, token: s3cret}",
        "destinations: [s3cret]",
        "destinations: [[s3cret]]",
        "destinations: [[{url: s3cret}]]",
        "destinations: [{url: s3cret}]",
        "destinations: [{type: slack, url: s3cret}]",
        "destinations: [{type: slack, url: [s3cret]}]",
        "destinations: [{type: slack, url: {file: s3cret}}]",
        "destinations: [{type: slack, uri: https://s3cret/}]",
        "destinations: [{type: {url: s3cret}}]",
        "destinations: [{type: http, url: 'http://user:s3cret@host:0/'}]",
        "destinations: [{type: http, url: 'http://host:0/?s3cret'}]",
        "destinations: [{type: alertmanager, url: 'http://user:s3cret@host/?s3cret'}]",
        "destinations: [{type: http, url: 'http://host/', headers: {A: 's3cret '}}]",
        "destinations: [{type: http, url: 'http://host/', headers: {A: !s3cret x}}]",
        "destinations: [{type: http, url: 'http://host/', token: 's3cret '}]",
        "destinations: [{type: file, path: [s3cret]}]",
        "destinations: [{type: syslog, address: {url: s3cret}}]",
        "destinations: [{type: syslog, address: 'http://user:s3cret@host/'}]",
    ],
)
def test_no_secret_in_a_fault(file: Path, content: str) -> None:
    told = faults(file, f"url: {URL}\n{content}\n")
    assert told
    assert "s3cret" not in "".join(told)


@pytest.mark.parametrize(
    "wrong",
    [
        {"http": {"token": "s3cret s3cret"}},
        {"http": {"headers": {"X": "s3cret\n"}}},
        {"destinations": [{"type": "slack", "url": "s3cret"}]},
        {"destinations": [{"type": "http", "url": "http://user:s3cret@host:0/"}]},
        {"destinations": [{"s3cret": "s3cret"}]},
        {"destinations": ["s3cret"]},
    ],
)
def test_no_secret_in_the_error_of_the_models(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate({"url": URL, **wrong})
    assert "s3cret" not in str(caught.value)


def test_no_secret_in_the_error_of_the_list_alone() -> None:
    with pytest.raises(ValidationError) as caught:
        every_destination([{"type": "slack", "url": "s3cret"}, {"type": "s3cret"}, "s3cret"], {})
    assert "s3cret" not in str(caught.value)


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
        f":13: destinations > item 2 > type: expected one of {TYPES}, got 'fiel'",
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
