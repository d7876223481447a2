# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Outbox, queue and workers: on disk first, delivered in order, none held up by another, numbered, written once."""

from __future__ import annotations

import threading
from collections import defaultdict
from pathlib import Path

import pytest

from sockbpf.counters import Counters
from sockbpf.delivery import keeping
from sockbpf.delivery import outbox as module
from sockbpf.delivery import owed as owed_module
from sockbpf.delivery.outbox import NewAlert, Outbox
from sockbpf.delivery.owed import body_of, fields_of
from sockbpf.delivery.transport import TransportError
from tests.unit.offices import Fields, Scripted, alert, new, office, refuse, rows, until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def test_all_is_delivered_logged_and_forgotten(path: Path) -> None:
    destination = Scripted()
    at = office(path, {"http": destination})
    at.put(*(alert(str(n), n) for n in range(1, 212)))
    assert at.stop() == 0
    assert sorted(destination.seqs()) == list(range(1, 212))
    assert [int(each["seq"]) for each in at.lines] == list(range(1, 212))
    assert at.counted("delivered", "retried", "dropped", "given_up") == (211, 0, 0, 0)
    assert destination.closed == 3
    assert rows(path) == []


def test_it_is_in_the_journal_before_it_is_sent(path: Path) -> None:
    def look(each: Fields) -> None:
        assert int(each["seq"]) in rows(path)

    at = office(path, {"http": Scripted(look)}, workers=1)
    for n in range(1, 48):
        at.put(alert(str(n), n))
    assert at.stop() == 0
    assert at.counted("delivered", "retried") == (47, 0)


def test_what_was_owed_is_sent_by_the_next_monitor_as_it_was(path: Path) -> None:
    at = office(path, {"http": Scripted(refuse)}, first_s=3600, max_s=3600)
    alerts = [alert(f"episode {n % 7}", n) for n in range(1, 48)]
    at.put(*alerts)
    assert at.stop(0.1) == 47
    destination = Scripted()
    then = office(path, {"http": destination})
    assert then.outbox.last_seq == 47
    assert then.stop() == 0
    assert sorted(destination.took, key=lambda each: int(each["seq"])) == alerts
    for n in range(7):
        mine = [int(each["seq"]) for each in destination.took if each["id"] == f"episode {n}"]
        assert mine == sorted(mine)
    assert then.counted("recovered_owed", "delivered") == (47, 47)
    assert rows(path) == []


def test_order_is_kept_per_episode_though_tries_fail(path: Path) -> None:
    tries: dict[str, int] = defaultdict(int)

    def fail_by_turns(each: Fields) -> None:
        tries[each["seq"]] += 1
        if tries[each["seq"]] <= int(each["seq"]) % 3:
            raise TransportError("answered 500")

    destination = Scripted(fail_by_turns)
    at = office(path, {"http": destination}, workers=4)
    at.put(*(alert(f"episode {seq % 23}", seq) for seq in range(1, 162)))
    until(lambda: at.counted("delivered") == (161,))
    assert at.stop() == 0
    for n in range(23):
        mine = [int(each["seq"]) for each in destination.took if each["id"] == f"episode {n}"]
        assert mine == sorted(mine)
    retried = sum(seq % 3 for seq in range(1, 162))
    assert at.counted("retried") == (retried,)
    assert at.counters.by_destination() == {"http": {"delivered": 161, "retried": retried}}


def test_a_destination_that_hangs_holds_up_no_other(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "FORGET_S", 0.01)
    go = threading.Event()

    def hang(_: Fields) -> None:
        assert go.wait(60)

    quick, stuck = Scripted(), Scripted(hang)
    at = office(path, {"quick": quick, "stuck": stuck})
    for n in range(1, 102):
        at.put(alert(str(n), n))
    until(lambda: len(quick.took) == 101)
    assert stuck.took == []
    until(lambda: rows(path) == list(range(1, 102)))  # what the quick one took is forgotten, the rest is not
    go.set()
    assert at.stop() == 0
    assert len(stuck.took) == 101


def test_each_destination_gets_what_it_wants(path: Path) -> None:
    destination = Scripted()
    at = office(path, {"http": destination}, wants=lambda each: each["event"] == "cleared")
    at.put(alert("a", 1), alert("a", 2, "cleared"), alert("b", 3))
    assert at.stop() == 0
    assert destination.seqs() == [2]
    assert len(at.lines) == 3


def test_what_will_never_be_taken_is_given_up_by_name(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def never(each: Fields) -> None:
        if each["seq"] == "2":
            raise TransportError("answered 422", permanent=True)

    destination = Scripted(never)
    at = office(path, {"http": destination})
    at.put(alert("a", 1), alert("a", 2), alert("a", 3))
    assert at.stop() == 0
    assert destination.seqs() == [1, 3]
    assert at.counted("given_up", "retried") == (1, 0)
    assert at.counters.by_destination() == {"http": {"delivered": 2, "given_up": 1}}
    assert "given up, answered 422: http a/exceeded/2" in caplog.text
    assert rows(path) == []


def test_more_than_the_queue_holds_is_given_up_by_name(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    at = office(path, {"http": Scripted(refuse)}, capacity=10, first_s=3600, max_s=3600, workers=1)
    for n in range(1, 31):
        at.put(alert(str(n), n))
        until(lambda n=n: len(at.lines) == n)  # type: ignore[misc]
    assert at.stop(0) == 10
    assert at.counted("given_up", "dropped") == (20, 0)
    assert caplog.text.count("more than 10 are owed: http") == 20
    assert len(rows(path)) == 10


def test_what_is_too_old_is_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.01)
    at = office(path, {"http": Scripted(refuse)}, max_age_s=0.01, first_s=3600, max_s=3600)
    at.put(alert("a", 1))
    until(lambda: at.counted("given_up") == (1,))
    assert at.stop() == 0


def test_what_a_destination_that_is_gone_was_owed_is_given_up(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    office(path, {"old": Scripted(refuse)}, first_s=3600, max_s=3600).stop(0)
    at = office(path, {"old": Scripted(refuse)}, first_s=3600, max_s=3600)
    at.put(alert("a", 1))
    assert at.stop(0) == 1
    then = office(path, {"new": Scripted()})
    assert then.stop() == 0
    assert "their destination is not configured any more: old a/exceeded/1" in caplog.text


def test_more_than_can_wait_for_the_disk_is_dropped_and_counted() -> None:
    counters = Counters()
    outbox = Outbox(path=None, capacity=17, max_age_s=1, counters=counters, line=lambda _: None)
    outbox.put(new(alert(str(n), n)) for n in range(101))
    assert counters.snapshot()["dropped"] == 84


# its numbers, and what it takes to tell


def numbered(n: int, length: int = 1) -> NewAlert:
    return NewAlert(f"e{n}", 0, lambda seq: {**alert(f"e{n}", seq), "comm": "x" * length})


def test_the_outbox_numbers_and_what_is_lost_leaves_a_gap(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_: int) -> Fields:
        raise LookupError("s3cret")

    destination = Scripted()
    at = office(path, {"http": destination})
    beat = NewAlert("heartbeat", 0, lambda seq: {"event": "heartbeat", "seq": str(seq)}, numbered=False)
    at.outbox.put(
        [numbered(1), NewAlert("b/exceeded", 0, fails), beat, numbered(3), numbered(4, 40_000), numbered(5)]
    )
    until(lambda: at.counted("delivered", "set_aside", "dropped") == (4, 1, 1))
    assert at.stop() == 0
    beats = [each["seq"] for each in destination.took if each["event"] == "heartbeat"]
    assert beats == ["2"]
    assert sorted(int(each["seq"]) for each in destination.took if each["event"] != "heartbeat") == [1, 3, 5]
    assert "set aside: b/exceeded/2: LookupError" in caplog.text
    assert "s3cret" not in caplog.text
    then = office(path, {"http": destination})
    then.outbox.put([numbered(6)])
    until(lambda: destination.seqs()[-1] == 6)
    assert then.stop() == 0


def test_a_heartbeat_is_sent_although_alerts_are_owed_but_no_second_one_and_none_for_an_alert(
    path: Path,
) -> None:
    go = threading.Event()

    def hang(each: Fields) -> None:
        if each.get("id") == "e1":
            assert go.wait(60)

    def beat(number: int) -> NewAlert:
        return NewAlert("heartbeat", 0, lambda _: {"event": "heartbeat", "seq": f"{number}"}, numbered=False)

    def put(*alerts: NewAlert) -> None:
        at.outbox.put(alerts)
        assert at.outbox.flush(20)

    destination = Scripted(hang)
    at = office(path, {"http": destination}, capacity=3, workers=1)
    put(numbered(1))
    for n in range(3):
        put(beat(n))
    put(numbered(2))
    go.set()
    until(lambda: not at.outbox.routes.depth())
    go.clear()
    put(*(numbered(1) for _ in range(3)))
    put(beat(4))
    go.set()
    assert at.stop() == 0
    beats = [each["seq"] for each in destination.took if each["event"] == "heartbeat"]
    assert (beats, len(destination.took)) == (["0"], 6)


def test_an_alert_is_written_as_json_once_and_read_once_a_try(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, read_ = [], []

    def write_one(said: Fields) -> str:
        written.append(said)
        return body_of(said)

    def read_one(body: str) -> dict[str, str]:
        read_.append(body)
        return fields_of(body)

    def fail_twice(_: Fields) -> None:
        if next(tries, None):
            raise TransportError("answered 500")

    tries = iter([1, 2])
    monkeypatch.setattr(module, "body_of", write_one)
    monkeypatch.setattr(owed_module, "fields_of", read_one)
    at = office(path, {"http": Scripted(fail_twice), "file": Scripted()})
    at.outbox.put([numbered(1)])
    until(lambda: at.counted("delivered") == (2,))
    assert at.stop() == 0
    assert (len(written), len(read_)) == (1, 4)
