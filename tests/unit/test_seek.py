# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The owners of all episodes whose notices are due at once are sought together, before any is asked for."""

from __future__ import annotations

from dataclasses import replace

from sockbpf.counters import Counters
from sockbpf.judge.episodes import Episode, Episodes
from sockbpf.judge.levels import Levels
from sockbpf.record.event import Direction, Mode, Protocol, Socket

S = 10**9
SOCKET = Socket(Protocol.TCP, "192.0.2.1", 443, "192.0.2.2", 40009, 4026531840, 8191)
HELD = Levels(threshold=1009, clear=504, hold_ns=5 * S, repeat_ns=60 * S)


def test_they_are_sought_once_and_before_each_is_asked_for() -> None:
    calls: list[object] = []

    def owner_of(inode: int) -> tuple[int, str]:
        calls.append(inode)
        return 4003, "reader"

    episodes = Episodes(Counters(), "salt", owner_of)
    episodes.seek = calls.append
    for inode, since_ns in {0: S, 8191: S, 8209: S, 8219: 3 * S, 8221: 5 * S}.items():
        socket = replace(SOCKET, inode=inode, local_port=inode)
        at_first = Episode(socket, Direction.RECV, Mode.POLL, 0, since_ns, S, 2003, 2003, 1009, HELD)
        assert episodes.begin((inode,), at_first) == []
    assert episodes.due(5 * S) == []
    assert calls == []
    assert len(episodes.due(6 * S)) == 3
    assert calls == [{8191, 8209, 8219}, 0, 8191, 8209]  # the hold of the last but one ends soon
