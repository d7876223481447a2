# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What looks like a secret in a command line is masked; what does not is shown."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockbpf.record.cmdline import MASK, MOST, shown

S = "hunter2Zq9"
"""The secret of each line: nothing of it may be left."""


@pytest.mark.parametrize(
    "arguments",
    [
        ["app", f"--password={S}"],
        ["app", "--password", S],
        ["app", "--password=two words", f"--password=two {S}"],
        ["app", "--db-pass", f"two {S}"],
        ["app", "-p", S],
        ["mysql", f"-p{S}"],
        ["app", f"PASSWORD={S}"],
        ["env", f"PGPASSWORD={S}", "psql"],
        ["app", f"--api-key={S}"],
        ["app", "--private_key", S],
        ["app", f"AWS_SECRET_ACCESS_KEY={S}"],
        ["app", f"--token:{S}"],
        ["app", "--client-secret", S],
        ["app", "token", S],
        ["app", "Password:", S],
        ["curl", "-H", f"Authorization: Bearer {S}"],
        ["curl", "-H", f"X-Api-Key: {S}"],
        ["curl", "--oauth2-bearer", S],
        ["app", "Bearer", S],
        ["curl", f"https://watch:{S}@host/path"],
        ["curl", f"https://{S}@host/path"],
        ["curl", f"https://host/path?token={S}&a=b"],
        ["curl", "-u", f"watch:{S}"],
        ["curl", f"--user=watch:{S}"],
        ["smbclient", "-U", f"watch%{S}"],
        ["redis-cli", "-a", S],
        ["/usr/bin/ldapsearch", "-w", S],
        ["mosquitto_pub", f"-P{S}"],
        ["sh", "-c", f"mysql -h db -p{S} -u root"],
        ["sh", "-c", f"mysql --password {S}"],
        ["sh", "-c", f"X=1 PASSWORD='two {S}' app"],
        ["sh", "-c", f"curl -u me:{S} host"],
        ["app", '{"user": "a", "password": "' + S + '"}'],
        ["app", f"user=a password={S} host=b"],
        [f"app: password={S}"],
        ["app", f"ghp_{S}"],
        ["app", f"--with=eyJ{S}.e30.{S}"],
        ["app", "--secret", f"\x1b[31m{S}\n"],
    ],
)
def test_a_secret_is_masked(arguments: list[str]) -> None:
    text = shown(arguments)
    assert S not in text
    assert MASK in text
    assert text.startswith(arguments[0][:3])


@pytest.mark.parametrize(
    "arguments",
    [
        ["/usr/sbin/nginx", "-g", "daemon on; master_process on;"],
        ["nginx: worker process"],
        ["postgres: app orders 10.0.0.7(40312) idle in transaction"],
        ["java", "-Xmx4g", "-jar", "/srv/orders.jar", "--server.port=8080", "-port", "80"],
        ["rsync", "-a", "/srv", "backup:/srv"],
        ["containerd-shim", "-id", "0123456789abcdef" * 4],
        ["app", "--url", "http://host:8080/a?b=c"],
        ["app", "-u", "www-data"],
    ],
)
def test_what_looks_like_none_is_shown(arguments: list[str]) -> None:
    assert shown(arguments) == " ".join(arguments)


def test_it_is_short_and_printable() -> None:
    assert shown([]) == ""
    assert shown(["a\nb\x1b[31m", "\u202e"]) == "a\\nb\\x1b[31m \\u202e"
    assert len(shown(["x" * 4096])) == MOST
    assert shown(["x" * 250, "--password", S]).endswith("…")


@given(st.lists(st.text(max_size=40), max_size=8))
def test_any_arguments_can_be_shown(arguments: list[str]) -> None:
    text = shown(arguments)
    assert text.isprintable()
    assert len(text) <= MOST


@pytest.mark.parametrize("part", ["a", "-", "key ", "://", "pass:", "-p", "=", "eyJ", "- ", '"'])
def test_a_long_argument_costs_little(part: str) -> None:
    begun = time.process_time()
    shown([part * (4096 // len(part))] * 2)
    assert time.process_time() - begun < 0.5  # some milliseconds, unless it tries everything
