# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The list of sockets in each form: a table that no screen is too narrow for, JSON and CSV that nobody can forge."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from sockbpf.record.event import Direction, Protocol
from sockbpf.record.socket_row import SocketRow, Whose
from sockbpf.record.why import Cause, Confidence, Why
from sockbpf.view.columns import COLUMNS, FIELDS
from sockbpf.view.fitting import fitted
from sockbpf.view.lines import csv_lines, json_lines
from sockbpf.view.sockets_table import sockets_table
from tests.unit.socket_rows import MIB, a_listener, a_row

CGROUP = f"/system.slice/docker-{'ab12' * 16}.scope"
HOSTILE = "=evil\x1b[31m\n\x9b\x7f"
ROWS = [
    a_row(recv=3 * MIB, send=5, whose=Whose(4_000_017, "nginx-worker-15", "www-data", CGROUP, "blue")),
    a_row(protocol=Protocol.UDP, recv=MIB, remote_ip="0.0.0.0", remote_port=0, drops=31),
    a_row(send=7, local_ip="2001:db8:1111:2222:3333:4444:5555:6666", remote_ip="::ffff:198.51.100.123"),
    a_listener(3, 128),
    replace(
        a_row(recv=3 * MIB, send=5),
        age_ms={Direction.RECV: 41_000, Direction.SEND: 7},
        whys={Direction.RECV: Why(Cause.READER_STOPPED, Confidence.HIGH, "nginx (pid 17) is stopped")},
    ),
]


def shown(rows: list[SocketRow], width: int) -> tuple[list[str], tuple[str, ...]]:
    out = Console(width=width, file=io.StringIO(), highlight=False)
    table, left_out = sockets_table(rows, width)
    with out.capture() as captured:
        out.print(table)
    return [line.rstrip() for line in captured.get().splitlines()], left_out


@pytest.mark.parametrize("width", [40, 60, 80, 100, 132, 200, 400])
def test_no_line_is_wider_than_the_screen_and_each_socket_is_one_line(width: int) -> None:
    lines, left_out = shown(ROWS, width)
    assert len(lines) == 1 + len(ROWS)
    assert max(map(len, lines)) <= width
    headings = {column.heading for column in COLUMNS}
    assert set(left_out) <= headings
    assert not set(left_out) & {"recv", "send", "local", "remote", "process", "proto"}
    if width == 400:
        assert not left_out
        assert all(heading in lines[0] for heading in headings)


def test_cause_and_age_are_of_each_queue_and_short_in_the_table() -> None:
    found = json.loads(next(json_lines(ROWS[-1:])))
    assert (found["recv_age_ms"], found["send_age_ms"]) == (41_000, 7)
    assert (found["recv_cause"], found["recv_reason"]) == ("reader-stopped", "nginx (pid 17) is stopped")
    assert "send_cause" not in found
    heading, line = shown(ROWS[-1:], 200)[0]
    assert heading.split()[2:5] == ["over", "cause", "age"]
    assert line.split()[2:5] == ["RECV", "reader-stopped", "41s"]


def test_what_is_of_least_use_is_left_out_first() -> None:
    full = fitted(COLUMNS, ROWS, 10_000)
    keep = {column.heading: column.keep for column in full.columns}
    for width in range(40, 400, 7):
        fits = fitted(COLUMNS, ROWS, width)
        if fits.left_out:
            assert min(keep[heading] for heading in fits.left_out) >= max(
                column.keep for column in fits.columns
            )


def test_a_column_that_no_socket_needs_is_not_there() -> None:
    lines, left_out = shown([a_row(recv=5)], 400)
    assert not {"accept", "over", "process", "unit"} & set(lines[0].split())
    assert not left_out


@pytest.mark.parametrize("comm", [HOSTILE, "[bold]x[/]", "\udcff"])
def test_no_name_reaches_the_screen_raw(comm: str) -> None:
    row = a_row(recv=5, whose=Whose(17, comm, comm, f"/{comm}.service", comm))
    lines, _ = shown([row], 400)
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
    (line,) = json_lines([row])
    assert line.rstrip("\n").isprintable()
    assert json.loads(line)["comm"] == comm
    written = "".join(csv_lines([row]))
    assert written.replace("\n", "").isprintable()
    (_, cells) = csv.reader(io.StringIO(written))
    assert not cells[[name for name, _ in FIELDS].index("comm")].startswith("=")


def test_json_has_what_is_known_by_the_names_of_alerts() -> None:
    first, second, _, listener, _ = (json.loads(line) for line in json_lines(ROWS))
    assert {key: first[key] for key in ("over", "recv", "recv_limit", "recv_fill", "recv_threshold", "send")} == {
        "over": "RECV", "recv": 3 * MIB, "recv_limit": 4 * MIB, "recv_fill": 75, "recv_threshold": MIB, "send": 5,
    }  # fmt: skip
    assert (first["pid"], first["comm"], first["user"]) == (4_000_017, "nginx-worker-15", "www-data")
    assert (first["container"], first["netns_name"]) == ("ab12" * 3, "blue")
    assert not {"state", "over", "pid", "comm", "unit", "accept"} & set(second)
    assert (second["drops"], second["remote_port"]) == (31, 0)
    assert (listener["accept"], listener["accept_limit"], listener["state"]) == (3, 128, "LISTEN")
    assert "recv" not in listener


def test_csv_has_a_line_of_names_and_a_cell_for_each() -> None:
    names, *rows = csv.reader(io.StringIO("".join(csv_lines(ROWS))))
    assert names == [name for name, _ in FIELDS]
    assert [len(row) for row in rows] == [len(names)] * len(ROWS)
    assert [row[names.index("recv")] for row in rows] == [str(3 * MIB), str(MIB), "0", "", str(3 * MIB)]


def test_the_document_has_every_field_and_no_other() -> None:
    document = (Path(__file__).parents[2] / "docs" / "sockets.md").read_text()
    table = document.partition("| field | value |")[2].partition("\n\n")[0]
    named = [name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])]
    assert sorted(named) == sorted(name for name, _ in FIELDS)
