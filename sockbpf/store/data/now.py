# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What `GET /now` answers: what is wrong at this moment, as far as it has been heard of."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from sqlalchemy import case

from sockbpf.store.data.across import LEAST_HOSTS
from sockbpf.store.data.clickhouse_apart import of_open
from sockbpf.store.data.host_kinds import (
    SECOND,
    find_kinds,
    labels_of_group,
    named,
    of_group,
    of_reasons,
)
from sockbpf.store.data.incidents import (
    BLIND_MONITOR,
    BLIND_MONITORS,
    SILENT_HOST,
    host_incident,
    hosts_incident,
    queue_incidents,
    ranked,
    silent_incident,
    worst_first,
)
from sockbpf.store.data.joining import is_ours
from sockbpf.store.data.runs import TRUST_OF_EPISODE
from sockbpf.store.data.schema import EPISODE, HEARD
from sockbpf.store.data.silent import fell_silent
from sockbpf.store.data.states import (
    NOT_HEARD,
    OVER,
    SILENT,
    STATES_OF_HOST,
    episodes_with_state,
    state_of_episode,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from sockbpf.store.data.host_kinds import Blind, Kinds
    from sockbpf.store.data.incidents import Found
    from sockbpf.store.data.known_rows import KnownRows
    from sockbpf.store.data.silent import Group

MOST_EPISODES = 20_000
"""So many open episodes are looked at, those that are trusted, and of these those that were heard of last, first."""
MOST_OPEN = 5000
"""So many of them are listed."""
MOST_HOSTS = 1000
"""So many hosts are looked at one by one that are silent or do not see all, the silent ones first."""
MOST_GROUPS = 20
"""So many groups of hosts that fell silent together, and of monitors that do not see the same, are looked at."""


def find_now(
    connection: Connection,
    known: KnownRows,
    now_s: float,
    limit: int,
    *,
    host: str = "",
    with_open: bool = False,
) -> dict[str, Any]:
    """Return the incidents of this moment, the worst first, and how much is over and heard of in all.

    `with_open` adds which episodes are open, each with its state.
    """
    episodes, has_more_episodes = _open_episodes(connection, known, now_s, host)
    kinds = find_kinds(connection, now_s, host)
    states = Counter(row["state"] for row in episodes)
    heard_of = [row for row in episodes if row["state"] != SILENT]
    troubles = (ranked(heard_of) if host else known.of_each_host(heard_of, ranked)) if heard_of else []
    hosts, has_more_hosts = _of_hosts(connection, known, now_s, kinds, episodes)
    found = worst_first([*queue_incidents(troubles), *hosts])
    answer = {
        "at": now_s,
        "episodes": {"over": states[OVER], "not_heard": states[NOT_HEARD], "silent": states[SILENT]},
        "hosts": {
            **{state: kinds.states[state] for state in STATES_OF_HOST},
            "all_heard_since": kinds.all_heard_since_s,
        },
        "count": len(found),
        "incidents": [each.incident() for each in found[:limit]],
        "truncated": has_more_episodes or has_more_hosts or len(found) > limit,
    }
    if with_open:
        some = episodes[:MOST_OPEN]
        answer["open"] = [{name: row[name] for name in ("host", "id", "state")} for row in some]
        answer["open_truncated"] = has_more_episodes or len(episodes) > MOST_OPEN
    return answer


def _open_episodes(
    connection: Connection, known: KnownRows, now_s: float, host: str
) -> tuple[list[dict[str, Any]], bool]:
    since = case((state_of_episode(now_s) == SILENT, SECOND)).label("silent_since")
    statement = episodes_with_state(connection, now_s).add_columns(since).where(EPISODE.c.end.is_(None))
    if host:
        statement = statement.where(EPISODE.c.host == host)
    statement = statement.order_by(HEARD.desc()).limit(MOST_EPISODES + 1)
    statement = of_open(statement)
    rows = known.find(connection, statement, EPISODE, _with_trust, "" if host else "open episodes")
    if len(rows) > MOST_EPISODES and not all(row["ours"] for row in rows):
        wanted, name = statement.where(TRUST_OF_EPISODE == 1), "" if host else "trusted open episodes"
        trusted = known.find(connection, wanted, EPISODE, _with_trust, name)
        rows = [*trusted, *(row for row in rows if not row["ours"])]
    return rows[:MOST_EPISODES], len(rows) > MOST_EPISODES


def _with_trust(row: dict[str, Any]) -> dict[str, Any]:
    row["ours"] = is_ours(row)
    return row


def _of_hosts(
    connection: Connection, known: KnownRows, now_s: float, kinds: Kinds, episodes: Sequence[dict[str, Any]]
) -> tuple[list[Found], bool]:
    """Return the incidents of hosts that are silent, or whose monitors may not see all; whether there are more.

    Where not all are looked at, those that are trusted are.
    """
    groups = sorted(fell_silent(kinds.silent), key=lambda group: (not group.trusted, -group.count))
    blind = sorted(kinds.blind, key=lambda each: (not each.trusted, -each.count))
    together = [group for group in groups if group.count >= LEAST_HOSTS][:MOST_GROUPS]
    alike = [each for each in blind if each.count >= LEAST_HOSTS][:MOST_GROUPS]
    found = [
        incident
        for group in together
        if (incident := _silent_together(connection, known, now_s, group, _queues_of(group, episodes)))
    ]
    for each in alike:
        if some := of_reasons(connection, known, now_s, each):
            reason = "; ".join(some[0]["blind"])
            found.append(hosts_incident(BLIND_MONITORS, some, each.count, 0, reason=reason))
    taken = {id(each) for each in (*together, *alike)}
    newest = sorted(groups, key=lambda group: group.parts[-1].second, reverse=True)
    single: list[Group | Blind] = [each for each in newest if id(each) not in taken]
    single += [each for each in blind if id(each) not in taken]
    single.sort(key=lambda each: not each.trusted)
    names = [name for each in single for name in each.names]
    of_silent = Counter((row["host"], row["ours"]) for row in episodes if row["state"] == SILENT)
    for row in named(connection, known, now_s, names[:MOST_HOSTS]) if names else ():
        is_silent = row["state"] == SILENT
        kind, count = (
            (SILENT_HOST, of_silent[row["host"], row["trusted"]]) if is_silent else (BLIND_MONITOR, 0)
        )
        found.append(host_incident(kind, row, count))
    in_all = sum(each.count for each in single)
    return found, in_all > min(len(names), MOST_HOSTS)


def _silent_together(
    connection: Connection, known: KnownRows, now_s: float, group: Group, count: int
) -> Found | None:
    some = of_group(connection, known, now_s, group)
    if not some:
        return None
    labels = labels_of_group(connection, now_s, group, some)
    return silent_incident(group, some, [f"{name}={value}" for name, value in labels], count)


def _queues_of(group: Group, episodes: Sequence[dict[str, Any]]) -> int:
    """Return how many queues of these hosts were over."""
    first, last, trusted = group.parts[0].second, group.parts[-1].second, group.trusted
    return sum(
        row["silent_since"] is not None and first <= row["silent_since"] <= last and row["ours"] == trusted
        for row in episodes
    )
