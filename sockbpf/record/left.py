# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is kept of an episode that was told and has not ended: a later run of the monitor goes on with it, or ends it.

Times are given by both clocks: CLOCK_MONOTONIC is exact, and means something in the same boot alone.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from sockbpf.record.alert import CLEARED, Folded, Notice
from sockbpf.record.event import Direction, Mode, Protocol, Socket
from sockbpf.record.facts import Condition, Severity
from sockbpf.record.rule import Applied
from sockbpf.record.why import Cause, Why

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_NS = 2**63
"""No time is that far from the beginning of its clock."""


@dataclass(frozen=True, slots=True)
class Left:
    """An open episode as its last alert told it. `since_ns` and `told_ns` are CLOCK_MONOTONIC."""

    id: str
    boot: str
    """The id of the host's boot."""
    unix_ns: int
    """Unix time less CLOCK_MONOTONIC when the alert was made."""
    since_ns: int
    told_ns: int
    protocol: int
    local_ip: str
    local_port: int
    remote_ip: str
    remote_port: int
    netns: int
    inode: int
    uid: int
    direction: int
    mode: str
    condition: str
    severity: str
    rule: str
    size: int
    peak: int
    threshold: int
    pid: int
    comm: str
    is_fold: bool = False
    """Whether it is one episode of several sockets, which a later run does not go on with."""

    @property
    def socket(self) -> Socket:
        ends = self.local_ip, self.local_port, self.remote_ip, self.remote_port
        return Socket(Protocol(self.protocol), *ends, self.netns, self.inode, self.uid)

    def text(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))

    def since_at(self, boot: str, unix_ns: int) -> int:
        """Return when it began by the clock of this boot, CLOCK_MONOTONIC: before 0 if that was in an earlier one."""
        return self.since_ns if boot == self.boot else self.since_ns + self.unix_ns - unix_ns

    def ended(self, boot: str, now_ns: int, unix_ns: int, reason: str) -> Notice:
        """Return the notice of its end at `now_ns` at the latest; `unix_ns` is what is to be added for Unix time."""
        return Notice(
            event=CLEARED,
            id=self.id,
            ns=now_ns,
            since_ns=min(self.since_at(boot, unix_ns), now_ns),
            socket=self.socket,
            direction=Direction(self.direction),
            mode=Mode(self.mode),
            size=0,
            peak=self.peak,
            threshold=self.threshold,
            pid=self.pid,
            comm=self.comm,
            condition=Condition(self.condition),
            severity=Severity(self.severity),
            applied=Applied(rule=self.rule),
            why=Why(Cause.UNKNOWN, reason=reason),
        )


def left_of_notice(told: Notice | Folded, boot: str, unix_ns: int) -> Left | None:
    """Return what is kept of the episode of an `exceeded` or `ongoing`; None of a rate, which is no socket's."""
    notice = told.notice if isinstance(told, Folded) else told
    socket = notice.socket
    if socket is None:
        return None
    return Left(
        notice.id, boot, unix_ns, notice.since_ns, notice.ns,
        int(socket.protocol), socket.local_ip, socket.local_port, socket.remote_ip, socket.remote_port,
        socket.netns, socket.inode, socket.uid, int(notice.direction), notice.mode.value,
        notice.condition.value, notice.severity.value, notice.applied.rule,
        notice.size, notice.peak, notice.threshold, notice.pid, notice.comm, isinstance(told, Folded),
    )  # fmt: skip


TYPES = {"str": str, "int": int, "bool": bool}


def left_of(text: str) -> Left:
    """Read what `text` has written. Raise ValueError if it makes no sense."""
    try:
        said = json.loads(text)
    except RecursionError:
        raise ValueError("too many levels") from None
    if not isinstance(said, dict):
        raise ValueError("no object")  # noqa: TRY004
    return _checked(said)


def _checked(said: Mapping[str, object]) -> Left:
    for each in fields(Left):
        value = said.get(each.name, False)
        if type(value) is not TYPES[str(each.type)] or (type(value) is int and abs(value) >= MOST_NS):
            raise ValueError(f"{each.name}: {value!r}")
    left = Left(**{each.name: said.get(each.name, False) for each in fields(Left)})  # type: ignore[arg-type]
    left.ended(
        left.boot, left.told_ns, left.unix_ns, ""
    )  # its words and numbers are among those that there are
    return left
