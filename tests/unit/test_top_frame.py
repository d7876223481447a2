# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A frame fits the screen, says why what is on top is over, and shows no name raw."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console, Group

from sockbpf.judge.tracks import Tracks
from sockbpf.record.moment import Moment, OpenEpisode, Rest, Told, ends_of
from sockbpf.record.socket_row import SocketRow, Whose
from sockbpf.view.columns import short_span
from sockbpf.view.top_frame import frame
from tests.unit.socket_rows import MIB, a_listener, a_row

HOSTILE = "evil\x1b[31m\n\x9b\x7f[bold]"
ROWS = [
    a_row(recv=2 * MIB, remote_port=1, whose=Whose(4_000_017, HOSTILE, "www-data", f"/{HOSTILE}.service")),
    a_row(send=5, remote_port=2, local_ip="2001:db8:1111:2222:3333:4444:5555:6666"),
    a_listener(3, 128),
    *(a_row(recv=100, remote_port=port) for port in range(3, 60)),
]


def lines(width: int, height: int, told: Told | None = None, rows: list[SocketRow] = ROWS) -> list[str]:
    tracks = Tracks()
    moment = Moment(1.0, 1_700_000_040.0, rows, told, notes=("sockets cannot be listed\x1b[2J",))
    tracks.take(moment)
    out = Console(width=width, height=height, file=io.StringIO(), highlight=False)
    with out.capture() as captured:
        out.print(Group(*frame(moment, tracks, tracks.in_order(), (width, height))))
    return captured.get().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50), (40, 10), (80, 3), (20, 1)])
@pytest.mark.parametrize("rows", [ROWS, []])
def test_a_frame_is_no_larger_than_the_screen(width: int, height: int, rows: list[SocketRow]) -> None:
    shown = lines(width, height, rows=rows)
    assert len(shown) <= max(height, 2)
    assert max(map(len, shown)) <= max(width, 40)
    assert all(line.isprintable() for line in shown)


def test_the_reason_stands_at_what_is_over() -> None:
    shown = lines(80, 24)
    assert shown[0].startswith("1 over by thresholds (no monitor); 60 sockets not empty")
    assert [line for line in shown if "RECV size" in line] == [shown[3]]


def test_the_reason_is_the_monitors_where_there_is_one() -> None:
    queue = OpenEpisode(ends_of(ROWS[1]), "SEND", "stalled", "warning", "", 5, 1, 1_700_000_000.0, held=False)
    queue = replace(queue, cause="peer-not-reading", reason="its window\nis 0")
    rate = OpenEpisode(None, "RATE", "rate", "warning", "", 7, 1, 0.0, held=False, name="UdpRcvbufErrors")
    shown = lines(200, 24, Told((queue, rate), blind=("the thread looks hangs",)))
    assert "1 over by the running monitor" in shown[0]
    assert "blind: the thread looks hangs" in shown[1]
    assert "UdpRcvbufErrors rises by 7, over 1" in shown[2]
    assert shown[5].startswith("40s SEND stalled: peer-not-reading")
    assert "its window" not in "".join(shown)


def test_on_a_narrow_screen_sizes_and_ends_are_left() -> None:
    (headings,) = [line.split() for line in lines(40, 10) if "recv" in line]
    assert headings == ["recv", "send", "local", "remote"]
    assert any("2097k" in line and "…" in line for line in lines(40, 10))


def test_spans_are_short() -> None:
    assert [short_span(each) for each in (0, 0.9, 119, 120, 7200, 172_800)] == [
        "0s",
        "0s",
        "119s",
        "2m",
        "2h",
        "2d",
    ]


def test_sockets_that_are_not_rows_are_counted() -> None:
    tracks = Tracks()
    moment = Moment(1.0, 0.0, ROWS, rest=Rest(sockets=9000, over=7))
    tracks.take(moment)
    first, second, *_ = map(str, frame(moment, tracks, tracks.in_order(), (200, 24)))
    assert first.startswith("8 over by thresholds (no monitor); 9060 sockets not empty")
    assert second.startswith("the worst 60 are here")
