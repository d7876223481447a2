# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What `sockbpf top` knows from look to look: order, what stands still, what ended, what the monitor says is over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from sockbpf.judge.tracks import ENDED_S, POINTS, WITH_HISTORY, History, Tracks
from sockbpf.monitor.told_over import told_over
from sockbpf.record.event import Direction
from sockbpf.record.moment import Moment, Rest, Told, ends_of
from sockbpf.record.socket_row import SocketRow
from tests.unit.socket_rows import MIB, a_row

RECV, SEND = Direction.RECV, Direction.SEND


def look(at_s: float, *rows: SocketRow, told: Told | None = None) -> Moment:
    return Moment(at_s, 1_700_000_000 + at_s, rows, told)


def ports(tracks: Tracks) -> list[int]:
    return [track.row.socket.remote_port for track in tracks.in_order()]


def told_of(*rows: SocketRow, over: int = 1) -> Told:
    def one(row: SocketRow) -> dict[str, object]:
        names = ("protocol", "local_ip", "local_port", "remote_ip", "remote_port", "netns")
        return dict(zip(names, ends_of(row), strict=True)) | {
            "type": "RECV", "condition": "stalled", "since": 1_700_000_000.0, "held": False, "size": 7,
            "cause": "reader-stopped", "reason": "it is stopped",
        }  # fmt: skip

    return told_over(
        {"state": "watching", "over": over, "stalled": 0, "held": 0, "open": list(map(one, rows))}
    )


def test_what_is_over_comes_first_then_the_fullest() -> None:
    tracks = Tracks()
    rows = [a_row(recv=size, remote_port=port) for port, size in ((1, 500_000), (2, 2 * MIB), (3, 900_000))]
    tracks.take(look(1, *rows))
    assert ports(tracks) == [2, 3, 1]


def test_small_changes_move_no_row_and_great_ones_do() -> None:
    tracks = Tracks()
    for at_s, first, second in ((1, 900_000, 860_000), (2, 850_000, 910_000), (3, 880_000, 890_000)):
        tracks.take(look(at_s, a_row(recv=first, remote_port=1), a_row(recv=second, remote_port=2)))
        assert ports(tracks) == [1, 2]
    tracks.take(look(4, a_row(recv=100_000, remote_port=1), a_row(recv=890_000, remote_port=2)))
    assert ports(tracks) == [2, 1]


def test_queues_that_are_nearly_empty_move_no_row() -> None:
    tracks = Tracks()
    for at_s, first, second in ((1, 900, 800), (2, 100, 9000), (3, 7, 20_000)):
        tracks.take(look(at_s, a_row(recv=first, remote_port=1), a_row(recv=second, remote_port=2)))
        assert ports(tracks) == [1, 2]
    tracks.take(look(4, a_row(recv=7, remote_port=1), a_row(recv=90_000, remote_port=2)))
    assert ports(tracks) == [2, 1]


def test_the_age_is_the_time_since_something_left_the_queue() -> None:
    tracks = Tracks()

    def still(at_s: float, left: int, size: int = 5) -> float | None:
        tracks.take(look(at_s, replace(a_row(recv=size), left={RECV: left, SEND: 1})))
        (track,) = tracks.in_order()
        return track.still_s(at_s)

    assert still(1, 100) == 0
    assert still(4, 100, size=9) == 3, "it grew, but nothing left it"
    assert still(5, 104) == 0
    assert still(7, 104) == 2
    tracks.take(look(8, a_row(recv=5)))
    assert tracks.in_order()[0].still_s(8) is None, "the look does not show what left: nothing is guessed"


def test_what_ended_stays_a_while_at_its_place_and_then_goes() -> None:
    tracks = Tracks()
    first, second = a_row(recv=900_000, remote_port=1), a_row(recv=100_000, remote_port=2)
    tracks.take(look(1, first, second))
    tracks.take(look(2, second))
    assert [(track.row, track.has_ended) for track in tracks.in_order()] == [(first, True), (second, False)]
    tracks.take(look(1 + ENDED_S, second))
    assert ports(tracks) == [1, 2]
    tracks.take(look(1.1 + ENDED_S, second))
    assert ports(tracks) == [2]


def test_what_is_not_among_the_worst_any_more_has_not_ended() -> None:
    tracks = Tracks()
    first, second = a_row(recv=900_000, inode=1), a_row(recv=100_000, inode=2)
    tracks.take(look(1, first, second))
    tracks.take(replace(look(2, first), rest=Rest(1, 0, frozenset({2}))))
    assert [(track.row, track.has_ended) for track in tracks.in_order()] == [(first, False)]


def test_the_monitor_says_what_is_over_where_there_is_one() -> None:
    tracks = Tracks()
    big, small = a_row(recv=3 * MIB, remote_port=1), a_row(recv=7, remote_port=2)
    tracks.take(look(1, big, small, told=told_of(small)))
    first, second = tracks.in_order()
    assert (first.row, first.is_over, first.episodes[0].condition) == (small, True, "stalled")
    assert (second.row, second.is_over) == (big, False)
    tracks.take(look(2, big, small))
    assert tracks.in_order()[0].row == big
    assert not any(track.episodes for track in tracks.in_order())


@pytest.mark.parametrize(
    "status", [{}, {"open": 5}, {"open": [None, {"size": "x", "since": float("nan")}], "over": "many"}]
)
def test_a_status_that_makes_no_sense_is_no_error(status: dict[str, object]) -> None:
    Tracks().take(look(1, a_row(recv=5), told=told_over(status)))


def test_what_the_monitor_does_not_name_is_counted() -> None:
    assert told_of(a_row(recv=5), over=131).more == 130


def test_a_history_covers_the_whole_session_in_bounded_memory() -> None:
    history = History()
    for second in range(10_000):
        history.add(float(second), second)
    assert history.points[0] == (0.0, 0)
    assert history.points[-1][0] > 9_000
    assert POINTS // 4 < len(history.points) < POINTS


def test_only_the_first_rows_have_a_history() -> None:
    tracks = Tracks()
    rows: Sequence[SocketRow] = [a_row(recv=1000 * n, inode=n) for n in range(1, WITH_HISTORY + 50)]
    tracks.take(look(1, *rows))
    assert sum(bool(track.history) for track in tracks.in_order()) == WITH_HISTORY


def test_a_cause_is_taken_from_the_status_and_unknown_is_none() -> None:
    told = {"type": "RECV", "cause": "reader-stopped", "reason": "it is stopped"}
    status = {"open": [told, told | {"cause": "unknown"}, {"type": "SEND"}]}
    assert [each.cause for each in told_over(status).episodes] == ["reader-stopped", "", ""]
    assert [each.reason for each in told_over(status).episodes] == ["it is stopped", "it is stopped", ""]
