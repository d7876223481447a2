# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Episodes in ClickHouse, as their alerts make them: of all alerts; those that may be open by tables of their own.

What joins alerts is the SQL of `store/data/joining.py`, what ends them that of `store/data/runs.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockbpf.record.alert import STARTED
from sockbpf.store.data.clickhouse_tables import (
    INCOMING,
    REPORTED,
    handed_on,
    listed,
    shown_as,
    type_in_incoming,
)
from sockbpf.store.data.joining import ALONE, BY_RUN, PARTS, TOGETHER
from sockbpf.store.data.schema import ENTRY, EPISODE

if TYPE_CHECKING:
    from collections.abc import Iterator

OPEN_EPISODE = "open_episode"
"""The view of episodes that are open or were not long ago: as `episode`, but small."""
STAMP = "(ifNull(seq, -1), at, `end` is not null)"
VERSION = "bitShiftLeft(toUInt256(ifNull(seq, -1) + 1), 128) + toUInt256(at * 1e6) * 2 + (`end` is not null)"
"""The same as one number."""
WHOSE = "ifNull(host, '') as host, ifNull(id, '') as id, trusted"
LATEST = ("end", "last", "size", "threshold", "run", "seq")
SAME = "reinterpretAsFixedString(sipHash128(tuple(host, id, trusted, came, newest, begun, highest, ended)))"
"""Digest of an open episode: it is the same as long as no alert of it came, and no run ended it.

How many came is not in it: that takes as long as all the rest.
"""
TOLD = 4
"""So many of the latest alerts are remembered: two, and copies of them that came twice."""
OF_TOLD = "Tuple(Int64, Float64, Int8, Int64)"
EARLIER = f"cast((-ifNull(seq, -1), -at, if(`end` is null, 0, -1), ifNull(size, 0)), '{OF_TOLD}')"


def episodes() -> Iterator[str]:
    """Yield what makes tables and views of episodes."""
    yield from _starts()
    yield from _open()
    yield f"create or replace view {OPEN_EPISODE} as {_episodes_of(_of_open(), SAME)}"


def _parts() -> Iterator[tuple[str, str, str]]:
    """Yield of each part of an episode its name, its value, and the condition that an alert says it."""
    for part in ALONE:
        yield f"p_{part}", f"`{part}`", f"`{part}` is not null"
    for part in TOGETHER:
        names = [f"`{name}`" for name in PARTS[part]]
        yield f"p_{part}", f"tuple({listed(names)})", " or ".join(f"{name} is not null" for name in names)


def _joined(stamp: str) -> str:
    """Return what makes of the latest alert, and of the latest that says it, what an episode is."""
    latest = listed("at" if name == "last" else f"`{name}`" for name in LATEST)
    parts = [f"argMaxIf({value}, {stamp}, {there}) as {name}" for name, value, there in _parts()]
    return listed([f"argMax(tuple({latest}), {stamp}) as latest", *parts])


def episodes_of_entries(which: str) -> str:
    """Return the query of the episodes, with the columns of EPISODE, of which this is true of all their alerts."""
    return _episodes_of(
        f"select host, id, trusted, {_joined(STAMP)}, min(start) as begun, max(peak) as highest, "
        f"max(arrived) as came, uniqExact(identity) as alerts, groupArraySorted({TOLD})({EARLIER}) as told "
        f"from entry_rows where is_report and {which} group by host, id, trusted"
    )


def _open() -> Iterator[str]:
    """Make the tables of episodes that may be open.

    `open_said` has of the alerts of an episode that leave out the same parts the latest, for no other says anything
    that counts; `open_sums` has what counts of all.
    """
    columns = [column for column in EPISODE.c if column.name in ENTRY.c or column in REPORTED]
    columns = [
        column for column in columns if column.name not in {"host", "id", "trusted", "arrived", "digest"}
    ]
    columns = [column for column in columns if column.name not in {"start", "peak"}]
    said = " + ".join(f"({there}) * {2**place}" for place, (_, _, there) in enumerate(_parts()))
    types = [f"`{column.name}` {type_in_incoming(column)}" for column in columns]
    yield (
        "create table if not exists open_said (host String, id String, trusted Int64, said UInt32, version UInt256, "
        f"at Float64, {listed(types)}) engine = ReplacingMergeTree(version) order by (host, id, trusted, said)"
    )
    names = listed(f"`{column.name}`" for column in columns)
    yield handed_on(
        "open_said_of",
        "open_said",
        f"{WHOSE}, toUInt32({said}) as said, {VERSION} as version, at, {names} from {INCOMING} where is_report",
    )
    yield (
        "create table if not exists open_sums (host String, id String, trusted Int64, "
        "begun SimpleAggregateFunction(min, Float64), highest SimpleAggregateFunction(max, Int64), "
        "first SimpleAggregateFunction(min, Float64), came SimpleAggregateFunction(max, Float64), "
        "alerts AggregateFunction(uniqExact, FixedString(16)), "
        f"told AggregateFunction(groupArraySorted({TOLD}), {OF_TOLD})) "
        "engine = AggregatingMergeTree order by (host, id, trusted)"
    )
    yield handed_on(
        "open_sums_of",
        "open_sums",
        f"{WHOSE}, min(start) as begun, max(peak) as highest, min(arrived) as first, max(arrived) as came, "
        f"uniqExactState(identity) as alerts, groupArraySortedState({TOLD})({EARLIER}) as told "
        f"from {INCOMING} where is_report group by host, id, trusted",
    )


def _of_open() -> str:
    """Return the query of episodes by the tables of those that may be open."""
    return (
        f"select * from (select host, id, trusted, max(version) as newest, {_joined('version')} from open_said "
        "group by host, id, trusted) as a inner join (select host, id, trusted, "
        "min(begun) as begun, max(highest) as highest, max(came) as came, "
        f"uniqExactMerge(alerts) as alerts, groupArraySortedMerge({TOLD})(told) as told from open_sums "
        "group by host, id, trusted) as b using (host, id, trusted)"
    )


def _episodes_of(joined: str, digest: str = "") -> str:
    """Return the query of episodes: what trusted alerts say, if there are any, and the end that a later run gave."""
    shown = {name: f"tupleElement(latest, {place})" for place, name in enumerate(LATEST, 1)}
    shown |= {"digest": digest} if digest else {}
    shown |= {part: f"p_{part}" for part in ALONE}
    for part in TOGETHER:
        shown |= {each: f"tupleElement(p_{part}, {place})" for place, each in enumerate(PARTS[part], 1)}
    shown |= {
        "host": "assumeNotNull(host)",
        "id": "assumeNotNull(id)",
        "start": "begun",
        "peak": "highest",
        "arrived": "came",
        "end": "if(is_told, tupleElement(latest, 1), ended)",
        "ended_by": f"if(not is_told and ended is not null, '{BY_RUN}', null)",
        "stamps": "cast(null, 'Nullable(String)')",
        "before": "if(length(earlier) > 1, concat('[[', toString(-earlier[2].1), ', ', toString(-earlier[2].2), "
        "if(earlier[2].3 = 0, ', false], ', ', true], '), toString(earlier[2].4), ']'), null)",
    }
    later = "x.1 > tupleElement(latest, 2) and x.2 != ifNull(tupleElement(latest, 5), '') and x.3 >= trusted"
    ends = f"arrayMap(x -> x.1, arrayFilter(x -> {later}, starts))"
    return (
        f"select {shown_as(EPISODE, shown)} from (select *, "
        "tupleElement(latest, 1) is not null as is_told, arrayDistinct(told) as earlier, "
        f"if(empty({ends} as ends), null, arrayMin(ends)) as ended "
        f"from (select * from ({joined}) order by host, id, trusted desc limit 1 by host, id) as e "
        "left join (select host, groupArray((at, run, trusted)) as starts from start_rows final group by host) as s "
        "using (host))"
    )


def _starts() -> Iterator[str]:
    yield (
        "create table if not exists start_rows (host String, at Float64, run String, trusted Int64, arrived Float64) "
        "engine = ReplacingMergeTree order by (host, at, run, trusted)"
    )
    yield handed_on(
        "start_of",
        "start_rows",
        f"ifNull(host, '') as host, at, ifNull(run, '') as run, trusted, arrived from {INCOMING} "
        f"where is_alert and event = '{STARTED}' and run is not null",
    )
