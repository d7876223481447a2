# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The view of hosts in ClickHouse: what each has told of itself, as `store/data/words.py` joins it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Text

from sockbpf.record.alert import STOPPED
from sockbpf.store.data.clickhouse_tables import INCOMING, TYPES, handed_on, listed, shown_as, type_of
from sockbpf.store.data.schema import HOST
from sockbpf.store.data.words import GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterator


def hosts() -> Iterator[str]:
    groups = {f"g_{group[0]}": group for group in GROUPS}
    declared = [
        f"{name} AggregateFunction(argMax, {_of_group(its)}, {_of_order(its)})"
        for name, its in groups.items()
    ]
    yield (
        "create table if not exists host_states (host String, trusted Int64, "
        f"heard SimpleAggregateFunction(max, Float64), {listed(declared)}) "
        "engine = AggregatingMergeTree order by (host, trusted)"
    )
    told = [
        f"argMaxStateIf(tuple({listed(f'w_{name}' for name in _columns(its))}), tuple({listed(_order(its))}), "
        f"w_{its[0]} is not null) as {name}"
        for name, its in groups.items()
    ]
    yield handed_on(
        "host_of",
        "host_states",
        f"w_host as host, trusted, max(arrived) as heard, {listed(told)} from {INCOMING} "
        "where is_word group by w_host, trusted",
    )
    shown = {
        column: f"tupleElement({name}, {place})"
        for name, its in groups.items()
        for place, column in enumerate(_columns(its), 1)
    }
    merged = [f"argMaxMerge({name}) as {name}" for name in groups]
    yield (
        f"create or replace view {HOST.name} as select {shown_as(HOST, shown)} from ("
        f"select host, trusted, max(heard) as heard, {listed(merged)} from host_states group by host, trusted)"
    )


def _columns(group: tuple[str, ...]) -> list[str]:
    return [name for name in group if name != "is_last"]


def _of_group(group: tuple[str, ...]) -> str:
    return f"Tuple({listed(type_of(HOST.c[name]) for name in _columns(group))})"


def _order(group: tuple[str, ...]) -> Iterator[str]:
    """Yield by what the report that counts is the greatest, as `words.joined_words` has it."""
    for name in group:
        if name == "is_last":
            yield f"ifNull(w_event = '{STOPPED}', 0)"
        else:
            zero = "''" if isinstance(HOST.c[name].type, Text) else "0"
            yield from (f"w_{name} is not null", f"ifNull(w_{name}, {zero})")


def _of_order(group: tuple[str, ...]) -> str:
    types = []
    for name in group:
        types.append("UInt8")
        if name != "is_last":
            types.append(TYPES[type(HOST.c[name].type)])
    return f"Tuple({listed(types)})"
