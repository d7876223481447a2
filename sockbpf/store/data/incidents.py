# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Groups open episodes into incidents, the worst first: what is wrong, as an operator asks it. Pure.

Both ends of a connection within a host are one incident, led by the end that is the cause; several queues of one
service, host and cause are one, shown by the worst of them.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from sockbpf.record.blame import rank_of
from sockbpf.record.event import Direction
from sockbpf.record.facts import Severity
from sockbpf.record.why import Cause
from sockbpf.store.data.states import NOT_HEARD, OVER, SILENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Row = Mapping[str, Any]

QUEUES, SILENT_HOST, BLIND_MONITOR = "queues", "silent-host", "blind-monitor"
KINDS = (QUEUES, SILENT_HOST, BLIND_MONITOR)
MOST_LISTED = 20
"""So many episodes of an incident are named, the worst."""
OTHER = {Direction.SEND.name: Direction.RECV.name, Direction.RECV.name: Direction.SEND.name}
CAUSES = {each.value: each for each in Cause}
CRITICAL = Severity.CRITICAL.value
OF_THE_WORST = (
    *("protocol", "type", "condition", "name", "local_ip", "local_port", "remote_ip", "remote_port", "netns"),
    *(
        "pid",
        "comm",
        "user",
        "unit",
        "container",
        "size",
        "peak",
        "threshold",
        "limit",
        "fill",
        "last",
        "run",
    ),
    *("confidence", "reason", "peer_pid", "peer_comm", "id"),
)
"""Columns of the worst episode that its incident shows."""
STATES = {OVER: 0, SILENT: 1, NOT_HEARD: 2}
KIND_RANKS = {QUEUES: 0, SILENT_HOST: 1, BLIND_MONITOR: 2}


def service_of(row: Row) -> tuple[str, str]:
    """Return whose queue it is, by the best name that is known, and what kind of name that is."""
    for kind, name in (("unit", row["unit"]), ("container", row["container"]), ("counter", row["name"])):
        if name:
            return kind, name
    if row["comm"]:
        return "process", row["comm"]
    return "port", f"{row['protocol'] or ''}:{row['local_port'] if row['local_port'] is not None else ''}"


def queue_incidents(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return the incidents of open episodes."""
    known = {(row["host"], row["id"]): row for row in rows}
    follows = _followers(known)
    others: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for follower, leader in follows.items():
        others[leader].append(known[follower])
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for key, row in known.items():
        if key not in follows:
            groups[row["host"], service_of(row), row["cause"], row["type"], row["state"], row["ours"]].append(
                row
            )
    return [_incident(group, others) for group in groups.values()]


def _followers(known: Mapping[tuple[str, str], Row]) -> dict[tuple[str, str], tuple[str, str]]:
    """Return of each pair of ends the one that follows -> the one that leads."""
    found: dict[tuple[str, str], tuple[str, str]] = {}
    taken: set[tuple[str, str]] = set()
    for key, row in known.items():
        other_key = (row["host"], row["peer_id"] or "")
        other = known.get(other_key)
        if other is None or OTHER.get(row["type"]) != other["type"] or {key, other_key} & taken:
            continue
        if row["state"] != other["state"] or row["ours"] != other["ours"]:
            continue
        taken |= {key, other_key}
        leads = _blame(row) >= _blame(other)
        found[other_key if leads else key] = key if leads else other_key
    return found


def _blame(row: Row) -> tuple[int, bool]:
    """Return how much an end is to blame; of two that are equally to blame the one that receives."""
    return rank_of(CAUSES.get(row["cause"], Cause.UNKNOWN)), row["type"] == Direction.RECV.name


def _badness(row: Row) -> tuple[bool, float, int]:
    """Return how bad a queue is: by severity, then by how many times its threshold it holds."""
    return row["severity"] == CRITICAL, row["size"] / max(row["threshold"], 1), row["size"]


def _incident(group: Sequence[Row], others: Mapping[tuple[str, str], list[Row]]) -> dict[str, Any]:
    order = sorted(group, key=_badness, reverse=True)
    worst = order[0]
    ends = [end for row in order for end in others.get((row["host"], row["id"]), ())]
    kind, service = service_of(worst)
    return {
        "kind": QUEUES,
        "host": worst["host"],
        "service": service,
        "service_kind": kind,
        "state": worst["state"],
        "severity": worst["severity"],
        "cause": worst["cause"],
        **{name: worst[name] for name in OF_THE_WORST},
        "since": min(row["start"] for row in (*group, *ends)),
        "heard": max(row["heard"] for row in (*group, *ends)),
        "count": sum(row["count"] or 1 for row in group),
        "drops": sum(row["drops"] or 0 for row in group),
        "episodes": [row["id"] for row in order[:MOST_LISTED]],
        "other_ends": [row["id"] for row in ends[:MOST_LISTED]],
        "trusted": bool(worst["ours"]),
    }


def host_incident(kind: str, host: Row, count: int) -> dict[str, Any]:
    """Return the incident of a host that is silent, or of one whose monitor does not see all: `shown_host` of it."""
    is_silent = kind == SILENT_HOST
    reason = (
        f"nothing was heard of {host['host']} since, {count} of its queues were over"
        if is_silent
        else "; ".join(host["blind"])
    )
    return {
        "kind": kind,
        "host": host["host"],
        "service": None,
        "service_kind": None,
        "state": SILENT if is_silent else OVER,
        "severity": CRITICAL if is_silent else Severity.WARNING.value,
        "cause": None,
        **dict.fromkeys(OF_THE_WORST),
        "reason": reason,
        "run": host["run"],
        "last": host["last"],
        "since": host["last"] if is_silent else (host["since"] or host["last"]),
        "heard": host["heard"],
        "count": count,
        "drops": 0,
        "episodes": [],
        "other_ends": [],
        "trusted": host["trusted"],
    }


def worst_first(incidents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return incidents in their order: what is over before what is not heard of, and trusted before what is not."""
    return sorted(incidents, key=_place)


def _place(incident: Row) -> tuple[Any, ...]:
    is_queue = incident["kind"] == QUEUES
    times = incident["size"] / max(incident["threshold"], 1) if is_queue else 0.0
    return (
        STATES[incident["state"]] if is_queue else 0,
        not incident["trusted"],
        incident["severity"] != CRITICAL,
        KIND_RANKS[incident["kind"]],
        -times,
        -incident["count"],
        incident["since"],
        incident["host"],
    )
