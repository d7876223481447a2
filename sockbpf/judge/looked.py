# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""When a socket that a sweep does not show is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockbpf.judge.episodes import Episode
    from sockbpf.record.sweep import Sweep

ABSENT_LOOKS = 2
"""A socket not found in this many looks in a row is gone: a dump can skip one when its neighbours change."""


def was_looked_at(episode: Episode, sweep: Sweep, may_be_held: Callable[[int, int], bool]) -> bool:
    """Tell whether the episode's socket is gone if this sweep does not show it.

    `may_be_held` returns False if certainly no process holds the socket of this inode, which was there at an instant.
    """
    socket = episode.socket
    if socket.netns in sweep.not_found:
        return not may_be_held(socket.inode, episode.since_ns)
    return (socket.netns, socket.protocol) in sweep.looked
