# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Zabbix by its sender's protocol, against a server on loopback: what is sent, and what comes of each answer."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockbpf.delivery.destinations.zabbix import Zabbix
from sockbpf.delivery.destinations.zabbix_message import VALUE_BYTES, framed, value_of
from sockbpf.delivery.transport import TransportError
from sockbpf.record.text import sentence
from tests.unit.zabbix_trapper import HANGS_S, TAKEN, Answer, say, server

TOLD = {
    "timestamp": "1795343123.482913", "event": "exceeded", "protocol": "tcp", "local_ip": "10.0.0.1",
    "local_port": "80", "remote_ip": "::1", "remote_port": "40000", "type": "SEND", "size": "9",
    "threshold": "8", "peak": "9", "duration": "0", "id": "e", "seq": "7", "host": "h",
    "netns": "4026531840", "mode": "ebpf", "pid": "4711", "comm": 'a"b\n\\',
}  # fmt: skip
NOT_TAKEN = {"response": "success", "info": "processed: 0; failed: 1; total: 1; seconds spent: 0.000018"}


def raw(answer: bytes) -> Answer:
    return lambda connection: connection.sendall(answer)


def failure(destination: closing[Zabbix]) -> TransportError:
    with destination as made, pytest.raises(TransportError) as failed:
        made.send(TOLD)
    assert str(failed.value).isprintable()
    return failed.value


def test_an_alert_is_a_value_at_the_time_of_the_crossing_and_a_heartbeat_is_none() -> None:
    with server(say(TAKEN)) as zabbix, zabbix.destination() as destination:
        for fields in (TOLD, TOLD | {"event": "heartbeat"}, TOLD | {"event": "cleared"}):
            destination.send(fields)
    request, second = zabbix.requests
    (value,) = request["data"]
    assert request["request"] == "sender data"
    assert (value["host"], value["key"], value["clock"], value["ns"]) == (
        "h",
        "sockbpf.alert",
        1795343123,
        482913000,
    )
    alert = json.loads(value["value"])
    assert alert.pop("text") == sentence(TOLD)
    assert alert.pop("timestamp") == 1795343123.482913
    assert {key: str(each) for key, each in alert.items()} == {
        key: text for key, text in TOLD.items() if key != "timestamp"
    }
    assert json.loads(second["data"][0]["value"])["event"] == "cleared"


def test_a_host_may_be_called_otherwise_in_zabbix() -> None:
    with server(say(TAKEN)) as zabbix, zabbix.destination(host="web 1") as destination:
        destination.send(TOLD)
    assert zabbix.requests[0]["data"][0]["host"] == "web 1"


@settings(deadline=None)
@given(st.text(), st.integers(0, 3000))
def test_a_value_is_json_of_ascii_and_never_longer_than_an_item_holds(name: str, limit: int) -> None:
    whole = value_of(TOLD | {"comm": name, "worst": name * 5000})
    assert whole.isascii()
    assert whole.isprintable()
    assert len(whole) <= VALUE_BYTES
    assert json.loads(whole)["comm"] == name
    assert json.loads(whole)["id"] == "e"
    cut = value_of(TOLD | {"comm": name}, limit)
    assert len(cut) <= max(limit, 2)
    assert json.loads(cut).items() <= json.loads(value_of(TOLD | {"comm": name})).items()


def test_an_item_that_is_not_there_is_final_and_said() -> None:
    with server(say(NOT_TAKEN)) as zabbix:
        failed = failure(zabbix.destination())
    assert failed.permanent
    assert str(failed) == (
        f"zabbix 127.0.0.1:{zabbix.port}: not taken: the host h has no enabled item sockbpf.alert of the type Zabbix "
        "trapper there that allows this host (processed: 0; failed: 1; total: 1; seconds spent: 0.000018)"
    )


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (say({"response": "failed", "info": "no\nroom"}), "answered failed: no\\nroom"),
        (say({"response": "success", "info": "fine"}), "answered success: fine"),
        (say({"response": "success"}), "answered success: "),
        (say({"response": "success", "info": [1]}), "answered success: [1]"),
        (say({"response": "x" * 900}), f"answered {'x' * 100}: "),
        (
            say({"response": "failed", "redirect": {"revision": 1, "address": "h:1"}}),
            "answers that another proxy of its group is for this host: name the server instead",
        ),
        *(
            (answer, "answered without saying what became of the value")
            for answer in (
                say([]),
                say("success"),
                say({}),
                say(None),
                raw(framed(b"{")),
                raw(framed(b"\xff")),
            )
        ),
        (raw(framed(b"[" * 60_000)), "answered without saying what became of the value"),
        (raw(framed(b"")), "answered without saying what became of the value"),
        (raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "answered by something else than Zabbix"),
        (raw(b"ZBXD\x03" + bytes(8)), "answered by something else than Zabbix"),
        (raw(b"ZBXD\x01\xff\xff\xff\xff\0\0\0\0"), "answered with 4294967295 bytes, more than 65536"),
        (raw(b"ZBXD\x01\x09"), "closed the connection without an answer"),
        (raw(b"ZBXD\x01\x09\0\0\0\0\0\0\0{}"), "closed the connection without an answer"),
        (raw(b""), "closed the connection without an answer"),
    ],
)
def test_every_other_answer_is_a_failed_try(answer: Answer, told: str) -> None:
    with server(answer) as zabbix:
        failed = failure(zabbix.destination())
    assert str(failed) == f"zabbix 127.0.0.1:{zabbix.port}: {told}"
    assert (failed.permanent, failed.absent) == (False, False)


@pytest.mark.parametrize("begun", [b"", framed(bytes(9000))[:13]])
def test_an_answer_drop_by_drop_is_cut(begun: bytes) -> None:
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(begun)
        while not over.wait(0.02):
            connection.sendall(b" " if begun else b"")

    with server(drip) as zabbix:
        started_s = time.monotonic()
        failed = failure(zabbix.destination(timeout_s=0.3))
        assert time.monotonic() - started_s < HANGS_S / 2
        over.set()
    assert str(failed) == f"zabbix 127.0.0.1:{zabbix.port}: no answer within 0.3 s"


def test_a_server_that_takes_no_connection_is_cut() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):
            destination = closing(Zabbix(address=full.getsockname(), host="", timeout_s=0.3))
            assert str(failure(destination)).endswith(": no answer within 0.3 s")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_nobody_there(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    failed = failure(closing(Zabbix(address=(host, port), host="", timeout_s=HANGS_S)))
    shown = f"[{host}]" if ":" in host else host
    assert str(failed) == f"zabbix {shown}:{port}: Connection refused"
    assert (failed.permanent, failed.absent) == (False, True)


def test_no_such_name() -> None:
    failed = failure(closing(Zabbix(address=("no-such.invalid", 10051), host="", timeout_s=HANGS_S)))
    assert str(failed).startswith("zabbix no-such.invalid:10051: ")
    assert (failed.permanent, failed.absent) == (False, False)
