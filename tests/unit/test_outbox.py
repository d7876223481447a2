# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Outbox, queue and workers: on disk first, delivered in order, none held up by another, ended when told."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sockbpf.counters import Counters
from sockbpf.delivery import keeping
from sockbpf.delivery import outbox as module
from sockbpf.delivery import owed as owed_module
from sockbpf.delivery.breaker import Breaker, Bucket
from sockbpf.delivery.journal import Journal
from sockbpf.delivery.journal_lines import read
from sockbpf.delivery.outbox import NewAlert, Outbox
from sockbpf.delivery.owed import Owed, body_of, fields_of, of_this_boot
from sockbpf.delivery.queue import Queue
from sockbpf.delivery.routes import Route
from sockbpf.delivery.transport import TransportError
from sockbpf.delivery.worker import TRIES, Workers, _Outage
from sockbpf.errors import UnsupportedError
from sockbpf.process.clock import boot_id, boottime_s

Fields = Mapping[str, str]


def alert(episode: str, seq: int, event: str = "exceeded") -> Fields:
    return {"timestamp": "1.5", "id": episode, "seq": str(seq), "event": event, "type": "RECV"}


def new(fields: Fields) -> NewAlert:
    """Return an alert that has its `seq` already."""
    return NewAlert(fields["id"], 0, lambda _: fields)


def until(condition: Callable[[], bool], deadline_s: float = 20) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def refuse(_: Fields) -> None:
    raise TransportError("answered 500")


@dataclass
class Scripted:
    """A destination that does as `answer` says with each alert, and remembers what it took."""

    answer: Callable[[Fields], None] = lambda _: None
    took: list[Fields] = field(default_factory=list)
    closed: int = 0

    def send(self, fields: Fields) -> None:
        self.answer(fields)
        self.took.append(fields)

    def close(self) -> None:
        self.closed += 1

    def seqs(self) -> list[int]:
        return [int(each["seq"]) for each in self.took]


@dataclass
class Office:
    """An outbox at work."""

    outbox: Outbox
    counters: Counters
    lines: list[Fields]
    workers: list[Workers]

    def put(self, *alerts: Fields) -> None:
        self.outbox.put(map(new, alerts))

    def stop(self, seconds: float = 20) -> int:
        return self.outbox.close(time.monotonic() + seconds)

    def counted(self, *names: str) -> tuple[int, ...]:
        counts = self.counters.snapshot()
        return tuple(counts[name] for name in names)


def office(
    path: Path | None,
    destinations: dict[str, Scripted],
    *,
    capacity: int = 10_000,
    workers: int = 3,
    first_s: float = 0.001,
    max_s: float = 0.004,
    wants: Callable[[Fields], bool] = lambda _: True,
    max_age_s: float = 3600,
) -> Office:
    counters = Counters()
    lines: list[Fields] = []
    outbox = Outbox(
        path=path,
        capacity=capacity,
        max_age_s=max_age_s,
        counters=counters,
        line=lambda fields: lines.append(fields),  # noqa: PLW0108, its parameter has the name
    )
    routes = []
    for name, destination in destinations.items():
        terms = {"capacity": capacity, "breaker": Breaker(first_s, max_s), "bucket": Bucket(0, 1)}
        queue = Queue(**terms)  # type: ignore[arg-type]
        made = Workers(
            name,
            queue,
            lambda destination=destination: destination,  # type: ignore[misc]
            number=workers,
            counters=counters,
            delivered=lambda owed, _: outbox.settled(owed),
            refused=outbox.refused,
            settled=outbox.settled,
        )
        made.start()
        routes.append(Route(name, wants, queue, made, partial(queue.hand_over, made, **terms)))  # type: ignore[arg-type]
    outbox.start(routes)
    return Office(outbox, counters, lines, [route.workers for route in routes])


def rows(path: Path) -> list[int]:
    """Return the seqs that the journal owes, read from beside."""
    return [int(owed.fields["seq"]) for owed in read(path.read_bytes()).owed.values()]


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
    assert at.counted("retried") == (sum(seq % 3 for seq in range(1, 162)),)


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
    until(
        lambda: rows(path) == list(range(1, 102)), 20
    )  # what the quick one took is forgotten, the rest is not
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


# the disk's troubles


@contextmanager
def reopening(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(keeping, "REOPEN_S", 0.01)
    monkeypatch.setattr(module, "IDLE_S", 0.01)
    yield


def test_without_a_disk_alerts_go_on_and_the_journal_is_used_once_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "state"
    folder.write_text("a file where the folder should be")
    destination = Scripted()
    with reopening(monkeypatch):
        at = office(folder / "journal", {"http": destination})
        at.put(alert("a", 1))
        until(lambda: destination.seqs() == [1])
        assert "alerts are kept in memory alone" in caplog.text
        assert at.counted("journal_failed")[0] >= 1
        folder.unlink()
        until(lambda: "the journal is used again" in caplog.text)
        at.put(alert("a", 2))
        assert at.stop() == 0
    assert destination.seqs() == [1, 2]
    assert rows(folder / "journal") == []


def test_a_journal_that_another_monitor_has_is_left_to_it(path: Path) -> None:
    first = office(path, {"http": Scripted()})
    with pytest.raises(UnsupportedError, match=f"process {os.getpid()}. Remedy: "):
        office(path, {"http": Scripted()})
    first.put(alert("a", 1))
    assert first.stop() == 0


def test_a_disk_that_fails_meanwhile_loses_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The file is taken away under it: what it owes goes on from memory, and into the next journal."""
    with reopening(monkeypatch):
        hold = threading.Event()

        def wait(_: Fields) -> None:
            assert hold.wait(60)

        destination = Scripted(wait)
        at = office(path, {"http": destination})
        at.put(alert("a", 1))
        until(lambda: rows(path) == [1])
        path.unlink()
        at.put(alert("b", 2))
        until(lambda: "the journal is used again" in caplog.text)
        until(lambda: rows(path) == [1, 2])
        hold.set()
        assert at.stop() == 0
    assert sorted(destination.seqs()) == [1, 2]
    assert rows(path) == []


def test_a_disk_that_hangs_delays_nothing_and_is_made_whole_when_it_answers(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = threading.Event()
    answers.set()
    write = Journal.write

    def wait_and_write(*arguments: Any) -> None:
        assert answers.wait(60)
        write(*arguments)

    monkeypatch.setattr(Journal, "write", wait_and_write)
    monkeypatch.setattr(keeping, "SLOW_S", 0.05)

    def fail_some(each: Fields) -> None:
        if int(each["seq"]) % 2:
            refuse(each)

    destination = Scripted(fail_some)
    at = office(path, {"http": destination})
    at.put(alert("a", 2))
    until(lambda: destination.seqs() == [2])
    answers.clear()
    at.put(*(alert(str(n), n) for n in range(3, 40)))
    at.put(*(alert(str(n), n) for n in range(40, 50)))
    until(lambda: len(destination.took) == 24)
    assert caplog.text.count("the journal's disk is slow") == 1
    assert at.counted("journal_slow", "journal_failed") == (1, 0)
    answers.set()
    until(lambda: caplog.text.count("answers again") == 1)
    until(lambda: rows(path) == list(range(3, 50, 2)))
    assert at.stop(0) == 24


def test_a_stop_does_not_wait_for_a_disk_that_hangs(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(Journal, "write", lambda *_: answers.wait(60))
    monkeypatch.setattr(keeping, "SLOW_S", 0.05)
    monkeypatch.setattr(module, "CLOSE_S", 0.05)
    at = office(path, {"http": Scripted(refuse)}, first_s=3600, max_s=3600)
    at.put(alert("a", 1))
    until(lambda: at.counted("journal_slow") == (1,))
    begun = time.monotonic()
    assert at.stop(0) == 1
    assert time.monotonic() - begun < 20
    assert "1 alerts that are owed are perhaps not in" in caplog.text
    answers.set()


# its age


def test_a_corrected_date_makes_nothing_old(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = office(path, {"http": Scripted(refuse)}, first_s=3600, max_s=3600)
    at.put(alert("a", 1))
    until(lambda: at.counted("retried") == (1,))
    now_s = time.time
    for days in (4000, -4000):
        monkeypatch.setattr(time, "time", lambda days=days: now_s() + days * 86400)
        at.put(alert(str(days), 2))
        until(lambda: at.outbox.flush(1))
    assert at.counted("given_up") == (0,)
    assert at.stop(0) == 3
    destination = Scripted()
    assert office(path, {"http": destination}).stop() == 0
    assert len(destination.took) == 3


def test_no_alert_of_an_earlier_boot_is_older_than_can_be_proven() -> None:
    def made(boot: str, boot_s: float) -> Owed:
        return Owed(1, "http", "a", 0.0, "{}", boot=boot, boot_s=boot_s)

    found = [
        made("earlier", 100.0),
        made("earlier", 700.0),
        made("this", 30.0),
        made("this", 1e9),
        made("", 0.0),
    ]
    assert [one.boot_s for one in of_this_boot(found, "this", 50.0)] == [-600.0, 0.0, 30.0, 50.0, 50.0]
    assert {one.boot for one in of_this_boot(found, "this", 50.0)} == {"this"}
    # From boot to boot it grows: nothing is kept for ever.
    again = of_this_boot(of_this_boot(found, "this", 50.0), "later", 5.0)
    assert [one.boot_s for one in again] == [-650.0, -50.0, -20.0, 0.0, 0.0]


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
    assert "LookupError at test_outbox.py:" in errors[0]
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
    assert "set aside: http b/exceeded/2: LookupError, at test_outbox.py:" in caplog.text
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
