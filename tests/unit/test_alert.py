# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The request and the log line: names, order and formats of every parameter, and one line whatever is in it."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockbpf.counters import NAMES, Counters
from sockbpf.record.alert import (
    CLEARED,
    EVENTS,
    EXCEEDED,
    HEARTBEAT,
    OF_RUN,
    ONGOING,
    Alert,
    Folded,
    Notice,
    alert_of,
    log_line,
    of_monitor,
)
from sockbpf.record.event import Direction, Mode, Protocol, Socket
from sockbpf.record.facts import Facts
from sockbpf.record.fields import parameters

SOCKET = Socket(Protocol.TCP, "192.0.2.1", 443, "192.0.2.2", 40009, 4026531840, 8191)
NOTICE = Notice(
    ONGOING, "6450402e831b56d4", 1795343123_482913999, 1795343093_482912000, SOCKET, Direction.RECV, Mode.EBPF,
    2003, 4001, 1009, 4003, "reader",
)  # fmt: skip
ALERT = Alert(NOTICE, seq=17, host="web-1", unix_offset_ns=0)
ALWAYS = (
    "timestamp", "event", "protocol", "local_ip", "local_port", "remote_ip", "remote_port", "type",
    "condition", "severity", "size", "threshold", "peak", "duration", "id", "seq", "host", "netns", "mode",
)  # fmt: skip


def changed(**fields: Any) -> Alert:
    """Return the alert with another notice."""
    return replace(ALERT, notice=replace(NOTICE, **fields))


def test_every_parameter_has_its_documented_form() -> None:
    assert parameters(ALERT) == {
        "timestamp": "1795343123.482913",
        "event": "ongoing",
        "protocol": "tcp",
        "local_ip": "192.0.2.1",
        "local_port": "443",
        "remote_ip": "192.0.2.2",
        "remote_port": "40009",
        "type": "RECV",
        "condition": "size",
        "severity": "warning",
        "size": "2003",
        "threshold": "1009",
        "peak": "4001",
        "duration": "30.000001",
        "id": "6450402e831b56d4",
        "seq": "17",
        "host": "web-1",
        "netns": "4026531840",
        "mode": "ebpf",
        "pid": "4003",
        "comm": "reader",
    }


def test_the_buffer_and_the_state_are_told_where_they_are_known() -> None:
    fields = parameters(changed(facts=Facts(limit=131072, charged=129_760, state=8)))
    assert (fields["limit"], fields["fill"], fields["state"]) == ("131072", "98", "CLOSE-WAIT")
    assert not {"limit", "fill", "state"} & parameters(ALERT).keys()


def test_an_unknown_owner_is_absent() -> None:
    assert tuple(parameters(changed(pid=0, comm=""))) == ALWAYS
    assert tuple(parameters(ALERT)) == (*ALWAYS, "pid", "comm")


def test_a_udp_socket_that_sends_in_poll_mode() -> None:
    socket = Socket(Protocol.UDP, "0.0.0.0", 53, "0.0.0.0", 0, 4026532008, 8209)
    fields = parameters(changed(socket=socket, direction=Direction.SEND, mode=Mode.POLL))
    names = ("protocol", "local_ip", "local_port", "remote_ip", "remote_port", "type", "mode", "netns")
    assert [fields[name] for name in names] == [
        "udp", "0.0.0.0", "53", "0.0.0.0", "0", "SEND", "poll", "4026532008",
    ]  # fmt: skip


@pytest.mark.parametrize("ip", ["::", "::1", "2001:db8::7", "::ffff:192.0.2.1", "fe80::1"])
def test_addresses_are_plain_text(ip: str) -> None:
    fields = parameters(changed(socket=replace(SOCKET, local_ip=ip, remote_ip=ip)))
    assert (fields["local_ip"], fields["remote_ip"]) == (ip, ip)


@pytest.mark.parametrize("event", EVENTS)
def test_the_duration_is_0_when_it_begins(event: str) -> None:
    fields = parameters(changed(event=event))
    assert fields["event"] == event
    assert fields["duration"] == ("0" if event == EXCEEDED else "30.000001")


@given(ns=st.integers(0, 2**63))
def test_microseconds_are_exact(ns: int) -> None:
    """A float of seconds since 1970 has 53 bits, too few for the last digit."""
    fields = parameters(changed(ns=ns, since_ns=0))
    for text in (fields["timestamp"], fields["duration"]):
        assert re.fullmatch(r"\d+\.\d{6}", text)
        assert int(text.replace(".", "")) == ns // 1000


def test_an_alert_says_what_its_notice_says_in_unix_time() -> None:
    notice = replace(NOTICE, event=CLEARED, ns=7_000000_001, since_ns=5_000000_000, size=401)
    fields = parameters(alert_of(notice, seq=17, host="web-1", unix_offset_ns=1795343116 * 10**9))
    assert fields == parameters(ALERT) | {
        "event": "cleared", "timestamp": "1795343123.000000", "duration": "2.000000", "size": "401",
    }  # fmt: skip


# several sockets in one

FOLDED = (
    "timestamp", "event", "protocol", "local_port", "type", "condition", "severity", "size", "threshold", "peak",
    "duration", "id", "seq", "host", "mode", "count", "worst",
)  # fmt: skip


def worst(*remotes: tuple[str, int, int]) -> tuple[tuple[Socket, int], ...]:
    """Return sockets of these remote addresses and ports, with their sizes."""
    return tuple((replace(SOCKET, remote_ip=ip, remote_port=port), size) for ip, port, size in remotes)


def test_a_folded_alert_says_how_many_and_which_are_worst() -> None:
    some = worst(("192.0.2.2", 40009, 2003), ("192.0.2.3", 40013, 1999))
    fields = parameters(replace(ALERT, count=10_007, worst=some))
    assert fields == {
        "timestamp": "1795343123.482913",
        "event": "ongoing",
        "protocol": "tcp",
        "local_port": "443",
        "type": "RECV",
        "condition": "size",
        "severity": "warning",
        "size": "2003",
        "threshold": "1009",
        "peak": "4001",
        "duration": "30.000001",
        "id": "6450402e831b56d4",
        "seq": "17",
        "host": "web-1",
        "mode": "ebpf",
        "count": "10007",
        "worst": "192.0.2.2:40009=2003;192.0.2.3:40013=1999",
    }
    assert tuple(fields) == FOLDED


def test_a_fold_of_one_is_a_fold() -> None:
    fields = parameters(replace(ALERT, worst=worst(("192.0.2.2", 40009, 2003))))
    assert (fields["count"], fields["worst"]) == ("1", "192.0.2.2:40009=2003")
    assert "remote_ip" not in fields


@pytest.mark.parametrize(
    ("ip", "port", "shown"),
    [
        ("2001:db8::7", 40009, "[2001:db8::7]:40009=1"),
        ("::ffff:192.0.2.1", 1, "[::ffff:192.0.2.1]:1=1"),
        ("::", 0, "[::]:0=1"),
        ("0.0.0.0", 0, "0.0.0.0:0=1"),
    ],
)
def test_a_worst_of_ipv6_stands_in_brackets(ip: str, port: int, shown: str) -> None:
    assert parameters(replace(ALERT, worst=worst((ip, port, 1))))["worst"] == shown


@pytest.mark.parametrize("event", EVENTS)
def test_an_alert_of_a_fold_is_told_as_that_of_an_episode(event: str) -> None:
    notice = Notice(
        event, "00c0ffee00c0ffee", 7_000000_001, 5_000000_000, SOCKET, Direction.RECV, Mode.EBPF, 2003, 4001, 1009,
        0, "",
    )  # fmt: skip
    some = worst(("192.0.2.2", 40009, 2003))
    at = {"seq": 17, "host": "web-1", "unix_offset_ns": 1795343116 * 10**9}
    single = parameters(alert_of(notice, **at))  # type: ignore[arg-type]
    fields = parameters(alert_of(Folded(notice, 7, some), **at))  # type: ignore[arg-type]
    assert fields == {name: single[name] for name in FOLDED if name in single} | {
        "count": "7", "fold": "local-service", "worst": "192.0.2.2:40009=2003",
    }  # fmt: skip


# when there is nothing to tell


def test_a_heartbeat_tells_every_counter() -> None:
    counters = Counters()
    counters.add("held_back", 10_007)
    fields = of_monitor(
        HEARTBEAT, counters.snapshot(), 17, host="web-1", run="r1", unix_ns=1795343123_482913999
    )
    assert list(fields) == ["event", "timestamp", "host", "seq", "run", *NAMES]
    assert fields == dict.fromkeys(NAMES, "0") | {
        "event": "heartbeat",
        "timestamp": "1795343123.482913",
        "host": "web-1",
        "seq": "17",
        "run": "r1",
        "held_back": "10007",
    }


def test_a_heartbeat_tells_what_is_no_whole_number_too() -> None:
    fields = of_monitor(HEARTBEAT, {"oldest_undelivered_seconds": 17.25}, 0, host="", run="", unix_ns=0)
    assert fields["oldest_undelivered_seconds"] == "17.25"


def test_the_beginning_and_the_end_of_a_run_have_its_name_as_id() -> None:
    for event in OF_RUN:
        fields = of_monitor(event, {"mode": "ebpf"}, 17, host="web-1", run="r1", unix_ns=0)
        assert (fields["event"], fields["id"], fields["run"], fields["mode"]) == (event, "r1", "r1", "ebpf")


# the log line

FIELD = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^ "\\=]+)(?: |$)')


def parsed(line: str) -> dict[str, str]:
    """Read `key=value` pairs back; a quoted value is an ASCII string literal."""
    fields = {}
    position = 0
    while position < len(line):
        match = FIELD.match(line, position)
        assert match, line[position:]
        key, value = match.groups()
        fields[key] = str(ast.literal_eval(value)) if value.startswith('"') else value
        position = match.end()
    return fields


def test_a_plain_line_has_no_quotes() -> None:
    line = log_line(parameters(ALERT))
    assert '"' not in line
    assert line.startswith("timestamp=1795343123.482913 event=ongoing protocol=tcp local_ip=192.0.2.1 ")
    assert line.endswith(" pid=4003 comm=reader")


@pytest.mark.parametrize(
    ("comm", "shown"),
    [
        ("a b", '"a b"'),
        ('a"b', r'"a\"b"'),
        ("a\\b", r'"a\\b"'),
        ("a=b", '"a=b"'),
        ("", '""'),
        ("x\nevent=cleared", r'"x\nevent=cleared"'),
        ("\x1b[2J", r'"\x1b[2J"'),
        ("\u2028", r'"\u2028"'),
        ("ü", "ü"),
    ],
)
def test_what_could_break_the_line_is_quoted(comm: str, shown: str) -> None:
    assert log_line(parameters(changed(comm=comm))).endswith(f" pid=4003 comm={shown}")


def test_folds_and_heartbeats_have_a_line_too() -> None:
    fold = parameters(replace(ALERT, count=7, worst=worst(("2001:db8::7", 40009, 2003), ("::1", 1, 1999))))
    for fields in (fold, of_monitor(HEARTBEAT, Counters().snapshot(), 17, host="web 1", run="r1", unix_ns=0)):
        assert parsed(log_line(fields)) == fields
    assert log_line(fold).endswith(' count=7 worst="[2001:db8::7]:40009=2003;[::1]:1=1999"')


ANY = st.one_of(st.text(max_size=16), st.text('ab "\\=\n\r\t\0\x1b\x85\u2028', max_size=16))


@given(comm=ANY, host=ANY)
def test_a_line_stays_one_line_and_can_be_read_back(comm: str, host: str) -> None:
    alert = replace(changed(comm=comm), host=host)
    line = log_line(parameters(alert))
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert parsed(line) == parameters(alert)


@given(comm=ANY)
def test_a_query_can_be_read_back(comm: str) -> None:
    fields = parameters(changed(comm=comm))
    assert dict(parse_qsl(urlencode(fields), keep_blank_values=True, strict_parsing=True)) == fields
