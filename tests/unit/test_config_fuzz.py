# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Whatever the settings say: `load` refuses them, or every destination's first request can be prepared."""

from __future__ import annotations

import os
import resource
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sockbpf.errors import ConfigError
from sockbpf.monitor.rehearsal import rehearse
from sockbpf.settings.config import Config, load
from sockbpf.settings.destinations import MODELS
from tests.unit.written_settings import URL

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
FUZZ = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def works_or_is_refused(file: Path, raw: bytes) -> bool:
    """Whether the settings are taken; then every destination can be made."""
    file.write_bytes(raw)
    try:
        config = load(file)
    except ConfigError as error:
        return not error.faults
    rehearse(config)
    return True


CHARACTERS = st.one_of(
    st.sampled_from("%@:/?#[]\\ \t&=.-_~€éß中\u2028%25%40%ff%E2%82%ACxn--"), st.characters(codec="utf-8")
)
TEXT = st.text(CHARACTERS, max_size=40)
HOST = st.one_of(
    st.sampled_from(
        ["127.0.0.1", "[::1]", "[::1%25lo]", "[fe80::1%eth0]", "xn--", "xn--a.b", "-", "a..b", "x" * 64]
    ),
    st.text(st.sampled_from("abz09-_.é%["), min_size=1, max_size=70),
)
WEB = st.builds(
    "{}://{}{}{}/{}".format,
    st.sampled_from(["http", "https", "HTTP", "ftp"]),
    st.one_of(st.just(""), st.builds("{}:{}@".format, TEXT, TEXT), st.builds("{}@".format, TEXT)),
    HOST,
    st.one_of(st.just(""), st.builds(":{}".format, st.integers(-1, 70000)), st.builds(":{}".format, TEXT)),
    TEXT,
)


@FUZZ
@given(WEB)
@example("http://%E2%82%AC:x@127.0.0.1/")
@example("http://user:\u20ac@127.0.0.1/")
@example("http://user:%ff%00@127.0.0.1/")
@example("http://[::1%25lo]/")
@pytest.mark.parametrize("kind", ["http", "slack", "alertmanager", "top"])
def test_any_url(file: Path, kind: str, url: str) -> None:
    if kind == "top":
        value: dict[str, Any] = {"url": url}
    else:
        value = {"url": URL, "destinations": [{"type": kind, "name": "it", "url": url}]}
    works_or_is_refused(file, yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass"))


@FUZZ
@given(st.dictionaries(TEXT, TEXT, max_size=3), TEXT)
def test_any_headers_and_token(file: Path, headers: dict[str, str], token: str) -> None:
    value = {"url": URL, "http": {"headers": headers, "token": token}}
    works_or_is_refused(file, yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass"))


@FUZZ
@given(
    st.one_of(
        TEXT, st.builds("udp://{}:{}".format, HOST, st.integers(-1, 70000)), st.builds("/{}".format, TEXT)
    )
)
@example("/" + "x" * 200)
def test_any_syslog_address_and_path(file: Path, place: str) -> None:
    for item in ({"type": "syslog", "address": place}, {"type": "file", "path": place}):
        value = {"url": URL, "destinations": [item]}
        works_or_is_refused(file, yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass"))


def values(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.sampled_from(
        [*Config.model_fields, *(key for model in MODELS.values() for key in model.model_fields)]
    )
    return st.one_of(st.lists(leaves, max_size=4), st.dictionaries(st.one_of(keys, TEXT), leaves, max_size=6))


LEAVES = st.one_of(
    TEXT,
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.just(10**400),
    st.sampled_from([*MODELS, URL, "64KiB"]),
)


@FUZZ
@given(
    st.dictionaries(
        st.sampled_from([*Config.model_fields]), st.recursive(LEAVES, values, max_leaves=12), max_size=6
    ),
    st.lists(st.recursive(LEAVES, values, max_leaves=8), max_size=4),
)
def test_any_value_for_any_key(file: Path, value: dict[str, Any], destinations: list[Any]) -> None:
    for told in (value, {"url": URL} | value, {"url": URL, "destinations": destinations}):
        works_or_is_refused(file, yaml.safe_dump(told, allow_unicode=True).encode("utf-8", "surrogatepass"))


@FUZZ
@given(
    st.one_of(
        st.binary(max_size=300), st.text(st.sampled_from("{}[]:,-&*!|>'\"#%@\n\t ab\0\x85"), max_size=200)
    )
)
def test_any_bytes(file: Path, raw: bytes | str) -> None:
    works_or_is_refused(file, raw if isinstance(raw, bytes) else raw.encode())


HUGE = "9" * 60_000


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 60_000,
        b"{a: " * 15_000,
        b"- " * 30_000,
        b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        b"url: \0",
        b'url: "\\ud800"',
        b'url: "\\UFFFFFFFF"',
        b"\xff\xfeu\0r\0l\0",
        b"a: b\n" * 10_000,
        f"thresholds: {{send: {HUGE}}}\nurl: {URL}".encode(),
        f"repeat: {HUGE}s\nurl: {URL}".encode(),
        f"{HUGE}: 1".encode(),
        b"!!python/object/apply:os.system [id]",
        b"url: !!binary aGk=",
        b"? {a: b}\n: c",
        b"---\n---\n",
        b"%YAML 9.9\n---\nurl: x",
        b"",
        b"\n",
        b"destinations: [{type: [a]}, [], null, {type: http, url: {file: {a: b}}}]\nurl: 1",
    ],
)
def test_nothing_but_a_config_error_comes_of(file: Path, raw: bytes) -> None:
    assert not works_or_is_refused(file, raw)


def test_what_is_no_file_is_refused_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sockbpf.settings.yaml_source.WAIT_S", 0.1)
    pipe, link, locked = tmp_path / "pipe", tmp_path / "link", tmp_path / "locked"
    os.mkfifo(pipe)
    link.symlink_to(link)
    for path in (
        tmp_path,
        link,
        Path("/dev/zero"),
        Path("/dev/null"),
        tmp_path / "none",
        Path("/proc/self/mem"),
        pipe,
    ):
        with pytest.raises(ConfigError):
            load(path)
    locked.write_text(f"url: {URL}")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        with pytest.raises(ConfigError, match="Too many open files"):
            load(locked)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_pipe_that_somebody_writes_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text(f"url: {URL}\n"))
    writer.start()
    loaded = load(pipe)
    writer.join()
    assert loaded.url == URL


@pytest.mark.parametrize("key", ["ca_file", "client_cert", "client_key"])
def test_a_certificate_that_is_no_file_is_refused_soon(tmp_path: Path, file: Path, key: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        assert not works_or_is_refused(file, yaml.safe_dump({"url": URL, "http": {key: str(path)}}).encode())


@pytest.mark.parametrize(
    ("name", "value", "works"),
    [
        ("HTTP_PROXY", "http://127.0.0.1:3128", True),
        ("http_proxy", "127.0.0.1:3128", True),
        ("http_proxy", "nonsense", True),  # a name
        ("http_proxy", "http://:nonsense", False),
        ("http_proxy", "http://a:b:c", False),
        ("http_proxy", "http://127.0.0.1:99999", False),
        ("http_proxy", "http://[::1", False),
        ("http_proxy", "socks7://127.0.0.1:1", False),
        ("all_proxy", "http://%E2%82%AC:s3cret@127.0.0.1:3128", False),
        ("https_proxy", "http://:nonsense", True),  # not used for http
    ],
)
def test_a_proxy_of_the_environment(
    file: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, *, works: bool
) -> None:
    monkeypatch.setenv(name, value)
    url = "http://192.0.2.1:8080/alert?s3cret"
    kinds = [{"type": "slack", "url": url}, {"type": "alertmanager", "url": "http://192.0.2.1:9093"}]
    file.write_text(yaml.safe_dump({"url": url, "destinations": kinds}))
    config = load(file)
    if works:
        rehearse(config)
        return
    with pytest.raises(ConfigError) as refused:
        rehearse(config)
    assert len(refused.value.faults) == 3
    assert "s3cret" not in str(refused.value)
    assert "HTTP_PROXY" in str(refused.value)


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_bundle_of_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, __file__)
    assert works_or_is_refused(file, f"url: {URL}".encode())
    file.write_text("url: https://127.0.0.1/")
    with pytest.raises(ConfigError, match=r"the destination http cannot be used: .*_CA_BUNDLE"):
        rehearse(load(file))
