# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The view of hosts in ClickHouse: what each has told of itself, as `store/data/words.py` joins it.

Of the reports of a host that say the same groups of columns the latest is kept, for no other says anything that
counts, and one row says when it was heard of last. Of each column the latest report that says its group counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Text

from sockbpf.record.alert import STOPPED
from sockbpf.store.data.clickhouse_tables import INCOMING, handed_on, listed, nullable, shown_as
from sockbpf.store.data.schema import HOST
from sockbpf.store.data.words import GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

OLDER = "host_states"
"""The table of earlier stores, with a state of each group; `host_of` handed it on."""
DROP_OLDER = f"drop table if exists {OLDER}"
HAS_OLDER = f"select 1 from system.tables where database = currentDatabase() and name = '{OLDER}'"
COLUMNS = [(name, 2**place) for place, group in enumerate(GROUPS) for name in group if name != "is_last"]
"""Of a report, each with the bit of its group."""


def hosts() -> Iterator[str]:
    """Yield what makes the table."""
    declared = [f"`{name}` {_kept_type(name)} codec(ZSTD)" for name, _ in COLUMNS]
    yield (
        "create table if not exists host_said (host String, trusted Int64, said UInt8, stamp UInt256, "
        f"heard Float64, {listed(declared)}) engine = ReplacingMergeTree(stamp) order by (host, trusted, said)"
    )
    said = " + ".join(f"(w_{group[0]} is not null) * {2**place}" for place, group in enumerate(GROUPS))
    told = listed(f"w_{name} as `{name}`" for name, _ in COLUMNS)
    stamp = _stamp(
        "w_last", f"ifNull(w_event = '{STOPPED}', 0)", "w_seq", [f"w_{name}" for name, _ in COLUMNS]
    )
    yield handed_on(
        "host_said_of",
        "host_said",
        f"w_host as host, trusted, toUInt8({said}) as said, {stamp} as stamp, arrived as heard, {told} "
        f"from {INCOMING} where is_word",
    )
    yield handed_on(
        "host_heard_of",
        "host_said",
        "w_host as host, trusted, toUInt8(0) as said, toUInt256(reinterpretAsUInt64(arrived)) as stamp, "
        f"arrived as heard from {INCOMING} where is_word",
    )


def host_view() -> str:
    """Return what makes the view."""
    latest = listed(f"{_latest(name, bit)} as latest_{name}" for name, bit in COLUMNS)
    shown = {name: f"latest_{name}" for name, _ in COLUMNS} | {"heard": "latest_heard"}
    return (
        f"create or replace view {HOST.name} as select {shown_as(HOST, shown)} from (select host, trusted, "
        f"max(heard) as latest_heard, {latest} from host_said group by host, trusted)"
    )


def hosts_of_older() -> Iterator[str]:
    """Yield what takes over the hosts of an earlier store."""
    yield "drop view if exists host_of"
    for place, group in enumerate(GROUPS):
        names = [name for name in group if name != "is_last"]
        told = {name: f"tupleElement(told, {number})" for number, name in enumerate(names, 1)}
        is_last = f"ifNull({told['event']} = '{STOPPED}', 0)" if "event" in told else "0"
        stamp = _stamp(told[group[0]], is_last, told.get("seq", "null"), told.values())
        yield (
            f"insert into host_said (host, trusted, said, stamp, heard, {listed(f'`{name}`' for name in names)}) "
            f"select host, trusted, {2**place}, {stamp}, heard, {listed(told.values())} "
            f"from (select host, trusted, max(heard) as heard, argMaxMerge(g_{group[0]}) as told from {OLDER} "
            f"group by host, trusted) where {told[group[0]]} is not null"
        )


def _kept_type(name: str) -> str:
    column = HOST.c[name]
    kind = nullable(column)
    return f"LowCardinality({kind})" if isinstance(column.type, Text) and name in {"event", "mode"} else kind


def _stamp(time: str, is_last: str, seq: str, values: Iterable[str]) -> str:
    """Return what is the greatest of the report that counts: the latest, and of two of one time always the same."""
    parts = (
        f"bitShiftLeft(toUInt256(reinterpretAsUInt64(assumeNotNull(toFloat64({time})))), 129)",
        f"bitShiftLeft(toUInt256({is_last}), 128)",
        f"bitShiftLeft(toUInt256(ifNull({seq}, -1) + 1), 64)",
        f"sipHash64(tuple({listed(values)}))",
    )
    return " + ".join(parts)


def _latest(name: str, bit: int) -> str:
    """Return the value of a column in the latest report that says its group; of null ClickHouse finds no latest."""
    of = f"stamp, bitAnd(said, {bit}) > 0"
    if not HOST.c[name].nullable:
        return f"argMaxIf(assumeNotNull(`{name}`), {of})"
    is_there = f"argMaxIf(`{name}` is not null, {of})"
    return f"if({is_there}, argMaxIf(assumeNotNull(`{name}`), {of}), null)"
