# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The figures of all sockets: sums, what is nearest to being over, the fullest listener, how counters grow."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from rich.console import Console

from sockbpf.judge.totals import NEAREST, fullest_of, growth, how_near, nearest_of, sizes_of
from sockbpf.kernel.look.memory import memory_in_use
from sockbpf.record.event import Direction, Protocol
from sockbpf.record.socket_row import Whose
from sockbpf.record.totals import Memory, Totals
from sockbpf.view.summary import summary_object, summary_page
from tests.unit.socket_rows import CLOSE_WAIT, ESTABLISHED, LISTEN, MIB, a_listener, a_row

ROWS = [
    a_row(recv=7, send=11),
    a_row(recv=MIB // 2),
    a_row(send=3 * MIB, whose=Whose(17, "evil\x1b[31m")),
    a_row(protocol=Protocol.UDP, recv=13),
    a_listener(90, 128),
    a_listener(5, 5),
    a_listener(0, 0),
]


def test_sums_are_by_protocol_and_queue() -> None:
    assert sizes_of(ROWS) == {
        (Protocol.TCP, Direction.RECV): 7 + MIB // 2,
        (Protocol.TCP, Direction.SEND): 11 + 3 * MIB,
        (Protocol.TCP, Direction.ACCEPT): 95,
        (Protocol.UDP, Direction.RECV): 13,
        (Protocol.UDP, Direction.SEND): 0,
    }


def test_the_nearest_are_named_and_nothing_that_is_far_from_it() -> None:
    assert [how_near(row) for row in nearest_of(ROWS)] == [3, 0.9, 0.5, 0.05]
    assert len(nearest_of([a_row(recv=MIB + number) for number in range(11)])) == NEAREST


def test_the_fullest_listener_is_that_with_the_least_room() -> None:
    assert fullest_of(ROWS) is ROWS[5]
    assert fullest_of(ROWS[:4]) is None


def test_counters_grow_by_what_each_namespace_has_counted_since() -> None:
    before = {1: {"UdpRcvbufErrors": 100}, 2: {"UdpRcvbufErrors": 10}, 3: {"UdpRcvbufErrors": 1000}}
    after = {1: {"UdpRcvbufErrors": 103}, 2: {"UdpRcvbufErrors": 14}, 4: {"UdpRcvbufErrors": 5000}}
    assert growth(before, after, 2.0) == {"UdpRcvbufErrors": (5117, 3.5)}


def test_memory_is_bytes_and_absent_where_it_is_not_shown(tmp_path: Path) -> None:
    stat = tmp_path / "sockstat"
    stat.write_text("sockets: used 30\nTCP: inuse 16 orphan 0 tw 0 alloc 16 mem 7\nUDP: inuse 4 mem 45\n")
    (tmp_path / "tcp_mem").write_text("100\t200\t300\n")
    page = os.sysconf("SC_PAGE_SIZE")
    assert memory_in_use(stat, tmp_path) == {
        Protocol.TCP: Memory(7 * page, 100 * page, 200 * page, 300 * page)
    }
    assert memory_in_use(tmp_path / "none", tmp_path) == {}


def totals() -> Totals:
    return Totals(
        namespaces=2,
        states={Protocol.TCP: {ESTABLISHED: 101, CLOSE_WAIT: 7, LISTEN: 3}, Protocol.UDP: {7: 5}},
        sizes=sizes_of(ROWS),
        over=1,
        nearest=tuple(nearest_of(ROWS)),
        listeners=3,
        fullest=fullest_of(ROWS),
        memory={Protocol.TCP: Memory(3, 1, 2, 4)},
        counters={"UdpRcvbufErrors": (0, 0.0), "TcpRetransSegs": (31, 2.5), "UdpMemErrors": (0, 0.0)},
    )


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_page_fits_the_screen_and_is_printable(width: int) -> None:
    out = Console(width=width, file=io.StringIO(), highlight=False)
    with out.capture() as captured:
        for part in summary_page(totals(), width, {"UdpRcvbufErrors"}):
            out.print(part)
    shown = captured.get()
    assert all(len(line.rstrip()) <= width and line.isprintable() for line in shown.split("\n"))
    for said in ("111 sockets: ESTAB 101, CLOSE-WAIT 7", "fullest 5/5 on 192.0.2.1:443", "300%", "75.0%"):
        assert said in " ".join(shown.split())
    assert "UdpRcvbufErrors" in shown
    assert "UdpMemErrors" not in shown


def test_json_is_one_line() -> None:
    line = summary_object(totals())
    assert line.count("\n") == 1
    found = json.loads(line)
    assert found["sockets"] == {"tcp": {"ESTAB": 101, "CLOSE-WAIT": 7, "LISTEN": 3}, "udp": {"UNCONN": 5}}
    assert found["queues"]["tcp"] == {"recv": 7 + MIB // 2, "send": 11 + 3 * MIB}
    assert (found["listeners"], found["waiting"], found["fullest"]["accept"]) == (3, 95, 5)
    assert [row["near"] for row in found["nearest"]] == [3, 0.9, 0.5, 0.05]
    assert found["counters"]["TcpRetransSegs"] == {"total": 31, "per_second": 2.5}
    assert found["memory"]["tcp"] == {"used": 3, "low": 1, "pressure": 2, "high": 4}
