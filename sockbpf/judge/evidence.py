# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The facts that a cause rests on, as names and values, and how figures are put in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockbpf.record.event import Direction
from sockbpf.record.facts import STATES

if TYPE_CHECKING:
    from sockbpf.record.closeup import Closeup, Thread

OF_TCP = {
    Direction.SEND: (
        *(
            "snd_wnd",
            "notsent",
            "unacked",
            "lost",
            "retrans",
            "cwnd",
            "mss",
            "retransmits",
            "backoff",
            "rto_us",
        ),
        *("last_ack_ms", "rtt_us", "total_retrans", "busy_us", "rwnd_limited_us", "sndbuf_limited_us"),
    ),
    Direction.RECV: ("received",),
}
"""What of struct tcp_info is evidence for a queue."""

OF_MEMORY = {
    Direction.SEND: ("wmem", "queued", "sndbuf"),
    Direction.RECV: ("rmem", "rcvbuf", "backlog", "drops"),
}


def facts_of(
    direction: Direction, now: Closeup, threads: tuple[Thread, ...]
) -> tuple[tuple[str, int | str], ...]:
    """Return what was seen of a queue, by the kernel's names; what this kernel does not say is not there."""
    facts: list[tuple[str, int | str]] = []
    if now.tcp:
        facts.append(("state", STATES.get(now.state, str(now.state))))
        if direction is Direction.SEND:
            facts.append(("timer", now.timer.name.lower()))
    for part, names in ((now.tcp, OF_TCP), (now.memory, OF_MEMORY)):
        for name in names.get(direction, ()) if part else ():
            value = getattr(part, name)
            if value is not None:
                facts.append((name, value))
    if direction is not Direction.SEND and threads:
        facts.append(
            ("threads", ",".join(sorted({f"{each.state}:{each.where}".rstrip(":") for each in threads})))
        )
    return tuple(facts)


def size(number: int) -> str:
    """Return bytes as people read them: 917 B, 3.1 MiB."""
    amount, unit = float(number), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if amount < 1024:  # noqa: PLR2004  the next unit
            break
        amount, unit = amount / 1024, larger
    return f"{number} B" if unit == "B" else f"{amount:.1f} {unit}"


def seconds(number: float) -> str:
    """Return a time as people read it."""
    return f"{number:.0f} s" if number >= 10 else f"{number:.1f} s"  # noqa: PLR2004


FROZEN = {"get_signal", "do_freezer_trap", "__refrigerator"}
"""Where a thread sleeps whose control group is frozen, as that of a paused container: version 2, then version 1."""


def is_stopped(threads: tuple[Thread, ...]) -> bool:
    """Tell whether a process is stopped, or frozen: all of its threads are, as far as they are known."""
    return bool(threads) and all(thread.state in "Tt" or thread.where in FROZEN for thread in threads)
