# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What ClickHouse keeps of entries: all of them are written into one table, which hands each on to others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Float, LargeBinary, Text

from sockbpf.store.data.schema import ENTRY, EPISODE, HOST, PAIR

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Column, Table

INCOMING = "incoming"
TYPES: dict[type, str] = {
    BigInteger: "Int64",
    Float: "Float64",
    Text: "String",
    LargeBinary: "FixedString(16)",
}
COLUMNS_OF_ENTRY = [
    column
    for column in ENTRY.c
    if column.name not in {"n", "at", "key", "body", "arrived", "trusted", "digest"}
]
REPORTED = [
    column
    for column in EPISODE.c
    if column.name not in ENTRY.c and column.name not in {"last", "alerts", "ended_by", "stamps", "before"}
]
"""What an alert reports of its episode beyond the columns of its entry."""
WORDS = [column for column in HOST.c if column.name not in {"trusted", "heard", "digest"}]
"""What an entry reports of its host; in `incoming` as w_<name>."""
OF_EACH = frozenset({"id", "reason", "before", "stamps", "body"})
"""Texts that are of a single row."""
DAY = "toDate(toDateTime(arrived, 'UTC'))"
"""Of its arrival: a posted time may be anything, and would make a partition of its own."""


def type_of(column: Column[object]) -> str:
    """Return ClickHouse's type of a column."""
    kind = TYPES[type(column.type)]
    return f"Nullable({kind})" if column.nullable else kind


def columns_of_incoming() -> Iterator[tuple[str, str]]:
    """Yield name and type of the columns of `incoming`, in their order."""
    yield from (("n", "Int64"), ("at", "Float64"), ("identity", "FixedString(16)"), ("arrived", "Float64"))
    yield from (("trusted", "Int64"), ("body", "String"), ("pairs", "Map(String, String)"))
    yield from (("is_alert", "Bool"), ("is_report", "Bool"), ("is_word", "Bool"))
    yield from ((column.name, nullable(column)) for column in COLUMNS_OF_ENTRY)
    yield from ((column.name, type_of(column)) for column in REPORTED)
    yield from ((f"w_{column.name}", type_of(column)) for column in WORDS)


def kept_type(column: Column[object]) -> str:
    """Return the type with which a column is kept: many rows share few values of most texts."""
    if not isinstance(column.type, Text) or column.name in OF_EACH:
        return type_of(column)
    return f"LowCardinality({type_of(column)})"


def nullable(column: Column[object]) -> str:
    return f"Nullable({TYPES[type(column.type)]})"


def type_in_incoming(column: Column[object]) -> str:
    return type_of(column) if column in REPORTED else nullable(column)


def listed(parts: Iterable[str]) -> str:
    return ", ".join(parts)


def handed_on(name: str, target: str, select: str) -> str:
    return f"create materialized view if not exists {name} to {target} as select {select}"


def entries() -> Iterator[str]:
    types = {
        "n": "Int64 codec(Delta, ZSTD)",
        "at": "Float64",
        "identity": "FixedString(16)",
        "arrived": "Float64 codec(Delta, ZSTD)",
        "trusted": "Int64",
        "body": "String codec(ZSTD(3))",
        "is_alert": "Bool",
        "is_report": "Bool",
        "day": "Date",
    }
    types |= {column.name: f"{nullable(column)} codec(ZSTD)" for column in COLUMNS_OF_ENTRY}
    types |= {column.name: f"{type_of(column)} codec(ZSTD)" for column in REPORTED}
    declared = [f"`{name}` {type_}" for name, type_ in types.items()]
    declared += [
        f"index by_{column.name} `{column.name}` type bloom_filter(0.01) granularity 1"
        for column in COLUMNS_OF_ENTRY
        if column.name not in {"event", "protocol", "type", "size"}
    ]
    declared.append("index by_n n type minmax granularity 1")
    yield (
        f"create table if not exists entry_rows ({listed(declared)}) engine = ReplacingMergeTree "
        "partition by day order by (at, identity)"
    )
    names = listed(f"`{name}`" for name in types if name != "day")
    yield handed_on("entry_of", "entry_rows", f"{names}, {DAY} as day from {INCOMING}")
    shown = {"key": "if(is_alert, identity, null)", "digest": "identity"}
    yield f"create or replace view {ENTRY.name} as select {shown_as(ENTRY, shown)} from entry_rows final"


def shown_as(table: Table, shown: dict[str, str]) -> str:
    """Return the columns of a view: those of this table, each as `shown` has it, or as it is.

    The digest, unless it is given, is one of all others.
    """
    names = table.c.keys()
    of = listed(shown.get(name, f"`{name}`") for name in names if name != "digest")
    shown = {"digest": f"reinterpretAsFixedString(sipHash128(tuple({of})))"} | shown
    return listed(f"{shown[name]} as `{name}`" if name in shown else f"`{name}`" for name in names)


def pairs() -> Iterator[str]:
    yield (
        "create table if not exists pair_rows (name String, value String, n Int64, at Float64, arrived Float64, "
        "day Date) engine = ReplacingMergeTree partition by day order by (name, value, n)"
    )
    each = f"pair.1 as name, pair.2 as value, n, at, arrived, {DAY} as day"
    yield handed_on("pair_of", "pair_rows", f"{each} from {INCOMING} array join pairs as pair")
    yield f"create or replace view {PAIR.name} as select n, at, name, value from pair_rows"
