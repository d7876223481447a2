# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""PagerDuty: what is sent holds its documented rules; an incident is one alert there, to its end."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockbpf.delivery.destinations.pagerduty import PagerDuty, payload_of
from sockbpf.delivery.transport import TransportError
from sockbpf.record.fields import FIELDS
from sockbpf.settings.destinations import PagerDutySettings
from tests.unit.pagerduty_service import KEY, Service, faults_of, pagerduty
from tests.unit.told_alerts import HEARTBEAT, INCIDENT, TOLD, Answered, told

CHOSEN = [field.name for field in FIELDS if field.chosen]


def made(service: Service, name: str = "pagerduty") -> PagerDuty:
    return PagerDuty(
        PagerDutySettings.model_validate({"name": name, "url": service.posts.url, "routing_key": KEY})
    )


@contextmanager
def on_call() -> Iterator[tuple[Service, PagerDuty]]:
    with pagerduty() as service, closing(made(service)) as destination:
        yield service, destination
        assert not service.refused


def test_an_incident_is_triggered_once_and_resolved() -> None:
    with on_call() as (service, destination):
        destination.send(told())
        (payload,) = service.open[INCIDENT]
        for event in ("ongoing", "ongoing", "cleared"):
            destination.send(told(event))
        destination.send(HEARTBEAT)
    assert len(service.posts.bodies) == 2
    assert service.resolved == [INCIDENT]
    details = payload.pop("custom_details")
    assert payload == {
        "summary": "the reader is stopped: nginx (pid 4711), state T. RECV queue of tcp 10.0.0.1:443 to "
        "[::1]:40000 holds 9007 bytes, over 8009 (nginx, pid 4711), on web1",
        "source": "web1", "severity": "warning", "timestamp": "2026-11-22T10:25:23.482913Z",
        "component": "tcp 443", "group": "nginx.service", "class": "size",
    }  # fmt: skip
    assert details.keys() == TOLD.keys()
    assert (details["size"], details["timestamp"], details["comm"]) == (9007, 1795343123.482913, "nginx")


def test_a_queue_that_flaps_ten_times_and_its_neighbours_call_once() -> None:
    with on_call() as (service, destination):
        destination.send(told(id_="neighbour", remote_port="41000"))
        for flap in range(10):
            destination.send(told(id_=f"e{flap}"))
            destination.send(told("cleared", id_=f"e{flap}"))
        assert (service.opened, list(service.open)) == (1, [INCIDENT])
        destination.send(told("cleared", id_="neighbour"))
    assert (service.opened, service.open, service.resolved) == (1, {}, [INCIDENT])


def test_both_ends_of_a_connection_are_one_incident() -> None:
    end = told(id_="reader")
    other = told(
        id_="sender", type="SEND", local_ip="::1", local_port="40000", remote_ip="10.0.0.1", remote_port="443"
    )
    with on_call() as (service, destination):
        for event in ("exceeded", "cleared"):
            destination.send(other | {"event": event})
            destination.send(end | {"event": event})
    assert (service.opened, service.open) == (1, {})


def test_what_becomes_critical_is_news_and_what_stays_over_after_a_restart_is_no_second_call() -> None:
    with on_call() as (service, destination):
        destination.send(told())
        destination.send(told("ongoing", severity="critical"))
        assert [each["severity"] for each in service.open[INCIDENT]] == ["warning", "critical"]
        with closing(made(service, name="later")) as later:  # which knows nothing of before
            later.send(told("ongoing", severity="critical"))
            assert service.opened == 1
            later.send(told("cleared"))
    assert (service.opened, service.open) == (1, {})


@pytest.mark.parametrize(
    "of_another",
    [
        {"user": "mallory"},
        {"netns": "4026532999"},
        {"local_port": "80"},
        {"protocol": "udp"},
        {"host": "web2"},
    ],
)
def test_nobody_hides_an_incident_behind_an_own_one(of_another: dict[str, str]) -> None:
    with on_call() as (service, destination):
        destination.send(told(id_="other", **of_another))
        destination.send(told())
        assert service.opened == 2
        destination.send(told("cleared"))
        assert len(service.open) == 1


def test_folded_alerts_and_rates_are_incidents_of_their_own() -> None:
    fold = {**told(id_="f0"), "count": "40", "fold": "process"}
    rate = {
        **{name: TOLD[name] for name in ("timestamp", "event", "host", "netns", "size", "threshold", "peak")},
        "id": "r0", "type": "RATE", "name": "UdpRcvbufErrors", "per": "second", "severity": "critical",
        "condition": "rate", "duration": "0", "seq": "9",
    }  # fmt: skip
    with on_call() as (service, destination):
        for alert in (told(), fold, rate):
            destination.send(alert)
        assert sorted(service.open) == ["web1/UdpRcvbufErrors/4026531840", "web1/f0", INCIDENT]
        for alert in (rate, fold, told()):
            destination.send({**alert, "event": "cleared"})
    assert not service.open


@pytest.mark.parametrize(
    ("status", "permanent"),
    [(400, True), (429, False), (500, False), (502, False), (503, False), (408, False)],
)
def test_what_is_tried_again_and_what_is_not(status: int, permanent: bool) -> None:
    with on_call() as (service, destination):
        service.answers.append(Answered(status, {"Retry-After": "37"} if status == 429 else {}))
        with pytest.raises(TransportError) as failed:
            destination.send(told())
        assert (failed.value.permanent, failed.value.retry_after_s) == (
            permanent,
            37.0 if status == 429 else None,
        )
        assert KEY not in "".join(traceback.format_exception(failed.value))
        destination.send(told())  # nothing of the failed try is remembered
        assert service.opened == 1


def test_a_resolve_that_fails_is_sent_again() -> None:
    with on_call() as (service, destination):
        destination.send(told())
        service.answers.append(Answered(429))
        with pytest.raises(TransportError):
            destination.send(told("cleared"))
        destination.send(told("cleared"))
    assert service.resolved == [INCIDENT]


def test_the_key_is_nowhere_to_be_seen(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), on_call() as (service, destination):
        destination.send(told())
        its = PagerDutySettings.model_validate({"url": service.posts.url, "routing_key": KEY})
        assert KEY not in repr(its) + str(its) + caplog.text


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.sampled_from([*CHOSEN, "reason", "evidence", "worst"]), st.text(max_size=3000)))
def test_whatever_a_name_is_the_rules_hold(hostile: dict[str, str]) -> None:
    event: dict[str, Any] = {
        "routing_key": KEY, "event_action": "trigger", "dedup_key": "x", "payload": payload_of(TOLD | hostile),
    }  # fmt: skip
    if hostile.get("host") != "":
        assert not list(faults_of(event))


def test_very_long_names_are_cut() -> None:
    with on_call() as (service, destination):
        destination.send(told(host="h" * 300, **dict.fromkeys(("reason", "unit", "cgroup"), "é\x1b" * 9000)))
        (key,) = service.open
        (payload,) = service.open[key]
        assert (len(key), len(payload["summary"])) == (255, 1024)
        destination.send(told("cleared", host="h" * 300))
        assert not service.open
