# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The alert of a rate, everywhere that an alert goes: the request, sentences, Alertmanager, syslog, the store."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sockbpf.delivery.destinations.alertmanager import alert_of as of_alertmanager
from sockbpf.delivery.destinations.slack import text_of
from sockbpf.delivery.destinations.syslog_message import rfc5424
from sockbpf.record.alert import CLEARED, EXCEEDED, ONGOING, Notice, alert_of, socket_of
from sockbpf.record.event import Direction, Mode, Protocol, Socket
from sockbpf.record.facts import Condition, Severity
from sockbpf.record.fields import parameters
from sockbpf.record.rate import HostCounter, Rate
from sockbpf.record.text import sentence
from sockbpf.settings.destinations import DIRECTIONS
from sockbpf.store.data.entry import alert_entry
from sockbpf.store.data.values import EntryError

DNS = Socket(Protocol.UDP, "::1", 53, "::", 0, 4026531840, 8191, 1000)
NOTICE = Notice(
    event=EXCEEDED, id="0a", ns=3 * 10**9, since_ns=10**9, socket=None, direction=Direction.RATE, mode=Mode.POLL,
    size=250, peak=260, threshold=100, pid=4003, comm="dnsmasq", condition=Condition.RATE, severity=Severity.CRITICAL,
    counter=HostCounter("UdpRcvbufErrors", 4026531840), rate=Rate(100, 1), droppers=((DNS, 248),),
)  # fmt: skip


def fields(**changed: object) -> dict[str, str]:
    notice = replace(NOTICE, **changed)  # type: ignore[arg-type]
    return parameters(alert_of(notice, seq=7, host="web1", unix_offset_ns=1795343123 * 10**9))


def test_the_request_has_no_address_and_no_port() -> None:
    assert fields() == {
        "timestamp": "1795343126.000000", "event": "exceeded", "protocol": "udp", "type": "RATE", "condition": "rate",
        "severity": "critical", "size": "250", "threshold": "100", "peak": "260", "duration": "0", "id": "0a",
        "seq": "7", "host": "web1", "netns": "4026531840", "name": "UdpRcvbufErrors", "per": "second", "mode": "poll",
        "pid": "4003", "comm": "dnsmasq", "worst": "[::1]:53=248",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "protocol"),
    [("TcpRetransSegs", "tcp"), ("TcpExtListenDrops", "tcp"), ("Udp6InErrors", "udp"), ("IpInDiscards", None),
     ("MPTcpExtMPCapableSYNRX", None)],
)  # fmt: skip
def test_the_protocol_is_that_of_the_counter(name: str, protocol: str | None) -> None:
    assert fields(counter=HostCounter(name, 1)).get("protocol") == protocol


def test_the_sentence_says_what_rises_how_fast_and_who_drops() -> None:
    begins = "critical: UdpRcvbufErrors of network namespace 4026531840"
    assert sentence(fields()) == (
        f"{begins} rises by 250 a second, over 100; dropped by [::1]:53=248 (dnsmasq, pid 4003)"
    )
    alone = {"pid": 0, "comm": "", "droppers": ()}
    assert sentence(fields(**alone, event=ONGOING, rate=Rate(100, 60))) == (
        f"{begins} still rises by 250 a minute, over 100 for 2.000000 s, peak 260"
    )
    assert sentence(fields(**alone, event=CLEARED, size=0, crossings=3)) == (
        f"{begins} is back at 0 a second after 2.000000 s over 100, peak 260, crossed 3 times since the last alert"
    )


def test_slack_and_syslog_say_the_same() -> None:
    assert "UdpRcvbufErrors of network namespace 4026531840 rises by 250 a second" in text_of(fields())
    message = rfc5424(fields(), facility=3, pid=1, limit=2048).decode()
    assert 'name="UdpRcvbufErrors"' in message
    assert "rises by 250 a second, over 100" in message


def test_alertmanager_knows_it_by_its_counter_from_beginning_to_end() -> None:
    begun = of_alertmanager(fields())["labels"]
    assert begun == of_alertmanager(fields(event=CLEARED, size=0, peak=999))["labels"]
    assert (begun["alertname"], begun["service"], begun["severity"]) == (
        "HostCounterRising",
        "UdpRcvbufErrors",
        "critical",
    )


def test_the_store_takes_it_with_its_counter_and_asks_for_that() -> None:
    entry = alert_entry(fields())
    assert (entry.columns["name"], entry.columns["local_port"]) == ("UdpRcvbufErrors", None)
    assert entry.episode is not None
    assert (entry.episode["name"], entry.episode["size"], entry.episode["type"]) == (
        "UdpRcvbufErrors",
        250,
        "RATE",
    )
    with pytest.raises(EntryError, match="name: expected, and not there"):
        alert_entry({name: value for name, value in fields().items() if name != "name"})


def test_the_store_still_asks_an_alert_of_a_socket_for_its_port() -> None:
    with pytest.raises(EntryError, match="protocol: expected, and not there"):
        alert_entry({**{k: v for k, v in fields().items() if k != "protocol"}, "type": "RECV"})


def test_a_destination_can_ask_for_rates() -> None:
    assert set(DIRECTIONS) == {each.name for each in Direction}


def test_a_rate_is_about_no_socket() -> None:
    with pytest.raises(ValueError, match="about no socket"):
        socket_of(NOTICE)
