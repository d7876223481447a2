"""The spool keeps order and bounds, and counts what it drops."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockbpf.alert import CLEARED, EXCEEDED, ONGOING, Alert
from sockbpf.counters import Counters
from sockbpf.delivery.spool import Spool, lane_of
from sockbpf.event import Direction, Mode, Protocol, Socket

if TYPE_CHECKING:
    from collections.abc import Callable

SOCKET = Socket(Protocol.TCP, "127.0.0.1", 80, "127.0.0.1", 40000, 4026531840, 1)


def alert(episode: str, seq: int = 1, event: str = EXCEEDED) -> Alert:
    return Alert(episode, seq, event, 10**18, 0, SOCKET, Direction.RECV, 2, 1, 2, Mode.EBPF, "host")


def episode_in(lane: int, lanes: int) -> str:
    return next(name for name in map(str, range(1000)) if lane_of(name, lanes) == lane)


def until(condition: Callable[[], bool], deadline_s: float = 20) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def test_the_lane_of_an_episode_is_the_same_in_every_run() -> None:
    assert [lane_of(name, 5) for name in ("a", "b", "episode-17")] == [2, 1, 3]


def test_every_lane_gets_its_share() -> None:
    shares = [0] * 4
    for n in range(997):
        shares[lane_of(f"host-{n}", 4)] += 1
    assert min(shares) > 997 // 8


def test_the_alerts_of_an_episode_come_out_in_order() -> None:
    spool = Spool(3, 100, Counters())
    told = [alert("one", seq, event) for seq, event in enumerate((EXCEEDED, ONGOING, ONGOING, CLEARED))]
    assert all(spool.offer(each) for each in told)
    lane = lane_of("one", 3)
    for each in told:
        assert spool.take(lane, 0) is each
        spool.done(lane)
    assert spool.take(lane, 0) is None


def test_what_is_taken_stays_until_it_is_done() -> None:
    spool = Spool(1, 1, Counters())
    spool.offer(alert("a"))
    assert spool.take(0, 0) is spool.take(0, 0)
    assert spool.depth() == 1
    assert not spool.offer(alert("b"))
    spool.done(0)
    assert spool.depth() == 0
    assert spool.offer(alert("b"))


def test_done_of_nothing_is_an_error() -> None:
    with pytest.raises(IndexError):
        Spool(2, 1, Counters()).done(0)


def test_the_bound_is_over_all_lanes_and_every_drop_is_counted() -> None:
    counters = Counters()
    spool = Spool(3, 7, counters)
    taken = sum(spool.offer(alert(str(n), n)) for n in range(31))
    assert (taken, spool.depth(), counters.snapshot()["dropped"]) == (7, 7, 24)


def test_several_threads_offer_and_nothing_is_miscounted() -> None:
    counters = Counters()
    spool = Spool(3, 101, counters)
    taken = [0] * 7

    def offer(which: int) -> None:
        taken[which] = sum(spool.offer(alert(f"{which}-{n}", n)) for n in range(53))

    threads = [threading.Thread(target=offer, args=(which,)) for which in range(7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == spool.depth() == 101
    assert counters.snapshot()["dropped"] == 7 * 53 - 101


def test_drops_are_logged_at_once_and_then_at_most_every_ten_seconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 1000.0
    spool = Spool(1, 1, Counters(), clock=lambda: now)
    spool.offer(alert("a"))
    with caplog.at_level(logging.WARNING):
        for _ in range(13):
            spool.offer(alert("b"))
        assert [record.args for record in caplog.records] == [(1, 1)]
        now += 9.9
        spool.offer(alert("b"))
        assert len(caplog.records) == 1
        now += 0.2
        spool.offer(alert("b"))
        assert [record.args for record in caplog.records] == [(1, 1), (14, 1)]
        spool.offer(alert("b"))
        spool.close()
        assert [record.args for record in caplog.records] == [(1, 1), (14, 1), (1,)]


def test_the_rest_of_the_drops_is_logged_when_there_is_room_again(caplog: pytest.LogCaptureFixture) -> None:
    now = 1000.0
    spool = Spool(1, 1, Counters(), clock=lambda: now)
    for _ in range(4):
        spool.offer(alert("a"))
    spool.done(0)
    now += 11
    with caplog.at_level(logging.WARNING):
        assert spool.offer(alert("b"))
    assert [record.args for record in caplog.records] == [(1, 1), (2, 1)]


def test_an_offer_wakes_the_taker_of_its_lane() -> None:
    spool = Spool(2, 10, Counters())
    got: list[Alert | None] = []
    takers = [
        threading.Thread(target=lambda lane=lane: got.append(spool.take(lane, 60)), daemon=True)
        for lane in range(2)
    ]
    for taker in takers:
        taker.start()
    spool.offer(alert(episode_in(1, 2)))
    takers[1].join(20)
    assert got == [alert(episode_in(1, 2))]
    assert takers[0].is_alive()
    spool.close()
    takers[0].join(20)
    assert got[1:] == [None]


def test_a_closed_spool_gives_what_it_holds_and_takes_nothing() -> None:
    counters = Counters()
    spool = Spool(1, 10, counters)
    spool.offer(alert("a"))
    spool.close()
    assert not spool.offer(alert("b"))
    assert counters.snapshot()["dropped"] == 1
    assert spool.take(0, 60) == alert("a")
    spool.done(0)
    assert spool.take(0, 60) is None


def test_a_taker_waits_in_vain_no_longer_than_it_said() -> None:
    assert Spool(1, 1, Counters()).take(0, 0.01) is None


LANES = 3
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.integers(0, 12)),
        st.tuples(st.just("take"), st.integers(0, LANES - 1)),
        st.tuples(st.just("done"), st.integers(0, LANES - 1)),
    )
)


@given(STEPS, st.integers(1, 6))
def test_any_sequence_of_steps_does_what_plain_lists_would(
    steps: list[tuple[str, int]], capacity: int
) -> None:
    counters = Counters()
    spool = Spool(LANES, capacity, counters)
    lists: list[list[Alert]] = [[] for _ in range(LANES)]
    dropped = made = 0
    for step, n in steps:
        owed = sum(map(len, lists))
        if step == "offer":
            made += 1
            each = alert(str(n), made)
            assert spool.offer(each) is (owed < capacity)
            if owed < capacity:
                lists[lane_of(str(n), LANES)].append(each)
            else:
                dropped += 1
        elif step == "take":
            assert spool.take(n, 0) is (lists[n][0] if lists[n] else None)
        elif lists[n]:
            spool.done(n)
            lists[n].pop(0)
        assert spool.depth() == sum(map(len, lists))
        assert counters.snapshot()["dropped"] == dropped
