# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A stop waits no longer than it may; a destination or alert that makes trouble is named and harms no other."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import pytest

from sockbpf.delivery.journal import Journal
from sockbpf.delivery.owed import Owed
from sockbpf.delivery.transport import TransportError
from sockbpf.delivery.worker import TRIES, _Outage
from sockbpf.process.clock import boot_id, boottime_s
from tests.unit.offices import Fields, Scripted, alert, office, refuse, rows, until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


# the end


def test_a_stop_without_time_is_immediate(path: Path) -> None:
    at = office(path, {"http": Scripted(refuse)}, first_s=3600, max_s=7200)
    at.put(*(alert(str(n), n) for n in range(1, 14)))
    until(lambda: at.counted("retried")[0] >= 3)
    begun = time.monotonic()
    assert at.stop(0) == 13
    assert time.monotonic() - begun < 10
    assert len(rows(path)) == 13


def test_a_stop_with_time_left_tries_at_once_but_waits_for_no_try_past_it(path: Path) -> None:
    at = office(path, {"http": Scripted(refuse)}, first_s=3600, max_s=7200)
    at.put(alert("a", 1))
    until(lambda: at.counted("retried") == (1,))
    begun = time.monotonic()
    assert at.stop(600) == 1
    assert time.monotonic() - begun < 60
    assert at.counted("retried") == (2,)


def test_a_stop_delivers_what_waits_when_the_receiver_is_back(path: Path) -> None:
    failing = True

    def fail_at_first(_: Fields) -> None:
        if failing:
            raise TransportError("answered 500")

    at = office(path, {"http": Scripted(fail_at_first)}, first_s=3600, max_s=7200)
    at.put(*(alert("a", n) for n in range(1, 6)), *(alert(str(n), n) for n in range(6, 20)))
    until(lambda: at.counted("retried")[0] >= 3)
    failing = False
    assert at.stop(60) == 0
    assert at.counted("delivered") == (19,)


def test_a_stop_does_not_wait_for_a_try_that_hangs(path: Path) -> None:
    go, stuck = threading.Event(), threading.Event()

    def hang(_: Fields) -> None:
        stuck.set()
        assert go.wait(60)

    at = office(path, {"http": Scripted(hang)})
    at.put(alert("a", 1), alert("a", 2))
    assert stuck.wait(20)
    begun = time.monotonic()
    assert at.stop(0.01) == 2
    assert time.monotonic() - begun < 10
    assert rows(path) == [1, 2]
    go.set()


def test_an_idle_outbox_stops_at_once(path: Path) -> None:
    begun = time.monotonic()
    assert office(path, {"http": Scripted()}).stop(600) == 0
    assert time.monotonic() - begun < 60


# what is said


def test_an_unexpected_error_is_a_failed_try_and_is_logged_once_without_its_text(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tries = 0

    def blunder(_: Fields) -> None:
        nonlocal tries
        tries += 1
        if tries < TRIES:
            raise LookupError("http://user:s3cret@host/")

    with caplog.at_level(logging.DEBUG):
        at = office(path, {"http": Scripted(blunder)})
        at.put(alert("a", 1))
        until(lambda: at.counted("delivered", "retried") == (1, TRIES - 1))
        assert at.stop() == 0
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "LookupError at test_outbox_ends.py:" in errors[0]
    assert "s3cret" not in caplog.text


def test_an_alert_that_no_destination_can_handle_is_set_aside_and_named_and_the_others_go_on(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def blunder(fields: Fields) -> None:
        if fields["id"] == "b":
            raise LookupError("s3cret")

    destination = Scripted(blunder)
    at = office(path, {"http": destination})
    at.put(alert("a", 1), alert("b", 2), alert("c", 3))
    until(lambda: at.counted("delivered", "retried", "set_aside") == (2, TRIES - 1, 1))
    assert at.stop() == 0
    assert sorted(destination.seqs()) == [1, 3]
    assert "set aside: http b/exceeded/2: LookupError, at test_outbox_ends.py:" in caplog.text
    assert "s3cret" not in caplog.text
    assert rows(path) == []


@pytest.mark.parametrize("body", ["no JSON", "[]", "7", '{"id": 7}', "[" * 100_000, '"\\ud800"', ""])
@pytest.mark.parametrize("age_s", [0, 7200])
def test_a_body_that_is_no_alert_harms_nobody(path: Path, body: str, age_s: float) -> None:
    """Whether it is sent or given up, for which it must be named."""
    journal = Journal(path)
    aged = {"boot": boot_id(), "boot_s": boottime_s() - age_s}
    owed = [Owed(n, "http", f"e{n}", time.time(), body, **aged) for n in range(1, 8)]  # type: ignore[arg-type]
    journal.write(owed, [], 7, 7)
    journal.close()
    destination = Scripted()
    at = office(path, {"http": destination})
    at.put(alert("a", 8))
    until(lambda: sum(at.counted("set_aside", "given_up")) == 7 and at.counted("delivered") == (1,))
    assert at.stop() == 0
    assert destination.seqs() == [8]
    assert rows(path) == []


def test_an_error_on_closing_is_logged_and_not_raised(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Stubborn(Scripted):
        def close(self) -> None:
            raise LookupError("s3cret")

    assert office(path, {"http": Stubborn()}, workers=1).stop() == 0
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "s3cret" not in caplog.text


def test_an_outage_is_logged_at_once_then_every_thirty_seconds_and_at_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 1000.0
    outage = _Outage("http", lambda: now)
    caplog.set_level(logging.INFO)

    def said() -> list[tuple[str, object]]:
        lines: list[tuple[str, object]] = [(record.levelname, record.args) for record in caplog.records]
        caplog.clear()
        return lines

    outage.worked()
    assert said() == []
    outage.failed("refused")
    assert said() == [("WARNING", ("http", "refused"))]
    for _ in range(11):
        now += 2
        outage.failed("refused")
    assert said() == []
    now += 9
    outage.failed("reset")
    assert said() == [("WARNING", ("http", 12, "reset"))]
    outage.worked()
    assert said() == [("INFO", ("http", 13))]
    outage.worked()
    assert said() == []


def test_an_outage_that_comes_and_goes_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    now = 1000.0
    outage = _Outage("http", lambda: now)
    caplog.set_level(logging.INFO)
    for _ in range(601):
        outage.failed("refused")
        outage.worked()
        now += 1
    assert len(caplog.records) <= 2 * 21
