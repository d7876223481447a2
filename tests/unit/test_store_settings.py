# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What `store:` may say, what is said of its faults, and which urls lead to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sockbpf.errors import ConfigError
from sockbpf.settings.addresses import HostPort
from sockbpf.settings.config import load
from sockbpf.settings.store import StoreSettings, leads_to

URL = "url: http://127.0.0.1:8080/alert\n"
FORMS = "expected sqlite:////absolute/path, or postgresql, mysql or clickhouse and ://user@host/name"


def store_of(folder: Path, text: str) -> StoreSettings:
    path = folder / "config.yaml"
    path.write_text(f"{URL}store: {text}\n")
    return load(path).store


def test_the_shipped_settings_are_the_defaults() -> None:
    assert load(Path(__file__).parents[2] / "config.yaml").store == StoreSettings()


def test_values_are_read(tmp_path: Path) -> None:
    store = store_of(tmp_path, "{listen: '[::1]:9', keep: 2d, token: secret, max_body: 1MiB, user: store}")
    assert (store.listen, store.keep, store.max_body) == (HostPort("::1", 9), 172_800.0, 2**20)
    assert "secret" not in repr(store)
    assert store_of(tmp_path, "{listen: ''}").listen is None


def test_a_database_is_a_file_or_a_server_and_its_password_is_not_shown(tmp_path: Path) -> None:
    assert store_of(tmp_path, "{database: 'sqlite:////a/b.sqlite'}").sqlite_path == Path("/a/b.sqlite")
    store = store_of(tmp_path, "{database: 'postgresql://me:hunter2@db/alerts'}")
    assert store.database == "postgresql+psycopg://me:hunter2@db/alerts"
    assert store.sqlite_path is None
    assert store_of(tmp_path, "{database: 'mysql://me@db/x'}").database == "mysql+pymysql://me@db/x"
    assert "hunter2" not in repr(store)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{listen: '0.0.0.0:8080'}", "expected a token, or a listen that only this host reaches"),
        ("{listen: 'db.example:80'}", "expected a token, or a listen that only this host reaches"),
        ("{listen: '8080'}", "expected a host and a port"),
        ("{database: 'sqlite://relative'}", FORMS),
        ("{database: 'sqlite:////'}", FORMS),
        ("{database: 'mongodb://a/b'}", FORMS),
        ("{database: 'postgresql://host'}", FORMS),
        ("{keep: soon}", "expected a duration"),
        ("{user: 'no body'}", "expected the name of a user"),
        ("{token: 'two words'}", "expected a token"),
        ("{tls_cert: /a.pem}", "expected both tls_cert and tls_key, or neither"),
        ("{tls_key: a.pem, tls_cert: /a.pem}", "expected the absolute path of a file"),
    ],
)
def test_a_fault_is_told_with_what_was_expected(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ConfigError) as raised:
        store_of(tmp_path, text)
    (told,) = raised.value.faults
    assert f"{tmp_path}/config.yaml:2: store" in told
    assert fault in told


def test_what_is_secret_is_in_no_fault(tmp_path: Path) -> None:
    for text in (
        "{token: 'two hunter2'}", "{database: 'mongodb://me:hunter2@h/x'}", "{database: 'hunter2 '}",
        "{database: 'sqlite://me@h:hunter2'}", "{database: [hunter2]}", "hunter2", "[hunter2]",
    ):  # fmt: skip
        with pytest.raises(ConfigError) as raised:
            store_of(tmp_path, text)
        assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "host", "leads"),
    [
        ("http://127.0.0.1:8080/alert", "127.0.0.1", True),
        ("http://localhost:8080/alert", "127.0.0.1", True),
        ("http://127.0.0.1:8081/alert", "127.0.0.1", False),
        ("http://192.0.2.1:8080/alert", "127.0.0.1", False),
        ("http://192.0.2.1:8080/alert", "192.0.2.1", True),
        ("http://127.0.0.1:8080/alert", "192.0.2.1", False),
        ("http://127.0.0.1:8080/alert", "0.0.0.0", True),
        ("http://[::1]:8080/alert", "::", True),
        ("http://other.example:8080/alert", "0.0.0.0", False),
        ("http://127.0.0.9:8080/alert", "0.0.0.0", True),
        ("http://0.0.0.0:8080/alert", "::", True),
        ("http://192.0.2.1:8080/alert", "0.0.0.0", False),
        ("http://[0:0:0:0:0:0:0:1]:8080/alert", "127.0.0.1", True),
        ("http://LOCALHOST.:8080/alert", "::1", True),
        ("http://127.0.0.1:8080/alert", "localhost", True),
        ("http://127.0.0.9:8080/alert", "127.0.0.1", False),
        ("http://127.0.0.9:8080/alert", "127.0.0.9", True),
        ("http://[2001:db8:0::1]:8080/alert", "2001:db8::1", True),
        ("http://db.example:8080/alert", "db.example", True),
    ],
)
def test_which_urls_lead_to_it(url: str, host: str, leads: bool) -> None:
    assert leads_to(url, HostPort(host, 8080)) is leads


def test_the_ports_of_the_schemes_count() -> None:
    assert leads_to("http://127.0.0.1/alert", HostPort("127.0.0.1", 80))
    assert leads_to("https://127.0.0.1/alert", HostPort("127.0.0.1", 443))
    assert not leads_to("http://127.0.0.1:8080/alert", None)
