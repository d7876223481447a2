# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Alerts in words: each kind says what it has, and nobody's name forges a line."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockbpf.record.text import printable, rfc3339, sentence, without_markup

SEND = "SEND queue of tcp 10.0.0.1:80 to [2001:db8::1]:40000"
WORST = "10.0.0.2:5=9;[::1]:6=9"
TOLD = {
    "timestamp": "1795343123.482913", "event": "exceeded", "protocol": "tcp", "local_ip": "10.0.0.1",
    "local_port": "80", "remote_ip": "2001:db8::1", "remote_port": "40000", "type": "SEND", "size": "9",
    "threshold": "8", "peak": "10", "duration": "0", "id": "e", "seq": "7", "host": "h", "netns": "4026531840",
    "mode": "ebpf",
}  # fmt: skip
FOLDED = {
    "timestamp": "1795343123.482913", "event": "exceeded", "protocol": "udp", "local_port": "53", "type": "RECV",
    "size": "9", "threshold": "8", "peak": "10", "duration": "0", "id": "e", "seq": "7", "host": "h",
    "mode": "ebpf", "count": "37", "worst": WORST,
}  # fmt: skip
HOLDS = f"holds 9 bytes, over 8 ({WORST})"
WORST_BACK = f"at 9 bytes after 0 s over 8, peak 10 ({WORST})"


ACCEPT = {
    "protocol": "tcp",
    "type": "ACCEPT",
    "local_ip": "10.0.0.1",
    "local_port": "80",
    "remote_ip": "0.0.0.0",
}
ACCEPT |= {
    "remote_port": "0",
    "condition": "accept",
    "size": "9",
    "threshold": "8",
    "limit": "10",
    "duration": "2.5",
}
ACCEPT |= {"peak": "11", "pid": "7", "comm": "nginx"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"event": "exceeded", "drops": "0"}, "has 9 connections waiting, over 8 (backlog 10, dropped 0)"),
        ({"event": "ongoing"}, "still has 9 connections waiting, over 8 for 2.5 s, peak 11"),
        (
            {"event": "cleared", "drops": "13"},
            "is back at 9 waiting connections after 2.5 s over 8, peak 11 (backlog 10, dropped 13)",
        ),
        (
            {"event": "exceeded", "condition": "stalled"},
            "is stalled: 9 connections wait and nobody accepts them",
        ),
        (
            {"event": "ongoing", "condition": "stalled"},
            "is still stalled: 9 connections wait, nobody has accepted any for 2.5 s",
        ),
        (
            {"event": "cleared", "condition": "stalled"},
            "is not stalled any more: nobody had accepted for 2.5 s, 9 connections wait now",
        ),
    ],
)
def test_an_accept_queue_is_put_in_connections(fields: dict[str, str], words: str) -> None:
    assert sentence(ACCEPT | fields) == f"ACCEPT queue of tcp 10.0.0.1:80 {words} (nginx, pid 7)"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (TOLD, f"{SEND} holds 9 bytes, over 8"),
        (
            TOLD | {"event": "ongoing", "duration": "1.500000", "pid": "4711", "comm": "a b"},
            f"{SEND} still holds 9 bytes, over 8 for 1.500000 s, peak 10 (a b, pid 4711)",
        ),
        (
            TOLD | {"event": "cleared", "duration": "1.500000", "size": "0"},
            f"{SEND} is back at 0 bytes after 1.500000 s over 8, peak 10",
        ),
        (
            TOLD | {"protocol": "udp", "remote_ip": "0.0.0.0", "remote_port": "0"},
            "SEND queue of udp 10.0.0.1:80 holds 9 bytes, over 8",
        ),
        (
            FOLDED,
            f"RECV queues of 37 udp sockets on local port 53: the worst {HOLDS}",
        ),
        (
            FOLDED
            | {"fold": "remote-service", "type": "SEND", "local_port": "0", "pid": "7", "comm": "app"}
            | {"remote_ip": "192.0.2.7", "remote_port": "5432"},
            f"SEND queues of 37 udp sockets to 192.0.2.7:5432 of app, pid 7: the worst {HOLDS}",
        ),
        (
            FOLDED | {"fold": "process", "pid": "7", "comm": "app"},
            f"RECV queues of 37 udp sockets of app, pid 7: the worst {HOLDS}",
        ),
        (
            FOLDED | {"fold": "user", "event": "cleared"},
            f"RECV queues of 37 udp sockets of one user: the worst is back {WORST_BACK}",
        ),
        ({"event": "heartbeat", "seq": "7"}, "heartbeat, last alert 7"),
    ],
)
def test_what_is_said(fields: dict[str, str], said: str) -> None:
    assert sentence(fields) == said


def test_what_is_not_known_is_a_question_mark() -> None:
    assert sentence({"event": "exceeded", "remote_port": "0"}) == "? queue of ? ?:? holds ? bytes, over ?"


@settings(deadline=None)
@given(st.text(), st.sampled_from([TOLD, FOLDED]))
def test_a_name_with_anything_in_it_stays_in_its_line(name: str, fields: dict[str, str]) -> None:
    said = sentence(fields | {"pid": "1", "comm": name, "worst": name})
    assert said.isprintable()
    assert printable(name) in said


@settings(deadline=None)
@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_what_is_printable_is_left_alone(text: str) -> None:
    if text.isprintable():
        assert printable(text) == text


def test_control_characters_and_half_characters_are_spelled_out() -> None:
    assert printable("a\n\x1b[1m\udcff\u202e") == "a\\n\\x1b[1m\\udcff\\u202e"


@pytest.mark.parametrize(
    ("seconds", "date"),
    [
        ("1795343123.482913", "2026-11-22T10:25:23.482913Z"),
        ("0", "1970-01-01T00:00:00.000000Z"),
        ("4294967295.999999", "2106-02-07T06:28:15.999999Z"),
    ],
)
def test_a_date_keeps_its_microseconds(seconds: str, date: str) -> None:
    assert rfc3339(Decimal(seconds)) == date


READ = re.compile(r"[@`<>|#\[\]()!*~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:\w+:|://|[^\W_]\.[^\W_]")
"""What Slack, Mattermost or Rocket.Chat find in a text: calls, formats, links, emojis."""

NAMES = [
    "@channel", "@here", "@everyone", "@all", "a@b.c", "<!channel>", "<!here|x>", "<@U123>", "<#C1>",
    "<http://a|b>", "http://evil.example", "evil.example", "*bold*", "_it_", "~gone~", "`code`", "```", "> quote",
    "[a](http://b)", ":fire:", "!all", "# head", "||spoiler||",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("key", ["comm", "host", "unit", "what-comes-later"])
def test_no_chat_finds_anything_in_a_name(name: str, key: str) -> None:
    assert READ.search(name)
    fields = without_markup(TOLD | {"pid": "1", key: name})
    assert not READ.search(fields[key])
    assert len(fields[key]) == len(name)
    assert all(fields[each] == text for each, text in TOLD.items() if each != key)


@given(st.text())
def test_no_chat_finds_anything_in_any_name(name: str) -> None:
    assert not READ.search(without_markup({"comm": name})["comm"])


@pytest.mark.parametrize("name", NAMES)
def test_no_chat_finds_anything_in_a_sentence_with_a_name(name: str) -> None:
    reason = f"{name} (pid 7) is stopped: 81 % of 1.5 MiB (40 %) wait"
    plain = without_markup({"reason": reason})["reason"]
    ours = plain.replace("(pid 7)", "").replace("1.5", "").replace("(40 %)", "")
    assert len(ours) == len(plain) - len("(pid 7)1.5(40 %)")
    assert not READ.search(ours)


@pytest.mark.parametrize("name", ["nginx", "my_app", "kworker-7", "a.", "python3", "日本"])
def test_a_plain_name_stays_as_it_is(name: str) -> None:
    assert without_markup({"comm": name}) == {"comm": name}
