# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Alerts to Logstash, by the documented rules of its inputs http, for `webhook`, and syslog, for `syslog`."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sockbpf.delivery.destinations.syslog import Syslog
from sockbpf.delivery.destinations.table import how_told
from sockbpf.delivery.destinations.webhook import Webhook
from sockbpf.delivery.transport import TransportError
from sockbpf.record.text import printable, sentence
from sockbpf.settings.destinations import WebhookSettings
from tests.unit.logstash_inputs import data_of, http_input, syslog_input
from tests.unit.offices import office, until
from tests.unit.syslog_daemons import HANGS_S
from tests.unit.told_alerts import HEARTBEAT, TOLD, told

ALERTS = [
    told(event, f"e{number}", seq=str(3 * number + place))
    for number in range(5)
    for place, event in enumerate(("exceeded", "ongoing", "cleared"))
]
EACH = {"incidents": False}
DOCUMENT = Path(__file__).parents[2] / "docs/logstash.md"


def webhook(url: str, **keys: Any) -> Webhook:
    return Webhook(WebhookSettings.model_validate({"url": url, "timeout": "10s", **keys}))


def test_the_input_http_gets_each_alert_as_an_event() -> None:
    """Not incidents: two queues of one service are told each."""
    with http_input() as at, closing(webhook(at.url, **EACH)) as its:
        for alert in (told(), told("exceeded", "e2"), told("cleared"), told("cleared", "e2"), HEARTBEAT):
            its.send(alert)
    found = [(each["sockbpf"]["event"], each["sockbpf"].get("id")) for each in at.events]
    assert found == [
        ("exceeded", "e1"), ("exceeded", "e2"), ("cleared", "e1"), ("cleared", "e2"), ("heartbeat", None),
    ]  # fmt: skip
    alert = at.events[0]["sockbpf"]
    assert {name: str(alert[name]) for name in TOLD if name != "duration"} == {
        name: text for name, text in TOLD.items() if name != "duration"
    }
    assert alert["summary"] == sentence(TOLD)
    assert "incident" not in alert


def test_a_webhook_that_tells_no_incidents_is_told_both_ends_of_a_connection() -> None:
    settings = [WebhookSettings.model_validate({"url": "http://h/", **keys}) for keys in ({}, EACH)]
    assert [how_told(its) is None for its in settings] == [False, True]


def test_the_input_http_makes_no_event_of_a_host_that_is_text() -> None:
    """Why the pipeline puts alerts under a name of their own: else each is refused, and owed for ever."""
    with http_input(target="") as at, closing(webhook(at.url, **EACH)) as its:
        with pytest.raises(TransportError, match="answered 500") as failed:
            its.send(TOLD)
        assert not failed.value.permanent
    with http_input(target="") as at, closing(webhook(at.url, **EACH, body={"sockbpf": "{summary}"})) as its:
        its.send(TOLD)
        assert at.events[0]["sockbpf"] == sentence(TOLD)


def test_the_input_http_asks_for_a_login() -> None:
    with http_input(login=("monitor", "s3cret")) as at:
        with closing(webhook(at.url.replace("://", "://monitor:s3cret@"), **EACH)) as its:
            its.send(TOLD)
        for url in (at.url, at.url.replace("://", "://monitor:wr0ng@")):
            with closing(webhook(url, **EACH)) as its, pytest.raises(TransportError) as failed:
                its.send(TOLD)
            assert failed.value.permanent
            assert str(failed.value) == f"POST {at.url}: answered 401"
    assert len(at.events) == 1


def test_what_the_input_http_has_no_room_for_arrives_later_and_in_order() -> None:
    with http_input() as at, closing(webhook(at.url, **EACH)) as its:
        at.is_full = lambda: at.requests % 3 != 0
        works = office(None, {"webhook": its}, workers=1)
        works.put(*ALERTS)
        until(lambda: len(at.events) == len(ALERTS))
        assert works.stop() == 0
    assert works.counted("delivered", "given_up") == (15, 0)
    assert works.counted("retried")[0] > 0
    assert_in_order([(each["sockbpf"]["id"], each["sockbpf"]["seq"]) for each in at.events])


def assert_in_order(found: list[tuple[str, int]]) -> None:
    """Fail unless all alerts are there once, those of an episode in their order."""
    for number in range(5):
        its = [int(seq) for id_, seq in found if id_ == f"e{number}"]
        assert its == list(range(3 * number, 3 * number + 3))
    assert len(found) == len(ALERTS)


# the input syslog


def syslog(transport: str, port: int, form: str = "rfc3164") -> Syslog:
    address = (transport, "127.0.0.1", port)
    return Syslog(address=address, timeout_s=HANGS_S, facility="local3", form=form)


def pattern_of_the_document() -> re.Pattern[str]:
    """Return the pattern of grok that docs/logstash.md has, as Python writes it."""
    (found,) = re.findall(r"""match => \{ "message" => '(.*)' \}""", DOCUMENT.read_text())
    return re.compile(found.replace("(?<", "(?P<").replace("%{GREEDYDATA:text}", "(?P<text>.*)"))


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_the_input_syslog_reads_every_field(transport: str, utc: None) -> None:
    hostile = [TOLD | {"comm": text} for text in ('a"b\\c]', "ä€\n<1>", "]: [sockbpf@32473 x", "%s #012")]
    sent = [TOLD, TOLD | {"event": "cleared"}, *hostile, HEARTBEAT]
    with syslog_input() as at, closing(syslog(transport, at.port)) as its:
        for alert in sent:
            its.send(alert)
        until(lambda: len(at.events) + len(at.unread) == len(sent))
    assert not at.unread
    assert at.alerts() == [{name: printable(text) for name, text in alert.items()} for alert in sent]
    pattern = pattern_of_the_document()
    for alert, event in zip(sent, at.events, strict=True):
        found = pattern.search(event["message"])
        assert found
        assert (found["fields"], found["text"]) == (data_of(event["message"])[0], sentence(alert))
        assert event["timestamp"] == "Nov 22 10:25:23"
        assert (event["host"], event["program"]) == ("web1", "sockbpf")
        assert event["message"].endswith(f"] {sentence(alert)}")
    assert [int(event["priority"]) % 8 for event in (at.events[0], at.events[1], at.events[-1])] == [4, 5, 6]


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("web_1.example", "web-1.example"),
        ("hä\n", "h"),
        ("-a.", "a"),
        ("", "unknown"),
        ("10.0.0.1", "10.0.0.1"),
    ],
)
def test_a_host_name_is_one_that_it_reads(host: str, shown: str) -> None:
    with syslog_input() as at, closing(syslog("tcp", at.port)) as its:
        its.send(TOLD | {"host": host})
        until(lambda: bool(at.events or at.unread))
    assert [event["host"] for event in at.events] == [shown]
    assert at.alerts()[0]["host"] == printable(host)


def test_rfc_5424_is_not_what_it_reads() -> None:
    """By UDP it is no line that its pattern knows, by TCP no line at all."""
    with syslog_input() as at:
        for transport in ("tcp", "udp"):
            with closing(syslog(transport, at.port, "rfc5424")) as its:
                its.send(TOLD)
        until(lambda: bool(at.unread))
        assert len(at.unread) == 1
        assert not at.events


def test_alerts_for_an_input_syslog_that_goes_and_comes_arrive_in_order() -> None:
    with syslog_input() as first, closing(syslog("tcp", first.port)) as its:
        works = office(None, {"syslog": its}, workers=1)
        works.put(*ALERTS[:6])
        until(lambda: len(first.events) == 6)
        first.end()
        works.put(*ALERTS[6:])
        until(lambda: works.counted("retried")[0] > 2)
        with syslog_input(first.port) as second:
            until(lambda: len(second.events) == 9)
            assert works.stop() == 0
    assert works.counted("delivered", "given_up") == (15, 0)
    assert_in_order([(each["id"], int(each["seq"])) for each in (*first.alerts(), *second.alerts())])
