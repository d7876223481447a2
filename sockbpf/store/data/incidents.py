# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Incidents, the worst first: what is wrong, as an operator asks it. Pure; together.py, across.py say what is one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from sockbpf.record.facts import Severity
from sockbpf.store.data.across import OfHost, across_hosts, waits_of
from sockbpf.store.data.joining import change_of
from sockbpf.store.data.states import NOT_HEARD, OVER, SILENT
from sockbpf.store.data.together import CRITICAL, Trouble, rank, service_of, troubles_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sockbpf.store.data.across import Across
    from sockbpf.store.data.silent import Group

    Row = Mapping[str, Any]

QUEUES, SILENT_HOST, BLIND_MONITOR = "queues", "silent-host", "blind-monitor"
REMOTE_SERVICE, SILENT_HOSTS, BLIND_MONITORS = "remote-service", "silent-hosts", "blind-monitors"
KINDS = (QUEUES, SILENT_HOST, BLIND_MONITOR, REMOTE_SERVICE, SILENT_HOSTS, BLIND_MONITORS)
MOST_LISTED = 20
"""So many episodes, or hosts, of an incident are named, the worst."""
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
KIND_RANKS = {
    REMOTE_SERVICE: 0,
    SILENT_HOSTS: 1,
    QUEUES: 2,
    SILENT_HOST: 3,
    BLIND_MONITORS: 4,
    BLIND_MONITOR: 5,
}
"""What is wrong on several hosts at once comes first, but for monitors, which may stay as they are."""
ON_ONE_HOST: dict[str, Any] = {"remote": None, "hosts": 1, "host_names": [], "labels": [], "elsewhere": []}
"""What an incident says of further hosts, where it is of one."""
ACROSS = frozenset({REMOTE_SERVICE, SILENT_HOSTS})


@dataclass(slots=True, eq=False)
class Found:
    """An incident: where it comes among others, and how it is made, which only the first ones need, once."""

    place: tuple[Any, ...]
    make: Callable[[], dict[str, Any]]
    made: dict[str, Any] | None = None

    def incident(self) -> dict[str, Any]:
        """Return the incident, which nobody may change."""
        if self.made is None:
            self.made = self.make()
        return self.made


@dataclass(slots=True, eq=False)
class OfQueues(OfHost):
    """A trouble of one host with its incident."""

    found: Found


def ranked(rows: Sequence[Row]) -> list[OfQueues]:
    """Return the troubles that these open episodes of one host tell of."""
    return [OfQueues(trouble, waits_of(trouble), _found(trouble)) for trouble in troubles_of(rows)]


def queue_incidents(troubles: Sequence[OfQueues]) -> list[Found]:
    """Return the incidents of the troubles of all hosts."""
    own, groups = across_hosts(troubles)
    found = [each.found if isinstance(each, OfQueues) else _found(each.trouble) for each in own]
    for group in groups:
        incident = _across(group)
        found.append(Found(_place(incident), partial(dict, incident)))
    return found


def _found(trouble: Trouble) -> Found:
    """Return the incident of a trouble, its place as `_place` has it."""
    rows, queues = trouble.rows(), trouble.queues
    worst = queues[0].rows[0]
    is_one = len(rows) == 1  # as most are: thousands are made at once
    place = (
        STATES[worst["state"]],
        not worst["ours"],
        True,
        worst["severity"] != CRITICAL and (is_one or all(row["severity"] != CRITICAL for row in rows)),
        0,
        KIND_RANKS[QUEUES],
        -worst["size"] / max(worst["threshold"], 1),
        -(worst["count"] or 1) if is_one else -sum(queue.count for queue in queues),
        worst["start"] if is_one else min(row["start"] for row in rows),
        worst["host"],
    )
    return Found(place, partial(_incident, trouble))


def _incident(trouble: Trouble) -> dict[str, Any]:
    worst = trouble.queues[0].rows[0]
    kind, service = service_of(worst)
    return {
        "kind": QUEUES,
        "host": worst["host"],
        "service": service,
        "service_kind": kind,
        "state": worst["state"],
        **_of_worst(worst, trouble.rows()),
        "count": sum(queue.count for queue in trouble.queues),
        "drops": sum(queue.drops for queue in trouble.queues),
        "episodes": [queue.rows[0]["id"] for queue in trouble.queues[:MOST_LISTED]],
        "other_ends": [queue.rows[0]["id"] for queue in trouble.others[:MOST_LISTED]],
        "other_services": sorted({service_of(queue.rows[0])[1] for queue in trouble.others})[:MOST_LISTED],
        "trusted": bool(worst["ours"]),
        **ON_ONE_HOST,
        "host_names": [worst["host"]],
    }


def _of_worst(worst: Row, rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "severity": CRITICAL if any(row["severity"] == CRITICAL for row in rows) else worst["severity"],
        "cause": worst["cause"],
        **{name: worst[name] for name in OF_THE_WORST},
        "change": change_of(worst),
        "since": min(row["start"] for row in rows),
        "heard": max(row["heard"] for row in rows),
    }


def _across(group: Across) -> dict[str, Any]:
    """Return the incident of queues of several hosts: led by what is wrong at the service, else by the worst."""
    waiting = group.queues
    led_by = _incident(group.cause) if group.cause else _incident(Trouble(waiting[:1]))
    hosts = list(dict.fromkeys(queue.rows[0]["host"] for queue in waiting))
    worst_of_each = {queue.rows[0]["host"]: queue.rows[0] for queue in reversed(waiting)}
    rows = [row for queue in waiting for row in queue.rows]
    if group.cause:
        rows += group.cause.rows()
    _, address, port = group.service
    remote = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    if not group.cause:
        causes = Counter(queue.rows[0]["cause"] for queue in waiting if rank(queue.rows[0]))
        led_by |= {"service": remote, "service_kind": "remote"}
        led_by["cause"] = (
            min(causes, key=lambda cause: (-causes[cause], cause)) if causes else led_by["cause"]
        )
    return led_by | {
        "kind": REMOTE_SERVICE,
        "severity": CRITICAL if any(row["severity"] == CRITICAL for row in rows) else led_by["severity"],
        "since": min(row["start"] for row in rows),
        "heard": max(row["heard"] for row in rows),
        "count": sum(queue.count for queue in waiting) + (led_by["count"] if group.cause else 0),
        "drops": sum(queue.drops for queue in waiting) + (led_by["drops"] if group.cause else 0),
        "other_services": sorted({service_of(queue.rows[0])[1] for queue in waiting})[:MOST_LISTED],
        "remote": remote,
        "hosts": len(hosts),
        "host_names": hosts[:MOST_LISTED],
        "elsewhere": [{"host": host, "id": worst_of_each[host]["id"]} for host in hosts[:MOST_LISTED]],
    }


def host_incident(kind: str, host: Row, count: int) -> Found:
    """Return the incident of a host that is silent, or of one whose monitor does not see all: `shown_host` of it."""
    reason = (
        f"nothing was heard of {host['host']} since, {count or 'none'} of its queues were over"
        if kind == SILENT_HOST
        else "; ".join(host["blind"])
    )
    return hosts_incident(kind, [host], 1, count, reason=reason)


def silent_incident(group: Group, named: Sequence[Row], labels: Sequence[str], count: int) -> Found:
    """Return the incident of hosts that fell silent together.

    `named` is `shown_host` of some of them, `labels` have nearly all of them, `count` of their queues were over.
    """
    first, last = group.parts[0].second, group.parts[-1].second
    within = f" within {last - first} s" if last > first else ""
    which = f", nearly all of them {', '.join(labels)}" if labels else ""
    were_over = f"{count or 'none'} of their queues were over"
    reason = f"{group.count} hosts fell silent{within}{which}; {were_over}"
    return hosts_incident(SILENT_HOSTS, named, group.count, count, reason=reason, labels=labels, since_s=last)


def hosts_incident(
    kind: str,
    named: Sequence[Row],
    hosts: int,
    count: int,
    *,
    reason: str,
    labels: Sequence[str] = (),
    since_s: float | None = None,
) -> Found:
    """Return the incident of so many hosts, some of which are named: `shown_host` of them."""
    first = named[0]
    is_silent = kind in {SILENT_HOST, SILENT_HOSTS}
    own_since_s = first["last"] if is_silent else (first["since"] or first["last"])
    incident = {
        "kind": kind,
        "host": first["host"],
        "service": None,
        "service_kind": None,
        "state": SILENT if is_silent else OVER,
        "severity": CRITICAL if is_silent else Severity.WARNING.value,
        "cause": None,
        **dict.fromkeys(OF_THE_WORST),
        "change": None,
        "reason": reason,
        "run": first["run"],
        "last": first["last"],
        "since": own_since_s if since_s is None else float(since_s),
        "heard": max(row["heard"] for row in named),
        "count": count,
        "drops": 0,
        "episodes": [],
        "other_ends": [],
        "other_services": [],
        "trusted": first["trusted"],
        **ON_ONE_HOST,
        "labels": list(labels),
        "hosts": hosts,
        "host_names": [row["host"] for row in named[:MOST_LISTED]],
    }
    return Found(_place(incident), partial(dict, incident))


def worst_first(found: Iterable[Found]) -> list[Found]:
    """Return incidents in their order: what is over before what is not heard of, and trusted before what is not."""
    return sorted(found, key=lambda each: each.place)


def _place(incident: Row) -> tuple[Any, ...]:
    kind = incident["kind"]
    is_of_queues = kind in {QUEUES, REMOTE_SERVICE}
    times = incident["size"] / max(incident["threshold"], 1) if is_of_queues else 0.0
    return (
        STATES[incident["state"]] if is_of_queues else 0,
        not incident["trusted"],
        kind not in ACROSS,
        incident["severity"] != CRITICAL,
        -incident["hosts"] if kind in ACROSS else 0,
        KIND_RANKS[kind],
        -times,
        -incident["count"],
        incident["since"],
        incident["host"],
    )
