# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Crossings of a service, what a fold makes of them, and what it may not keep."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sockbpf.counters import Counters
from sockbpf.judge.fold import Fold
from sockbpf.judge.storm import Group, service_of
from sockbpf.record.alert import EXCEEDED, Folded, Notice
from sockbpf.record.event import Direction, Mode, Protocol, Socket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

S = 10**9
ABOVE = 3
THRESHOLD = 1009
SEND, RECV = Direction.SEND, Direction.RECV
TCP = Socket(Protocol.TCP, "192.0.2.1", 443, "192.0.2.2", 40009, 4026531840, 8191)


def fold(
    above: int = ABOVE,
    window_ns: int = S,
    groups_of: Callable[[Notice], Iterable[Group]] = service_of,
) -> Fold:
    """Return a fold, which goes by the local service unless `groups_of` says otherwise."""
    return Fold(above, window_ns, counters=Counters(), is_open=lambda _: True, groups_of=groups_of)


def notice(number: int, ns: int, event: str = EXCEEDED, **changed: Any) -> Notice:
    """Return a notice of the episode of this number, whose socket has a remote port of 40000 and that."""
    made = Notice(
        event=event, id=f"id-{number}", ns=ns, since_ns=ns, socket=replace(TCP, remote_port=40000 + number),
        direction=RECV, mode=Mode.EBPF, size=2000 + number, peak=3000 + number, threshold=THRESHOLD, pid=4003,
        comm="reader",
    )  # fmt: skip
    return replace(made, **changed)


def said(passed_on: list[Notice | Folded]) -> list[tuple[str, int]]:
    """Return event and count of each, 0 for a single notice."""
    return [(one.notice.event, one.count) if isinstance(one, Folded) else (one.event, 0) for one in passed_on]


def assert_forgotten(stage: Fold, now_ns: int) -> None:
    """Nothing waits, and nothing is remembered once the window has passed."""
    assert stage.on_time(now_ns) == []
    assert stage.next_due_ns() is None
    assert stage.flush() == []
    assert not stage._storms
    assert not stage._crossings
    assert not stage._collected
