# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Secrets are read where they are kept, and no fault shows one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sockbpf.settings.config import Config, load
from sockbpf.settings.destination_list import every_destination
from sockbpf.settings.destinations import (
    HttpSettings,
)
from sockbpf.settings.secret import Secret
from tests.unit.written_destinations import ABSOLUTE, FORMS, URL, WEB, destinations, faults


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
