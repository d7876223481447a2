# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The table of an alert's fields: what each is called, what it is, how a record gives it, who keeps it.

Whatever names a field comes from here: the query string, JSON lines, syslog's structured data, Alertmanager's
annotations, the store's columns, filters and OpenAPI description, the table of docs/request.md, the filters in
docs/store.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockbpf.record import field_values as values
from sockbpf.record.alert import EVENTS, OF_MONITOR, Common, seconds_text
from sockbpf.record.cgroup import unit_of
from sockbpf.record.event import Direction, Protocol
from sockbpf.record.facts import STATES, Condition, Severity
from sockbpf.record.field import Field, Kind, Needed
from sockbpf.record.rate import PER
from sockbpf.record.why import Cause, Confidence

if TYPE_CHECKING:
    from sockbpf.record.alert import Alert

TEXT, WHOLE, SECONDS, ADDRESS = Kind
NEVER, IN_ALERTS, ALWAYS, OF_SOCKETS, OF_RATES = Needed

MOST_OF_A_PATH = 1024
"""So many characters of a cgroup's path are told."""

PLACES_OF_EDITION_2 = 12
"""The number of fields that are columns in edition 2 of the store's tables; each further column is a new edition."""

_ENDPOINT = "as `ss -n` shows them, without brackets; `0.0.0.0` or `::` and port `0` where not connected"
_ENDED = (
    "if a destination is behind its `rate`: how many episodes ended before it was their turn, this one is the worst; "
    "how many of their alerts are not sent, so many numbers are missing in `seq`"
)
"""The outbox adds these: the alert itself does not know who is behind."""
_COUNTER = "of a rate alone: the counter, by `nstat`'s name, that rises by `size` a `second` or a `minute`"
_WHY = (
    "why: a word of [docs/causes.md](causes.md) or `unknown`; `high`, `medium` or `low`; a sentence with the "
    "figures; what it rests on, `name=value;…`"
)
_PEER = "the process at the other end of the connection, where that is on this host; its open episode"
_OWNER = (
    "whose socket it is, where that is certain: [docs/owner.md](owner.md); `container_name` and `cmdline` only "
    "as `owner` says"
)

FIELDS = (
    Field(
        "timestamp", SECONDS, "Unix time of the crossing, with microseconds, taken in the kernel",
        lambda alert: seconds_text(alert.notice.ns + alert.unix_offset_ns), unit="s", needed=ALWAYS,
    ),
    Field(
        "event", TEXT, "`exceeded` when a queue goes over its threshold, `ongoing` while it stays, `cleared` when it "
        "is back or the socket is gone",
        lambda alert: alert.notice.event, choices=(*EVENTS, *OF_MONITOR), needed=ALWAYS, column=1,
    ),
    Field(
        "protocol", TEXT, "`tcp`, `udp`; of a rate where its counter is of one of them", values.protocol,
        choices=tuple(each.name.lower() for each in Protocol), needed=OF_SOCKETS, column=2,
    ),
    Field(
        "local_ip", ADDRESS, _ENDPOINT, values.of_socket(lambda socket: socket.local_ip),
        folded=False, column=4,
    ),
    Field(
        "local_port", WHOLE, _ENDPOINT, values.of_socket(lambda socket: str(socket.local_port)),
        needed=OF_SOCKETS, column=5,
    ),
    Field(
        "remote_ip", ADDRESS, _ENDPOINT, values.of_socket(lambda socket: socket.remote_ip),
        folded=False, column=6,
    ),
    Field(
        "remote_port", WHOLE, _ENDPOINT, values.of_socket(lambda socket: str(socket.remote_port)),
        folded=False, column=7,
    ),
    Field(
        "type", TEXT, "`SEND`, `RECV`; `ACCEPT`: connections that wait to be accepted; `RATE`: a counter that rises",
        lambda alert: alert.notice.direction.name,
        choices=tuple(each.name for each in Direction), needed=IN_ALERTS, column=3,
    ),
    Field(
        "condition", TEXT, "what was over: `size`; `fill`: the buffer; `accept`: the accept queue; `stalled`: "
        "nothing left the queue for a while",
        lambda alert: alert.notice.condition.value,
        choices=tuple(each.value for each in Condition), column=24, shown=True,
    ),
    Field(
        "severity", TEXT, "`warning` or `critical`", lambda alert: alert.notice.severity.value,
        choices=tuple(each.value for each in Severity), column=25, shown=True,
    ),
    Field(
        "rule", TEXT, "the name of the rule that applied, if one did",
        lambda alert: alert.notice.applied.rule or None,
    ),
    Field(
        "size", WHOLE, "in the queue at that moment; of `ACCEPT` this and the next three are connections",
        lambda alert: str(alert.notice.size),
        unit="bytes", needed=IN_ALERTS, column=11,
    ),
    Field(
        "threshold", WHOLE, "the one that applied; of `fill` that share of `limit`, which the memory in use exceeds",
        lambda alert: str(alert.notice.threshold), unit="bytes", needed=IN_ALERTS,
    ),
    Field(
        "peak", WHOLE, "the highest size of the episode so far", lambda alert: str(alert.notice.peak),
        unit="bytes",
    ),
    Field(
        "limit", WHOLE, "the size of the queue's buffer, where it is known; of `ACCEPT` the backlog",
        values.limit,
        unit="bytes", folded=False, column=26, shown=True,
    ),
    Field(
        "fill", WHOLE, "how full the kernel finds that buffer, which counts more than payload",
        values.fill, unit="%", folded=False, column=27, shown=True,
    ),
    Field(
        "drops", WHOLE, "datagrams (UDP `RECV`) or connections (`ACCEPT`) dropped since the episode began",
        lambda alert: None if alert.notice.facts.drops is None else str(alert.notice.facts.drops), folded=False,
        column=29, shown=True,
    ),
    Field(
        "state", TEXT, "the TCP state as `ss` spells it, where it is known",
        lambda alert: STATES.get(alert.notice.facts.state), choices=tuple(STATES.values()), folded=False,
    ),
    Field(
        "cause", TEXT, _WHY,
        values.why(lambda why: why.cause.value),
        choices=tuple(each.value for each in Cause), folded=False, column=14,
    ),
    Field(
        "confidence", TEXT, _WHY, values.why(lambda why: why.confidence.value if why.confidence else None),
        choices=tuple(each.value for each in Confidence), folded=False, column=15, shown=True,
    ),
    Field(
        "reason", TEXT, _WHY, values.why(lambda why: why.reason or None),
        folded=False, chosen=True, column=16, shown=True,
    ),
    Field(
        "evidence", TEXT, _WHY,
        values.why(lambda why: ";".join(f"{name}={value}" for name, value in why.evidence) or None), folded=False,
    ),
    Field(
        "duration", SECONDS, "since the episode began; `0` on `exceeded`",
        values.duration, unit="s",
    ),
    Field(
        "id", TEXT, "names the episode, the same on every try", lambda alert: alert.notice.id,
        needed=IN_ALERTS, column=12,
    ),
    Field(
        "seq", WHOLE, "counts this monitor's alerts, over restarts too: a gap is a loss",
        lambda alert: str(alert.seq), needed=IN_ALERTS,
    ),
    Field(
        "host", TEXT, "host name", lambda alert: alert.host,
        needed=ALWAYS, chosen=True, column=8,
    ),
    Field(
        "run", TEXT, "names this run of the monitor: `started` of a later one ends what an earlier one left open",
        lambda alert: alert.run or None, column=23,
    ),
    Field("netns", WHOLE, "network namespace, inode number", values.netns, folded=False),
    Field(
        "name", TEXT, _COUNTER,
        lambda alert: alert.notice.counter.name if alert.notice.counter else None,
        needed=OF_RATES, column=13,
    ),
    Field(
        "per", TEXT, _COUNTER,
        lambda alert: PER[alert.notice.rate.seconds] if alert.notice.rate else None,
        choices=tuple(PER.values()),
    ),
    Field("mode", TEXT, "`ebpf`, or `poll` when a sweep saw it first", lambda alert: alert.notice.mode.value),
    Field(
        "pid", WHOLE, _OWNER, lambda alert: str(alert.notice.pid) if alert.notice.pid else None,
        folded=False, column=9,
    ),
    Field(
        "comm", TEXT, _OWNER, lambda alert: alert.notice.comm if alert.notice.pid or alert.worst else None,
        folded=False, chosen=True, column=10,
    ),
    Field(
        "user", TEXT, _OWNER, lambda alert: alert.notice.whose.user or None, folded=False, chosen=True, column=19,
    ),
    Field(
        "unit", TEXT, _OWNER, lambda alert: unit_of(alert.notice.whose.home) or None, folded=False, chosen=True,
        column=17,
    ),
    Field(
        "container", TEXT, _OWNER, values.container, folded=False, chosen=True, column=18,
    ),
    Field(
        "cgroup", TEXT, _OWNER, lambda alert: alert.notice.whose.cgroup[:MOST_OF_A_PATH] or None,
        folded=False, chosen=True,
    ),
    Field(
        "netns_name", TEXT, _OWNER, lambda alert: alert.notice.whose.netns_name or None, folded=False, chosen=True,
    ),
    Field(
        "container_name", TEXT, _OWNER, lambda alert: alert.notice.whose.container_name or None,
        folded=False, chosen=True,
    ),
    Field("cmdline", TEXT, _OWNER, lambda alert: alert.notice.whose.cmdline or None, folded=False, chosen=True),
    Field(
        "peer_pid", WHOLE, _PEER, values.peer(lambda peer: str(peer.pid or "")), folded=False, column=20, shown=True,
    ),
    Field(
        "peer_comm", TEXT, _PEER, values.peer(lambda peer: peer.comm if peer.pid else ""), folded=False, chosen=True,
        column=21, shown=True,
    ),
    Field("peer_id", TEXT, _PEER, values.peer(lambda peer: peer.id), folded=False, column=22, shown=True),
    Field(
        "crossings", WHOLE, "of a flapping queue alone: how often it crossed since the alert before",
        lambda alert: str(alert.notice.crossings) if alert.notice.crossings else None,
    ),
    Field(
        "count", WHOLE, "of a folded alert alone: how many sockets it stands for; it has the addresses, ports, "
        "process and namespace that all of them share, and `local_port` 0 where they have several",
        lambda alert: str(alert.count) if alert.worst else None, column=28, shown=True,
    ),
    Field(
        "fold", TEXT, "of a folded alert alone: what its sockets have in common, `local-service`, `remote-service`, "
        "`process` or, where that is not known, `user`; `rule`",
        lambda alert: alert.common.value if alert.common else None,
        choices=tuple(each.value for each in Common),
    ),
    Field("ended", WHOLE, _ENDED, lambda _: None),
    Field("unsent", WHOLE, _ENDED, lambda _: None),
    Field(
        "worst", TEXT, "of a folded alert: the worst of its sockets, as `ip:port=size;…`, by the remote end; by the "
        "local one if the remote service is common; of a rate: who dropped most datagrams since the episode began",
        values.worst,
    ),
)  # fmt: skip
"""In the order of the request."""

BY_NAME = {field.name: field for field in FIELDS}


def parameters(alert: Alert) -> dict[str, str]:
    """Return the fields of an alert as texts by name, in the order of the request."""
    fields: dict[str, str] = {}
    for field in FIELDS:
        if field.folded or not alert.worst or field.name in alert.shared:
            value = field.of(alert)
            if value is not None:
                fields[field.name] = value
    return fields


def columns() -> list[Field]:
    """Return the fields that are columns of the store, in the order of the columns."""
    return sorted((field for field in FIELDS if field.column), key=lambda field: field.column)


def filters() -> list[Field]:
    """Return those of them by which entries and episodes are found."""
    return [field for field in columns() if not field.shown]
