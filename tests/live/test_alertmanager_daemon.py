# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""An Alertmanager fires and resolves, by its API and by what it tells its own receiver."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sockbpf.delivery.destinations.alertmanager import Alertmanager
from sockbpf.delivery.transport import TransportError
from sockbpf.record.text import sentence, without_markup
from tests.live.alertmanager import AlertmanagerDaemon, alertmanager_in
from tests.live.daemons import HEARTBEAT, TOLD
from tests.live.waiting import DEADLINE_S, until


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[AlertmanagerDaemon]:
    with alertmanager_in(tmp_path) as made:
        yield made


LABELS = {
    "alertname": "SocketQueueLarge", "severity": "warning", "instance": "h.example", "service": "tcp 80",
    "direction": "SEND",
}  # fmt: skip
"""Of what is told first, when the owner is not known yet."""


def at(seconds_ago: int, **others: str) -> dict[str, str]:
    """Return an alert of so long ago."""
    about = {
        "condition": "size",
        "severity": "warning",
        "timestamp": f"{int(time.time()) - seconds_ago}.123456",
    }
    return TOLD | about | others


def date(seconds: float) -> str:
    """Return the date of an alert as the API shows it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.123Z", time.gmtime(seconds))


def test_an_alert_fires_goes_on_and_is_resolved(alertmanager: AlertmanagerDaemon) -> None:
    exceeded = {key: text for key, text in at(20).items() if key not in {"pid", "comm"}}
    ongoing = at(10, event="ongoing", duration="10.000000", peak="12")
    cleared = at(0, event="cleared", duration="20.000000", size="0", peak="12")
    # By its own clock that is when the last of it was seen.
    cleared["timestamp"] = f"{int(exceeded['timestamp'][:-7]) + 20}.123456"
    with closing(Alertmanager(url=alertmanager.url, timeout_s=DEADLINE_S)) as destination:
        destination.send(exceeded)
        fires = until(alertmanager.alerts, "the alert")
        assert len(fires) == 1
        assert fires[0]["labels"] == LABELS
        assert fires[0]["annotations"]["remote_ip"] == "2001:db8::1"
        assert fires[0]["annotations"]["summary"] == sentence(without_markup(exceeded))
        begun = date(float(exceeded["timestamp"]))
        assert fires[0]["startsAt"] == begun
        alertmanager.notice("firing", "e")
        destination.send(ongoing)
        until(lambda: alertmanager.alerts()[0]["annotations"]["peak"] == "12", "the new peak")
        assert len(alertmanager.alerts()) == 1
        assert alertmanager.alerts()[0]["fingerprint"] == fires[0]["fingerprint"]
        assert alertmanager.alerts()[0]["startsAt"] == begun
        assert not any(
            alert["status"] == "resolved" for each in alertmanager.notified for alert in each["alerts"]
        )
        destination.send(cleared)
    until(lambda: not alertmanager.alerts(), lambda: f"no alert: {alertmanager.alerts()}")
    resolved = alertmanager.notice("resolved", "e")
    assert resolved["fingerprint"] == fires[0]["fingerprint"]
    assert resolved["endsAt"] == date(float(cleared["timestamp"])).replace(".123Z", ".123456Z")


def test_episodes_and_folds_are_alerts_of_their_own(alertmanager: AlertmanagerDaemon) -> None:
    varying = {"local_ip", "remote_ip", "remote_port", "pid", "comm"}
    folded = {key: text for key, text in at(5, id="f", type="RECV").items() if key not in varying}
    folded |= {"count": "37", "worst": "10.0.0.2:5=9;[::1]:6=9"}
    with closing(Alertmanager(url=alertmanager.url, timeout_s=DEADLINE_S)) as destination:
        for told in (at(5), folded, HEARTBEAT):
            destination.send(told)
        # the first that is heard of it
        ongoing = at(5, id="g", event="ongoing", duration="60.000000", comm="redis")
        destination.send(ongoing)
        destination.send(at(0, event="cleared", duration="5.000000"))
        destination.send(folded | {"event": "cleared", "count": "3"})
    alertmanager.notice("resolved", "e")
    alertmanager.notice("resolved", "f")
    fires = {alert["annotations"]["id"]: alert for alert in alertmanager.alerts()}
    assert set(fires) == {"g"}
    assert fires["g"]["startsAt"] == date(float(ongoing["timestamp"]) - 60)


def test_a_flap_and_a_second_socket_are_no_new_alert(alertmanager: AlertmanagerDaemon) -> None:
    with closing(
        Alertmanager(url=alertmanager.url, timeout_s=DEADLINE_S, labels={"team": "net"})
    ) as destination:
        destination.send(at(30))
        destination.send(at(20, id="second", remote_port="40001"))
        (fires,) = until(alertmanager.alerts, "the alert")
        destination.send(at(10, event="cleared", duration="20.000000"))
        destination.send(at(5, id="flapped"))
        destination.send(at(3, id="second", event="cleared", duration="17.000000"))
        (goes_on,) = alertmanager.alerts()
        assert goes_on["fingerprint"] == fires["fingerprint"]
        assert goes_on["labels"]["team"] == "net"
        assert goes_on["annotations"]["id"] == "flapped"
        assert not any(each["status"] == "resolved" for each in alertmanager.notified)
        destination.send(at(0, id="flapped", event="cleared", duration="5.000000"))
    until(lambda: not alertmanager.alerts(), lambda: f"no alert: {alertmanager.alerts()}")
    assert alertmanager.notice("resolved", "flapped")["startsAt"] == fires["startsAt"].replace(
        ".123Z", ".123456Z"
    )


def test_ten_flaps_are_one_alert_and_none_is_active_when_none_is_over(
    alertmanager: AlertmanagerDaemon,
) -> None:
    fingerprints = set()
    with closing(Alertmanager(url=alertmanager.url, timeout_s=DEADLINE_S)) as destination:
        for flap in range(10):
            destination.send(at(20 - 2 * flap, id=f"flap {flap}"))
            fingerprints |= {alert["fingerprint"] for alert in until(alertmanager.alerts, "the alert")}
            destination.send(at(19 - 2 * flap, id=f"flap {flap}", event="cleared", duration="1.000000"))
            until(lambda: not alertmanager.alerts(), "no alert")
    assert len(fingerprints) == 1


def test_a_unit_has_a_route_of_its_own(alertmanager: AlertmanagerDaemon) -> None:
    with closing(Alertmanager(url=alertmanager.url, timeout_s=DEADLINE_S)) as destination:
        destination.send(at(5, id="of the database", unit="db.service"))
        destination.send(at(5, id="of the web", unit="nginx.service"))
    for id_ in ("of the database", "of the web"):
        alertmanager.notice("firing", id_)
    told = {
        (notice["receiver"], alert["annotations"]["id"])
        for notice in alertmanager.notified
        for alert in notice["alerts"]
    }
    assert told == {("db", "of the database"), ("webhook", "of the web")}


def test_what_alertmanager_will_never_take_is_permanent(alertmanager: AlertmanagerDaemon) -> None:
    with closing(Alertmanager(url=alertmanager.url, timeout_s=DEADLINE_S)) as destination:
        with pytest.raises(TransportError, match="answered 400") as failed:
            destination.send(at(0, event="cleared", duration="-5"))
        assert failed.value.permanent
        destination.send(at(0))
    assert len(alertmanager.alerts()) == 1


def test_an_alertmanager_that_is_away_is_not(alertmanager: AlertmanagerDaemon) -> None:
    with closing(Alertmanager(url=alertmanager.url, timeout_s=DEADLINE_S)) as destination:
        destination.send(at(0))
        alertmanager.stack.close()
        with pytest.raises(TransportError, match=r"Connection refused|closed without an answer") as failed:
            destination.send(at(0))
        assert not failed.value.permanent
