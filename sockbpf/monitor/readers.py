# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What those do who have to read a queue, or to accept from it: their threads, and what the epolls of these watch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sockbpf.judge.evidence import is_stopped
from sockbpf.judge.watching import waits_for_events
from sockbpf.kernel.look.epolls import watched_for
from sockbpf.kernel.look.sharers import sharers_of
from sockbpf.kernel.look.threads import threads_of
from sockbpf.record.event import Direction

if TYPE_CHECKING:
    from sockbpf.record.alert import Notice
    from sockbpf.record.closeup import Thread

AWHILE_NS = 10**9
"""Epolls are looked at once a queue is over for so long: most are not by then."""
MOST_NS = 10**7
"""So much CPU time is spent on epolls in a second, as those with hundreds of sockets take a millisecond each."""


class Readers:
    """Looks at them. For one thread."""

    def __init__(self) -> None:
        self._second = 0
        self._took_ns = 0

    def of(self, notice: Notice, inode: int, now_ns: int) -> tuple[tuple[Thread, ...], int | None]:
        """Return the threads, and the events that their epolls watch the socket for, where they sleep in such.

        The threads are the owner's; if it is stopped, of the processes too that have inherited the socket. Of a
        listener always: a server's workers accept, not the process that has made it.
        """
        threads = threads_of(notice.pid) if notice.pid and notice.direction is not Direction.SEND else ()
        is_awhile = now_ns - notice.since_ns >= AWHILE_NS and waits_for_events(threads) and self._may(now_ns)
        with_others = bool(threads) and (notice.direction is Direction.ACCEPT or is_stopped(threads))
        if not with_others and not is_awhile:
            return threads, None
        begun_ns = time.thread_time_ns()
        every = threads + tuple(each for pid in sharers_of(notice.pid, inode) for each in threads_of(pid))
        watched = watched_for(every, inode) if is_awhile and waits_for_events(every) else None
        if is_awhile:
            self._took_ns += time.thread_time_ns() - begun_ns
        return every if with_others else threads, watched

    def _may(self, now_ns: int) -> bool:
        """Tell whether there is time for another look at epolls in this second."""
        if now_ns // 10**9 != self._second:
            self._second, self._took_ns = now_ns // 10**9, 0
        return self._took_ns < MOST_NS
