# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Incidents, the worst first: what is wrong, as an operator asks it. Pure; together.py says what is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sockbpf.record.facts import Severity
from sockbpf.store.data.joining import change_of
from sockbpf.store.data.states import NOT_HEARD, OVER, SILENT
from sockbpf.store.data.together import CRITICAL, Trouble, service_of, troubles_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Row = Mapping[str, Any]

QUEUES, SILENT_HOST, BLIND_MONITOR = "queues", "silent-host", "blind-monitor"
KINDS = (QUEUES, SILENT_HOST, BLIND_MONITOR)
MOST_LISTED = 20
"""So many episodes of an incident are named, the worst."""
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


def queue_incidents(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return the incidents of open episodes."""
    return [_incident(trouble) for trouble in troubles_of(rows)]


def _incident(trouble: Trouble) -> dict[str, Any]:
    worst = trouble.queues[0].rows[0]
    rows = trouble.rows()
    kind, service = service_of(worst)
    return {
        "kind": QUEUES,
        "host": worst["host"],
        "service": service,
        "service_kind": kind,
        "state": worst["state"],
        "severity": CRITICAL if any(row["severity"] == CRITICAL for row in rows) else worst["severity"],
        "cause": worst["cause"],
        **{name: worst[name] for name in OF_THE_WORST},
        "change": change_of(worst),
        "since": min(row["start"] for row in rows),
        "heard": max(row["heard"] for row in rows),
        "count": sum(queue.count for queue in trouble.queues),
        "drops": sum(queue.drops for queue in trouble.queues),
        "episodes": [queue.rows[0]["id"] for queue in trouble.queues[:MOST_LISTED]],
        "other_ends": [queue.rows[0]["id"] for queue in trouble.others[:MOST_LISTED]],
        "other_services": sorted({service_of(queue.rows[0])[1] for queue in trouble.others})[:MOST_LISTED],
        "trusted": bool(worst["ours"]),
    }


def host_incident(kind: str, host: Row, count: int) -> dict[str, Any]:
    """Return the incident of a host that is silent, or of one whose monitor does not see all: `shown_host` of it."""
    is_silent = kind == SILENT_HOST
    reason = (
        f"nothing was heard of {host['host']} since, {count or 'none'} of its queues were over"
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
        "change": None,
        "reason": reason,
        "run": host["run"],
        "last": host["last"],
        "since": host["last"] if is_silent else (host["since"] or host["last"]),
        "heard": host["heard"],
        "count": count,
        "drops": 0,
        "episodes": [],
        "other_ends": [],
        "other_services": [],
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
