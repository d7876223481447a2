# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Many rows at once, by statements in the driver's own words: SQLAlchemy's take longer for a row than SQLite does.

PostgreSQL is given rows by COPY: into the table, or where they may be there already, first into a temporary one.
"""
# ruff: noqa: S608  the only texts in these statements are names of our tables and columns

from __future__ import annotations

from collections import defaultdict
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Table

    Row = Mapping[str, Any]
    Values = tuple[Any, ...]
    """Of a row, the values of all columns of its table, in their order, unless it says otherwise."""

MOST_ASKED = 500
"""Keys in one query of SQLite, which bounds the parameters of a statement."""


def find(
    connection: Connection, table: Table, by: Sequence[str], keys: Sequence[Values], columns: Sequence[str]
) -> Iterator[Values]:
    """Yield these columns of the rows whose columns `by` have the values of one of these keys."""
    asked = f"select {_listed(columns)} from {table.name} where ({_listed(by)}) in "
    if _is_postgresql(connection):
        arrays = ", ".join(f"%s::{table.c[name].type.compile(connection.dialect)}[]" for name in by)
        values = tuple([key[place] for key in keys] for place in range(len(by)))
        yield from connection.exec_driver_sql(f"{asked} (select * from unnest({arrays}))", values)
        return
    for begin in range(0, len(keys), MOST_ASKED):
        some = keys[begin : begin + MOST_ASKED]
        values = tuple(value for key in some for value in key)
        marks = ", ".join([_marks(by)] * len(some))
        yield from connection.exec_driver_sql(f"{asked} (values {marks})", values)


def insert(connection: Connection, table: Table, rows: Sequence[Values]) -> None:
    """Insert rows that are not there."""
    if rows and _is_postgresql(connection):
        _copy(connection, table.name, table, rows)
    elif rows:
        connection.exec_driver_sql(_insert(table), list(rows))


def merge(connection: Connection, table: Table, rows: Sequence[Values], on_conflict: str) -> None:
    """Insert rows; what becomes of those that are there already, the clause `on_conflict` says."""
    if rows and _is_postgresql(connection):
        staged = _stage(connection, table, rows)
        columns = _listed(table.c.keys())
        connection.exec_driver_sql(
            f"insert into {table.name} ({columns}) select {columns} from {staged} {on_conflict}"
        )
    elif rows:
        connection.exec_driver_sql(f"{_insert(table)} {on_conflict}", list(rows))


def put(
    connection: Connection, table: Table, rows: Iterable[Row], stored: Mapping[Values, Row | None]
) -> None:
    """Have the table hold these rows.

    `stored` has, by their primary key, those of them that are there, None for one that is damaged.
    """
    key_of, values_of = itemgetter(*table.primary_key.columns.keys()), itemgetter(*table.c.keys())
    there = [(stored[key], row) for row in rows if (key := key_of(row)) in stored]
    new = [values_of(row) for row in rows if key_of(row) not in stored]
    if _is_postgresql(connection):
        insert(connection, table, new)
        _update_staged(connection, table, [values_of(row) for _, row in there])
        return
    # In a damaged file a row may be there that was not found.
    new += [values_of(row) for before, row in there if before is None]
    replaced = ", ".join(f'"{name}" = excluded."{name}"' for name in table.c.keys())  # noqa: SIM118
    of_key = _listed(table.primary_key.columns.keys())
    merge(connection, table, new, f"on conflict ({of_key}) do update set {replaced}")
    _update_changed(connection, table, [(before, row) for before, row in there if before is not None])


def _update_staged(connection: Connection, table: Table, rows: Sequence[Values]) -> None:
    if rows:
        staged = _stage(connection, table, rows)
        values = ", ".join(f'"{name}" = staged."{name}"' for name in table.c.keys())  # noqa: SIM118
        its = " and ".join(f'{column} = staged."{column.name}"' for column in table.primary_key.columns)
        connection.exec_driver_sql(f"update {table.name} set {values} from {staged} staged where {its}")


def _update_changed(connection: Connection, table: Table, changes: Iterable[tuple[Row, Row]]) -> None:
    """Update the columns that differ: SQLite changes the indexes of all columns that are set, differ or not."""
    names, key = table.c.keys(), tuple(table.primary_key.columns.keys())
    by_columns: dict[tuple[str, ...], list[Values]] = defaultdict(list)
    for before, row in changes:
        changed = tuple(name for name in names if before[name] != row[name])
        by_columns[changed].append(tuple(row[name] for name in (*changed, *key)))
    which = " and ".join(f'"{name}" = ?' for name in key)
    for changed, rows in by_columns.items():
        values = ", ".join(f'"{name}" = ?' for name in changed)
        if changed:
            connection.exec_driver_sql(f"update {table.name} set {values} where {which}", rows)


def _insert(table: Table) -> str:
    return f"insert into {table.name} ({_listed(table.c.keys())}) values {_marks(table.c.keys())}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _marks(names: Iterable[str]) -> str:
    return f"({', '.join('?' for _ in names)})"


def _stage(connection: Connection, table: Table, rows: Sequence[Values]) -> str:
    """Have a temporary table hold these rows until the transaction ends; return its name."""
    name = f"staged_{table.name}"
    columns = _listed(table.c.keys())
    of_table = f"as select {columns} from {table.name} with no data"
    connection.exec_driver_sql(
        f"create temporary table if not exists {name} on commit delete rows {of_table}"
    )
    connection.exec_driver_sql(f"delete from {name}")
    _copy(connection, name, table, rows)
    return name


def _copy(connection: Connection, into: str, table: Table, rows: Sequence[Values]) -> None:
    driver: Any = connection.connection.driver_connection
    any_error: Any = connection.dialect.loaded_dbapi.Error
    statement = f"copy {into} ({_listed(table.c.keys())}) from stdin"
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except any_error as error:
        raise DBAPIError.instance(statement, None, error, any_error, hide_parameters=True) from error


def _is_postgresql(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"
