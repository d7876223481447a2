# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Of very many sockets the worst are rows, in the order of the list of all; the others are counted."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from sockbpf.judge.levels import Levels
from sockbpf.judge.ranking import is_over, rank
from sockbpf.kernel.look.glance import Glance
from sockbpf.kernel.look.packed import handed_rows
from sockbpf.kernel.look.row import Detail, Row
from sockbpf.monitor.sockets_now import SocketsNow
from sockbpf.monitor.worst_queues import worst
from sockbpf.record.event import Protocol
from sockbpf.record.rule import NO_RULE
from sockbpf.settings.config import load

SIZE, SHARE = Levels(5000, 2500, 0, 0), Levels(50, 25, 0, 0, of_buffer=True)


def a_row(inode: int, recv: int = 0, send: int = 0, *, limit: int = 10_000) -> Row:
    ends = (b"\0\x50", inode.to_bytes(2, "big"), b"\x7f\0\0\1", b"\x7f\0\0\1")
    detail = Detail(1, 0, 0, 1, limit, recv, limit, send, 0, 7)
    return Row(2, *ends, recv, send, inode, 0, detail=detail)


def seen(*rows: Row) -> Glance:
    return Glance([(7, Protocol.TCP, handed_rows(list(rows)))])


def inodes(rows: Glance, most: int, levels: Levels, keep: int = 0) -> list[int]:
    found, rest = worst(rows, lambda _: (levels, levels), most, lambda row: row.inode == keep)
    assert rest.sockets + len(found) == sum(len(handed.full) for _, _, handed in rows.handed)
    assert not rest.inodes & {row.inode for _, _, row in found}
    return [row.inode for _, _, row in found]


def test_what_is_over_comes_before_what_is_full() -> None:
    rows = seen(a_row(1, recv=9000, limit=9000), a_row(2, recv=5001, limit=10**6), a_row(3, send=20))
    ignored = replace(SIZE, applied=replace(NO_RULE, ignores=True))
    assert inodes(rows, 2, SIZE) == [1, 2]
    assert inodes(rows, 1, replace(SIZE, threshold=9000)) == [1]
    assert inodes(rows, 1, ignored) == [1]
    assert inodes(rows, 1, SHARE) == [1]


def test_some_are_rows_in_any_case_and_the_others_are_counted() -> None:
    rows = seen(*(a_row(inode, recv=1000 * inode) for inode in range(1, 10)), a_row(99))
    assert inodes(rows, 3, SIZE, keep=2) == [2, 7, 8, 9]
    _, rest = worst(rows, lambda _: (SIZE, SIZE), 3, lambda _: False)
    assert (rest.sockets, rest.over, rest.inodes) == (6, 1, frozenset(range(1, 7)))


@pytest.mark.parametrize("rules", ["", "rules: [{match: {remote_port: 1-500}, thresholds: {recv: 100}}]"])
@pytest.mark.parametrize("threshold", ["5000", "50%"])
def test_the_worst_are_the_first_of_the_list_of_all(threshold: str, rules: str, tmp_path: Path) -> None:
    settings = f"url: http://127.0.0.1:9/\nthresholds: {{send: {threshold}, recv: {threshold}}}\n{rules}"
    (tmp_path / "config.yaml").write_text(settings)
    now = SocketsNow(load(tmp_path / "config.yaml"))
    chance = random.Random(5003)
    for _ in range(20):
        rows = seen(*(
            a_row(inode, chance.choice((0, inode)), chance.choice((0, 3, 7 * inode))) for inode in range(1, 999)
        ))  # fmt: skip
        every = now.full(rows)
        some, rest = now.worst(rows, 50, lambda _: False)
        assert [rank(row)[:2] for row in some] == [rank(row)[:2] for row in every[:50]]
        assert rest.sockets == len(every) - 50
        assert rest.over == sum(map(is_over, every[50:]))
