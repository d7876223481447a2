# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Episodes in ClickHouse that ended a while ago: kept as rows, so that a search need not join all alerts again.

A row is made of all alerts of its episode. If another alert comes after all, the episode is among the open ones until
a row is made of it again, which replaces the one before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from sockbpf.store.data.clickhouse_episodes import OPEN_EPISODE, episodes_of_entries
from sockbpf.store.data.clickhouse_sums import HOURS_OF_ENDED
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
RECENT_S = 900.0
"""So long after it came that is looked into."""
AT_ONCE = 50_000
"""Episodes of which rows are made by one statement."""
OLD_S, OLD_AT_ONCE = 86_400.0, 500
"""Of those that began so long ago, rows of so many: all alerts since then are read."""
PARTS = 16
"""In so many parts the rows of an older store are made: what is joined at the same time is in memory."""
OF_OPEN = ("open_said", "open_sums")
SEARCHED = [column.name for column in COLUMNS_OF_ENTRY if column.name in EPISODE.c]
COLUMNS = [column for column in EPISODE.c if column.name != "digest"]

CLOSED = f"""
    select host, id, least(start, last) - :late as begun from {OPEN_EPISODE}
    where if(`end` is null, arrived - last > :late and arrived > :recent, arrived < :closed) and {{which}}
    order by `end` is null
"""
"""Episodes that have ended; then those that look open, but may be parts of others: all their alerts are asked."""
CLOSING = "select host, id from closing where turn = :turn"
ENDED_NOW = "select host, id, trusted from episode_rows where settled = :turn"
HEARD_AGAIN = (
    "select host, id, trusted from open_sums group by host, id, trusted having max(came) > :settled - :late"
)
"""An alert that has just come may be missing in the row, by the clock of the store that wrote it."""
OURS = """
    select host, id from episode_rows where trusted = 1 and (host, id) in (
        select host, id from open_sums where trusted = 0)
"""
"""Episodes that have ended, of which alerts came that are not trusted: these do not count beside what is."""


def ended_episodes() -> Iterator[str]:
    """Yield what makes the tables and the views."""
    declared = [f"`{column.name}` {kept_type(column)} codec(ZSTD)" for column in COLUMNS]
    declared += ["settled Int64", "day Date"]
    declared += [f"index by_{name} `{name}` type bloom_filter(0.01) granularity 1" for name in SEARCHED]
    ranges = {"start": "start", "peak": "peak", "settled": "settled", "length": "last - start"}
    declared += [f"index by_{name} {value} type minmax granularity 1" for name, value in ranges.items()]
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
        "where (host, id, assumeNotNull(trusted)) not in (select host, id, arrayJoin([trusted, 0]) from open_said)"
    )
    names = listed(f"`{column.name}`" for column in EPISODE.c)
    yield (
        f"create or replace view {EPISODE.name} as select {names} from {ENDED_EPISODE} "
        f"union all select {names} from {OPEN_EPISODE}"
    )


def ended_of_entries() -> Iterator[str]:
    """Yield what makes rows of all episodes that have ended and are not among the open ones, some hosts at a time."""
    for part in range(PARTS):
        which = f"cityHash64(host) % {PARTS} = {part} and (host, id) not in (select host, id from open_said)"
        yield _rows_of(which, "1")


def _rows_of(which: str, turn: str) -> str:
    """Return what makes rows of the episodes that have ended, of all whose alerts this is true."""
    names = listed(f"`{column.name}`" for column in COLUMNS)
    return (
        f"insert into episode_rows ({names}, settled, day) select {names}, {turn}, "
        f"toDate(toDateTime(arrived, 'UTC')) from ({episodes_of_entries(which)}) where `end` is not null"
    )


def settle(connection: Connection, now_s: float, turn: int, *, are_old: bool = False) -> bool:
    """Make rows of some episodes that ended before `now_s`, Unix time; return whether there may be more.

    `turn` is a number that no other call has, and greater than those before: a time in nanoseconds. Those that began
    long ago have turns of their own. Raise SQLAlchemyError.
    """
    times = {
        "turn": turn,
        "closed": now_s - CLOSED_S,
        "late": LATE_S,
        "recent": now_s - RECENT_S,
        "settled": now_s,
        "old": now_s - OLD_S,
    }
    most = OLD_AT_ONCE if are_old else AT_ONCE
    closed = CLOSED.format(which="begun < :old" if are_old else "begun >= :old")
    chosen = f"insert into closing select :turn, host, id, begun from ({closed}) limit {most}"
    connection.execute(text(chosen), times)
    of_turn = text("select count() as count, min(begun) as begun from closing where turn = :turn")
    count, begun_s = connection.execute(of_turn, times).one()
    if not count:
        return False
    times["begun"] = begun_s
    which = f"at >= :begun and (host, id) in ({CLOSING})"
    if are_old:  # few: there is an index by id
        which += " and id in (select id from closing where turn = :turn)"
    connection.execute(text(_rows_of(which, ":turn")), times)
    _replace(connection, times)
    over = f"(host, id, trusted) in ({ENDED_NOW}) and (host, id, trusted) not in ({HEARD_AGAIN})"
    for table in OF_OPEN:
        connection.execute(text(f"delete from {table} where {over}"), times)
    return bool(count == most)


def _replace(connection: Connection, times: dict[str, float]) -> None:
    """Delete the earlier rows of episodes of which rows were made now, but for those that say the same."""
    same = "select host, id, last, alerts from episode_rows where settled = :turn"
    of_them = f"(host, id, trusted) in ({ENDED_NOW}) and (host, id, last, alerts) not in ({same})"
    earlier = f"last >= :begun and settled < :turn and {of_them}"
    if connection.execute(text(f"select 1 from episode_rows where {earlier} limit 1"), times).first():
        connection.execute(text(HOURS_OF_ENDED.format(which=earlier)), times)
        connection.execute(text(f"delete from episode_rows where {earlier}"), times)


def leave_out_untrusted(connection: Connection) -> None:
    """Have what is not trusted, and of an episode of which there is a trusted row, not be among the open ones."""
    if connection.execute(text(f"select 1 from ({OURS}) limit 1")).first():
        for table in OF_OPEN:
            connection.execute(text(f"delete from {table} where trusted = 0 and (host, id) in ({OURS})"))
