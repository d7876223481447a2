# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Episodes in ClickHouse that ended a while ago: kept as rows, so that a search need not join all alerts again.

A row is made of all alerts of its episode. If another alert comes after all, the episode is among the open ones until
a row is made of it again, which replaces the one before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from sockbpf.store.data.clickhouse_episodes import OPEN_EPISODE, episodes_of_entries
from sockbpf.store.data.clickhouse_tables import COLUMNS_OF_ENTRY, kept_type, listed, shown_as
from sockbpf.store.data.schema import EPISODE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

ENDED_EPISODE = "ended_episode"
"""The view of them: as `episode`."""
CLOSED_S = 120.0
"""So long nothing was heard of an episode that has ended."""
LATE_S = CLOSED_S / 2
"""What comes so long after its own time may be of an episode of which there is a row."""
RECENT_S = 300.0
"""So long after it came that is looked into."""
AT_ONCE = 50_000
"""Episodes of which rows are made by one statement."""
PARTS = 16
"""In so many parts the rows of an older store are made: what is joined at the same time is in memory."""
SEARCHED = [column.name for column in COLUMNS_OF_ENTRY if column.name in EPISODE.c]
COLUMNS = [column for column in EPISODE.c if column.name != "digest"]

CLOSED = f"""
    select host, id, least(start, last) - :late as begun from {OPEN_EPISODE}
    where if(`end` is null, arrived - last > :late and arrived > :recent, arrived < :closed)
    order by `end` is null
"""
"""Episodes that have ended; then those that look open, but may be parts of others: all their alerts are asked."""
CLOSING = "select host, id from closing where turn = :turn"
ENDED_NOW = "select host, id from episode_rows where settled = :turn"
HEARD_AGAIN = "select host, id from open_sums group by host, id having max(came) > :settled"


def ended_episodes() -> Iterator[str]:
    """Yield what makes the tables and the views."""
    declared = [f"`{column.name}` {kept_type(column)} codec(ZSTD)" for column in COLUMNS]
    declared += ["settled Int64", "day Date"]
    declared += [f"index by_{name} `{name}` type bloom_filter(0.01) granularity 1" for name in SEARCHED]
    declared += [f"index by_{name} {name} type minmax granularity 1" for name in ("start", "peak", "settled")]
    yield (
        f"create table if not exists episode_rows ({listed(declared)}) engine = ReplacingMergeTree(settled) "
        "partition by day order by (last, host, id)"
    )
    yield (
        "create table if not exists closing (turn Int64, host String, id String, begun Float64) "
        "engine = MergeTree order by (turn, host, id) "
        "ttl toDateTime(intDiv(turn, 1000000000), 'UTC') + toIntervalDay(1)"
    )
    yield (
        f"create or replace view {ENDED_EPISODE} as select {shown_as(EPISODE, {})} from episode_rows final "
        "where (host, id) not in (select host, id from open_sums)"
    )
    names = listed(f"`{column.name}`" for column in EPISODE.c)
    yield (
        f"create or replace view {EPISODE.name} as select {names} from {ENDED_EPISODE} "
        f"union all select {names} from {OPEN_EPISODE}"
    )


def ended_of_entries() -> Iterator[str]:
    """Yield what makes rows of all episodes that have ended and are not among the open ones, some hosts at a time."""
    for part in range(PARTS):
        which = f"cityHash64(host) % {PARTS} = {part} and (host, id) not in (select host, id from open_sums)"
        yield _rows_of(which, "1")


def _rows_of(which: str, turn: str) -> str:
    """Return what makes rows of the episodes that have ended, of all whose alerts this is true."""
    names = listed(f"`{column.name}`" for column in COLUMNS)
    return (
        f"insert into episode_rows ({names}, settled, day) select {names}, {turn}, "
        f"toDate(toDateTime(arrived, 'UTC')) from ({episodes_of_entries(which)}) where `end` is not null"
    )


def settle(connection: Connection, now_s: float, turn: int) -> int:
    """Make rows of episodes that ended before `now_s`, at most AT_ONCE; return of how many. Raise SQLAlchemyError.

    `turn` is a number that no other call has, and greater than those before: a time in nanoseconds.
    """
    times = {
        "turn": turn,
        "closed": now_s - CLOSED_S,
        "late": LATE_S,
        "recent": now_s - RECENT_S,
        "settled": now_s,
    }
    chosen = f"insert into closing select :turn, host, id, begun from ({CLOSED}) limit {AT_ONCE}"
    connection.execute(text(chosen), times)
    of_turn = text("select count() as count, min(begun) as begun from closing where turn = :turn")
    count, begun_s = connection.execute(of_turn, times).one()
    if not count:
        return 0
    times["begun"] = begun_s
    rows = _rows_of(f"at >= :begun and (host, id) in ({CLOSING})", ":turn")
    connection.execute(text(rows), times)
    _replace(connection, times)
    for table in ("open_said", "open_sums"):
        over = f"(host, id) in ({ENDED_NOW}) and (host, id) not in ({HEARD_AGAIN})"
        connection.execute(text(f"delete from {table} where {over}"), times)
    return int(connection.execute(text(f"select count() from ({ENDED_NOW})"), times).scalar() or 0)


def _replace(connection: Connection, times: dict[str, float]) -> None:
    """Delete the earlier rows of episodes of which rows were made now, but for those with the same key."""
    same = "select host, id, last from episode_rows where settled = :turn"
    of_them = f"(host, id) in ({ENDED_NOW}) and (host, id, last) not in ({same})"
    earlier = f"last >= :begun and settled < :turn and {of_them}"
    if connection.execute(text(f"select 1 from episode_rows where {earlier} limit 1"), times).first():
        connection.execute(text(f"delete from episode_rows where {earlier}"), times)
