# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a message of syslog says, and that it is never longer than it may be."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sockbpf.delivery.destinations.syslog import STREAM_BYTES, UDP_BYTES, Syslog
from sockbpf.delivery.destinations.syslog_message import element, rfc5424, syslog3
from sockbpf.record.text import printable, sentence
from tests.unit.syslog_daemons import HEARTBEAT, SENTENCE, TOLD, local_daemon, parameters, parsed, syslog

PARAMETERS = (
    'timestamp="1795343123.482913" event="ongoing" protocol="tcp" local_ip="10.0.0.1" local_port="80" '
    'remote_ip="::1" remote_port="40000" type="SEND" size="9" threshold="8" peak="10" duration="1.500000" id="e" '
    'seq="7" host="h.example" netns="4026531840" mode="ebpf" pid="4711" comm="a\\"b\\\\c\\]"'
)


def message_of(fields: dict[str, str], limit: int = STREAM_BYTES) -> bytes:
    return rfc5424(fields, facility=3, pid=77, limit=limit)


def local_of(fields: dict[str, str], limit: int = STREAM_BYTES) -> bytes:
    return syslog3(fields, facility=3, pid=77, limit=limit)


# what a message says


def test_the_message_of_rfc_5424() -> None:
    head = "<28>1 2026-11-22T10:25:23.482913Z h.example sockbpf 77 ongoing"
    assert message_of(TOLD).decode() == f"{head} [sockbpf@32473 {PARAMETERS}] {SENTENCE}"


def test_the_message_of_syslog3(utc: None) -> None:
    expected = f"<28>Nov 22 10:25:23 sockbpf[77]: {SENTENCE} [sockbpf@32473 {PARAMETERS}]"
    assert local_of(TOLD).decode() == expected


def test_days_of_one_digit_are_padded_with_a_space(utc: None) -> None:
    assert local_of(HEARTBEAT | {"timestamp": "1793620803.5"}).startswith(
        b"<30>Nov  2 12:00:03 sockbpf[77]: "
    )


def test_a_heartbeat() -> None:
    expected = (
        b"<30>1 2026-11-22T10:25:23.000000Z h sockbpf 77 heartbeat "
        b'[sockbpf@32473 event="heartbeat" timestamp="1795343123.000000" host="h" seq="7" alerts="12"] '
        b"heartbeat, last alert 7"
    )
    assert message_of(HEARTBEAT) == expected


@pytest.mark.parametrize(
    ("event", "severity"), [("exceeded", 4), ("ongoing", 4), ("cleared", 5), ("heartbeat", 6)]
)
@pytest.mark.parametrize(("facility", "number"), [("kern", 0), ("daemon", 3), ("local7", 23)])
def test_priorities(event: str, severity: int, facility: str, number: int, tmp_path: Path) -> None:
    with local_daemon(tmp_path / "log", socket.SOCK_DGRAM) as daemon:
        with syslog("unix", str(tmp_path / "log"), facility=facility) as destination:
            destination.send(TOLD | {"event": event})
        assert daemon.recv(STREAM_BYTES).startswith(b"<%d>" % (number * 8 + severity))


def test_no_such_facility_and_no_such_transport() -> None:
    with pytest.raises(ValueError, match="not in"):
        Syslog(address=("udp", "127.0.0.1", 514), timeout_s=1, facility="nobody")
    with pytest.raises(KeyError):
        Syslog(address=("sctp", "127.0.0.1", 514), timeout_s=1)


@settings(deadline=None)
@given(st.text(), st.text())
@example('"]\\', "\\")
@example("\\]", "]")
@example("é\n<0>1", 'a b="]')
@example("", "k" * 33)
def test_values_come_out_as_they_went_in(value: str, key: str) -> None:
    message = message_of(HEARTBEAT | {"comm": value, f"x{key}": "here"})
    read = parameters(parsed(message)["parameters"])
    assert read["comm"] == printable(value)
    assert "here" in read.values()
    assert message.decode().isprintable()


@settings(deadline=None)
@given(st.text())
@example("ä")
@example("a")
def test_what_is_not_ascii_is_marked_as_utf_8(name: str) -> None:
    fields = TOLD | {"comm": name}
    said = parsed(message_of(fields))["msg"]
    assert said.startswith("\ufeff") == (not printable(name).isascii())
    assert said.removeprefix("\ufeff") == sentence(fields)


@pytest.mark.parametrize(
    ("host", "shown"), [("", "-"), ("a b", "a?b"), ("hä\n", "h??"), ("h" * 300, "h" * 255)]
)
def test_a_host_name_that_is_none(host: str, shown: str) -> None:
    assert parsed(message_of(TOLD | {"host": host}))["host"] == shown


@settings(deadline=None)
@given(st.integers(600, UDP_BYTES), st.text(max_size=2000), st.text(max_size=2000))
@example(600, "ä" * 2000, "]" * 2000)
@example(600, "", "\\" * 300)
@example(600, "", "ä" * 2000)
@example(601, "", "ä" * 2000)
def test_no_message_is_longer_than_it_may(limit: int, one: str, other: str) -> None:
    fields = {"first": one} | TOLD | {"comm": other}
    for message in (message_of(fields, limit), local_of(fields, limit)):
        assert len(message) <= limit
        message.decode()
    read = parameters(parsed(message_of(fields, limit))["parameters"])
    assert read["event"] == "ongoing"
    assert all(text == printable(fields[key]) for key, text in read.items())


def test_the_sentence_is_cut_before_parameters_go() -> None:
    whole = message_of(TOLD)
    shorter = message_of(TOLD, len(whole) - 10)
    assert shorter == whole[:-10]
    assert message_of(TOLD, len(whole) - len(SENTENCE) - 1) == whole[: -len(SENTENCE) - 1]
    without_last = parsed(message_of(TOLD, len(whole) - len(SENTENCE) - 2))
    assert list(parameters(without_last["parameters"])) == list(TOLD)[:-1]


def test_an_element_without_room_has_its_name() -> None:
    assert element(TOLD, 0) == b"[sockbpf@32473]"
