"""The workers try until it is through, in order, and stop when told."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockbpf.alert import EXCEEDED, Alert
from sockbpf.counters import Counters
from sockbpf.delivery.spool import Spool, lane_of
from sockbpf.delivery.transport import TransportError
from sockbpf.delivery.worker import Workers, _Outage, backoff_s
from sockbpf.event import Direction, Mode, Protocol, Socket

if TYPE_CHECKING:
    from collections.abc import Callable

SOCKET = Socket(Protocol.TCP, "127.0.0.1", 80, "127.0.0.1", 40000, 4026531840, 1)


def alert(episode: str, seq: int = 1) -> Alert:
    return Alert(episode, seq, EXCEEDED, 10**18, 0, SOCKET, Direction.RECV, 2, 1, 2, Mode.EBPF, "host")


def episode_in(lane: int, lanes: int) -> str:
    return next(name for name in map(str, range(1000)) if lane_of(name, lanes) == lane)


def until(condition: Callable[[], bool], deadline_s: float = 20) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


@dataclass
class Scripted:
    """A destination that does as `answer` says with each alert, and remembers what it took."""

    answer: Callable[[Alert], None] = lambda _: None
    took: list[Alert] = field(default_factory=list)
    closed: int = 0

    def send(self, alert: Alert) -> None:
        self.answer(alert)
        self.took.append(alert)

    def close(self) -> None:
        self.closed += 1


def started(
    spool: Spool, destination: Scripted, counters: Counters, first_s: float = 0.001, max_s: float = 0.004
) -> Workers:
    workers = Workers(spool, lambda: destination, counters, retry_first_s=first_s, retry_max_s=max_s)
    workers.start()
    return workers


def refuse(_: Alert) -> None:
    raise TransportError("answered 500")


def counted(counters: Counters, *names: str) -> tuple[int, ...]:
    counts = counters.snapshot()
    return tuple(counts[name] for name in names)


@given(st.integers(1, 10**6), st.floats(0, 1), st.floats(0.001, 10), st.floats(1, 1000))
def test_the_backoff_stays_between_its_bounds(
    failures: int, luck: float, first_s: float, factor: float
) -> None:
    max_s = first_s * factor
    wait_s = backoff_s(failures, first_s, max_s, lambda low, high: low + (high - low) * luck)
    assert first_s <= wait_s <= max_s or wait_s == pytest.approx(max_s)


def test_the_ceiling_of_the_backoff_doubles_up_to_the_maximum() -> None:
    ceilings = [backoff_s(failures, 1, 30, lambda _, high: high) for failures in range(1, 8)]
    assert ceilings == [2, 4, 8, 16, 30, 30, 30]


def test_all_is_delivered_and_every_destination_closed() -> None:
    counters, destination = Counters(), Scripted()
    spool = Spool(3, 1000, counters)
    workers = started(spool, destination, counters)
    assert all(spool.offer(alert(str(n), n)) for n in range(211))
    assert workers.stop(20) == 0
    assert sorted(each.seq for each in destination.took) == list(range(211))
    assert counted(counters, "delivered", "retried", "dropped") == (211, 0, 0)
    assert destination.closed == 3


def test_order_is_kept_per_episode_though_tries_fail() -> None:
    tries: dict[int, int] = defaultdict(int)

    def fail_by_turns(each: Alert) -> None:
        tries[each.seq] += 1
        if tries[each.seq] <= each.seq % 3:
            raise TransportError("answered 500")

    counters, destination = Counters(), Scripted(fail_by_turns)
    spool = Spool(4, 1000, counters)
    workers = started(spool, destination, counters)
    for seq in range(23 * 7):
        assert spool.offer(alert(f"episode-{seq % 23}", seq))
    assert workers.stop(60) == 0
    for n in range(23):
        assert [each.seq for each in destination.took if each.id == f"episode-{n}"] == list(range(n, 161, 23))
    failures = sum(seq % 3 for seq in range(161))
    assert counted(counters, "delivered", "retried") == (161, failures)


def test_a_slow_lane_does_not_hold_up_the_others() -> None:
    go, stuck = threading.Event(), threading.Event()
    slow, quick = episode_in(0, 2), episode_in(1, 2)

    def wait_for_slow(each: Alert) -> None:
        if each.id == slow:
            stuck.set()
            assert go.wait(60)

    counters, destination = Counters(), Scripted(wait_for_slow)
    spool = Spool(2, 100, counters)
    workers = started(spool, destination, counters)
    spool.offer(alert(slow, 0))
    assert stuck.wait(20)
    for seq in range(1, 30):
        spool.offer(alert(quick, seq))
    until(lambda: counted(counters, "delivered") == (29,))
    assert spool.depth() == 1
    go.set()
    assert workers.stop(20) == 0
    assert destination.took[-1].id == slow


def test_stop_during_a_backoff_is_immediate() -> None:
    counters = Counters()
    spool = Spool(2, 100, counters)
    workers = started(spool, Scripted(refuse), counters, first_s=3600, max_s=7200)
    for n in range(13):
        spool.offer(alert(str(n), n))
    until(lambda: counted(counters, "retried") == (2,))
    begun = time.monotonic()
    assert workers.stop(0) == 13
    assert time.monotonic() - begun < 10
    until(lambda: not any(thread.is_alive() for thread in workers._threads))
    assert counted(counters, "delivered", "retried") == (0, 2)


def test_a_stop_with_time_left_tries_at_once_but_waits_for_no_try_past_it() -> None:
    counters = Counters()
    spool = Spool(1, 100, counters)
    workers = started(spool, Scripted(refuse), counters, first_s=3600, max_s=7200)
    spool.offer(alert("a"))
    until(lambda: counted(counters, "retried") == (1,))
    begun = time.monotonic()
    assert workers.stop(600) == 1
    assert time.monotonic() - begun < 60
    assert counted(counters, "retried") == (2,)


def test_a_stop_delivers_what_waits_in_a_backoff_when_the_receiver_is_back() -> None:
    failing = True

    def fail_at_first(_: Alert) -> None:
        if failing:
            raise TransportError("answered 500")

    counters = Counters()
    spool = Spool(1, 100, counters)
    workers = started(spool, Scripted(fail_at_first), counters, first_s=3600, max_s=7200)
    for n in range(5):
        spool.offer(alert("a", n))
    until(lambda: counted(counters, "retried") == (1,))
    failing = False
    assert workers.stop(60) == 0
    assert counted(counters, "delivered", "retried") == (5, 1)


def test_a_stop_does_not_wait_for_a_try_that_hangs() -> None:
    go, stuck = threading.Event(), threading.Event()

    def hang(_: Alert) -> None:
        stuck.set()
        assert go.wait(60)

    counters = Counters()
    spool = Spool(1, 100, counters)
    workers = started(spool, Scripted(hang), counters)
    spool.offer(alert("a", 1))
    spool.offer(alert("a", 2))
    assert stuck.wait(20)
    begun = time.monotonic()
    assert workers.stop(0.01) == 2
    assert time.monotonic() - begun < 10
    go.set()
    until(lambda: not workers._threads[0].is_alive())
    assert (spool.depth(), counted(counters, "delivered")) == (1, (1,))


def test_idle_workers_stop_at_once() -> None:
    begun = time.monotonic()
    counters = Counters()
    workers = started(Spool(3, 1, counters), Scripted(), counters)
    assert workers.stop(600) == 0
    assert time.monotonic() - begun < 60


def test_workers_that_never_started_stop_too() -> None:
    counters = Counters()
    spool = Spool(2, 10, counters)
    workers = Workers(spool, Scripted, counters, retry_first_s=1, retry_max_s=2)
    spool.offer(alert("a"))
    assert workers.stop(60) == 1


def test_what_is_made_is_delivered_dropped_or_owed() -> None:
    bad = episode_in(0, 3)

    def refuse_bad(each: Alert) -> None:
        if each.id == bad:
            raise TransportError("answered 400", permanent=True)

    counters = Counters()
    spool = Spool(3, 17, counters)
    for n in range(101):
        spool.offer(alert(bad if n % 5 == 0 else str(n), n))
    assert counted(counters, "dropped") == (84,)
    # The bad episode shuts its own lane: count what stands in the others.
    others = sum(lane_of(str(n), 3) != 0 for n in range(17) if n % 5)
    workers = started(spool, Scripted(refuse_bad), counters)
    until(lambda: counted(counters, "delivered") == (others,) and counted(counters, "retried") > (2,))
    owed = workers.stop(0)
    assert owed == 17 - others
    assert counted(counters, "delivered", "dropped") == (others, 84)


def noted_waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let the workers note their waits instead of waiting."""
    waits: list[float] = []

    def note(_: Workers, wait_s: float, stopping: bool) -> bool:
        waits.append(wait_s)
        return True

    monkeypatch.setattr(Workers, "_pause", note)
    return waits


def waited(
    monkeypatch: pytest.MonkeyPatch, asked: list[float | None], first_s: float, max_s: float
) -> list[float]:
    """Return the waits between tries that fail with each of the Retry-After."""
    script = iter(asked)

    def fail_by_script(_: Alert) -> None:
        try:
            retry_after_s = next(script)
        except StopIteration:
            return
        raise TransportError("answered 503", retry_after_s=retry_after_s)

    waits = noted_waits(monkeypatch)
    counters = Counters()
    spool = Spool(1, 10, counters)
    workers = started(spool, Scripted(fail_by_script), counters, first_s, max_s)
    spool.offer(alert("a"))
    assert workers.stop(20) == 0
    return waits


def test_retry_after_lengthens_the_wait_up_to_the_maximum(monkeypatch: pytest.MonkeyPatch) -> None:
    assert waited(monkeypatch, [50.0, 1e9, float("inf")], 1, 60) == [50, 60, 60]


def test_retry_after_does_not_shorten_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    assert waited(monkeypatch, [0.0, None], 7, 7) == [7, 7]


def test_the_backoff_begins_anew_after_a_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sockbpf.delivery.worker.backoff_s", lambda failures, *_: float(failures))
    waits = noted_waits(monkeypatch)
    tries: dict[int, int] = defaultdict(int)

    def fail_twice(each: Alert) -> None:
        tries[each.seq] += 1
        if tries[each.seq] <= 2:
            raise TransportError("answered 500")

    counters = Counters()
    spool = Spool(1, 10, counters)
    spool.offer(alert("a", 1))
    spool.offer(alert("a", 2))
    assert started(spool, Scripted(fail_twice), counters).stop(20) == 0
    assert waits == [1, 2, 1, 2]


def test_an_unexpected_error_is_a_failed_try_and_is_logged_once_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tries = 0

    def blunder(_: Alert) -> None:
        nonlocal tries
        tries += 1
        if tries <= 5:
            raise LookupError("http://user:s3cret@host/")

    counters = Counters()
    spool = Spool(1, 10, counters)
    with caplog.at_level(logging.DEBUG):
        workers = started(spool, Scripted(blunder), counters)
        spool.offer(alert("a"))
        assert workers.stop(20) == 0
    assert counted(counters, "delivered", "retried") == (1, 5)
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "LookupError at test_worker.py:" in errors[0]
    assert "s3cret" not in caplog.text


def test_an_error_on_closing_is_logged_and_not_raised(caplog: pytest.LogCaptureFixture) -> None:
    class Stubborn(Scripted):
        def close(self) -> None:
            raise LookupError("s3cret")

    counters = Counters()
    workers = started(Spool(1, 1, counters), Stubborn(), counters)
    assert workers.stop(20) == 0
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "s3cret" not in caplog.text


def test_an_outage_is_logged_at_once_then_every_thirty_seconds_and_at_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 1000.0
    outage = _Outage(lambda: now)
    caplog.set_level(logging.INFO)

    def said() -> list[tuple[str, object]]:
        lines: list[tuple[str, object]] = [(record.levelname, record.args) for record in caplog.records]
        caplog.clear()
        return lines

    outage.worked(0)
    assert said() == []
    outage.failed(0, "refused")
    assert said() == [("WARNING", ("refused",))]
    for _ in range(11):
        now += 2
        outage.failed(0, "refused")
    assert said() == []
    now += 9
    outage.failed(1, "reset")
    assert said() == [("WARNING", (12, "reset"))]
    outage.worked(0)
    assert said() == []
    outage.worked(1)
    assert said() == [("INFO", (13,))]
    outage.worked(1)
    assert said() == []


def test_an_outage_that_comes_and_goes_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    now = 1000.0
    outage = _Outage(lambda: now)
    caplog.set_level(logging.INFO)
    for _ in range(601):
        outage.failed(0, "refused")
        outage.worked(0)
        now += 0.1
    warnings = [record.args for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings in ([("refused",), (300, "refused"), (300, "refused")], [("refused",), (300, "refused")])
    assert len(caplog.records) == 2 * len(warnings)
