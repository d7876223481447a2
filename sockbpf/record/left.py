# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is kept of an episode that was told and has not ended: a later run of the monitor goes on with it, or ends it.

Times are given by both clocks: CLOCK_MONOTONIC is exact, and means something in the same boot alone.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, dataclass, fields
from typing import TYPE_CHECKING

from sockbpf.record.alert import CLEARED, Common, Folded, Notice
from sockbpf.record.event import Direction, Mode, Protocol, Socket
from sockbpf.record.facts import Condition, Severity
from sockbpf.record.rate import NAME, PER, HostCounter, Rate
from sockbpf.record.rule import Applied
from sockbpf.record.socket_row import Whose
from sockbpf.record.why import Cause, Why

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_NS = 2**63
"""No time is that far from the beginning of its clock."""

LONGEST = 1024
"""Characters of a text that is kept; a longer one is not."""

FIRST = (
    *("host", "condition", "severity", "type", "protocol", "local_port", "remote_port"),
    *("name", "unit", "comm", "fold", "count"),
)
"""The fields that labels and names of incidents are made of: some become known later, or change."""

NO_SOCKET = Socket(Protocol.TCP, "", 0, "", 0, 0, 0)


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
    user: str = ""
    cgroup: str = ""
    process_cgroup: str = ""
    container_name: str = ""
    netns_name: str = ""
    is_fold: bool = False
    """Whether it is one alert for several sockets."""
    common: str = ""
    """Of such a one: what its sockets have in common."""
    fold: str = ""
    """The id of the fold that told of it; empty where it was told by itself."""
    counter: str = ""
    """Of a rate: the counter's name; there is no socket."""
    seconds: int = 0
    """Of a rate: what the threshold is for."""
    first: str = ""
    """The fields of its first alert by which a receiver may know it again, as JSON; not of what a fold told of."""

    @property
    def socket(self) -> Socket | None:
        """None of a rate."""
        if self.counter:
            return None
        ends = self.local_ip, self.local_port, self.remote_ip, self.remote_port
        return Socket(Protocol(self.protocol), *ends, self.netns, self.inode, self.uid)

    @property
    def host_counter(self) -> HostCounter | None:
        """The counter of a rate."""
        return HostCounter(self.counter, self.netns) if self.counter else None

    def first_fields(self) -> dict[str, str]:
        """Return `first` read. Raise ValueError if it makes no sense."""
        fields = json.loads(self.first or "{}")
        if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
            raise ValueError("first: no fields")
        return fields

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
            counter=self.host_counter,
            rate=Rate(self.threshold, self.seconds) if self.counter else None,
            whose=self._whose(),
            why=None if self.counter else Why(Cause.UNKNOWN, reason=reason),
        )

    def _whose(self) -> Whose:
        return Whose(
            pid=self.pid,
            comm=self.comm,
            user=self.user,
            cgroup=self.cgroup,
            netns_name=self.netns_name,
            process_cgroup=self.process_cgroup,
            container_name=self.container_name,
        )


def lefts_of_notice(told: Notice | Folded, boot: str, unix_ns: int) -> list[Left]:
    """Return what is kept of an alert's episode, and of each socket of a folded one; nothing if it has ended."""
    if not isinstance(told, Folded):
        return [] if told.event == CLEARED else [_left(told, boot, unix_ns)]
    if told.notice.event == CLEARED:
        return []
    storm = _left(told.notice, boot, unix_ns, is_fold=True, common=told.common.value)
    return [storm, *(_left(one, boot, unix_ns, fold=storm.id) for one in told.members)]


def _left(
    notice: Notice, boot: str, unix_ns: int, *, is_fold: bool = False, common: str = "", fold: str = ""
) -> Left:
    socket, counter = notice.socket or NO_SOCKET, notice.counter
    whose = notice.whose
    return Left(
        notice.id, boot, unix_ns, notice.since_ns, notice.ns,
        int(socket.protocol), socket.local_ip, socket.local_port, socket.remote_ip, socket.remote_port,
        counter.netns if counter else socket.netns, socket.inode, socket.uid,
        int(notice.direction), notice.mode.value,
        notice.condition.value, notice.severity.value, notice.applied.rule,
        notice.size, notice.peak, notice.threshold, notice.pid, notice.comm,
        _short(whose.user), _short(whose.cgroup), _short(whose.process_cgroup),
        _short(whose.container_name), _short(whose.netns_name),
        is_fold=is_fold, common=common, fold=fold,
        counter=counter.name if counter else "", seconds=notice.rate.seconds if notice.rate else 0,
    )  # fmt: skip


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else ""


def first_of(fields: Mapping[str, str]) -> str:
    """Return what is kept as `first` of the fields of an alert."""
    return json.dumps({name: fields[name] for name in FIRST if name in fields}, separators=(",", ":"))


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
    values = {
        each.name: said.get(each.name, None if each.default is MISSING else each.default)
        for each in fields(Left)
    }
    for each in fields(Left):
        value = values[each.name]
        if type(value) is not TYPES[str(each.type)] or (type(value) is int and abs(value) >= MOST_NS):
            raise ValueError(f"{each.name}: {value!r}")
    left = Left(**values)  # type: ignore[arg-type]
    if left.counter and (not NAME.fullmatch(left.counter) or left.seconds not in PER):
        raise ValueError(f"counter: {left.counter!r}")
    left.first_fields()
    Common(left.common or Common.PROCESS)
    # its words and numbers are among those that there are
    left.ended(left.boot, left.told_ns, left.unix_ns, "")
    return left
