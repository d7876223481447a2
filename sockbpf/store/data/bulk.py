# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Many rows at once, by statements in the driver's own words: SQLAlchemy's take longer for a row than SQLite does.

PostgreSQL is given rows by COPY: into the table, or where they may be there already, first into a temporary one.
MariaDB is given them by statements of many rows each.
"""
# ruff: noqa: S608  the only texts in these statements are names of our tables and columns

from __future__ import annotations

from collections import defaultdict
from enum import Enum, auto
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from sockbpf.store.data.engine import is_mysql, is_postgresql
from sockbpf.store.data.mysql_bulk import insert_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Table

    Row = Mapping[str, Any]
    Values = tuple[Any, ...]
    """Of a row, the values of all columns of its table, in their order, unless it says otherwise."""

MOST_ASKED = 500
"""Keys in one query: SQLite bounds the parameters of a statement."""


class Rule(Enum):
    """What becomes of a column of a row that is there already."""

    REPLACE = auto()
    ADD = auto()
    GREATEST = auto()


def find(
    connection: Connection, table: Table, by: Sequence[str], keys: Sequence[Values], columns: Sequence[str]
) -> Iterator[Values]:
    """Yield these columns of the rows whose columns `by` have the values of one of these keys."""
    asked = f"select {_listed(columns)} from {table.name} where ({_listed(by)}) in "
    if is_postgresql(connection):
        arrays = ", ".join(f"%s::{table.c[name].type.compile(connection.dialect)}[]" for name in by)
        values = tuple([key[place] for key in keys] for place in range(len(by)))
        yield from connection.exec_driver_sql(f"{asked} (select * from unnest({arrays}))", values)
        return
    for begin in range(0, len(keys), MOST_ASKED):
        some = keys[begin : begin + MOST_ASKED]
        values = tuple(value for key in some for value in key)
        if is_mysql(connection):
            marks = ", ".join([_marks(by, "%s")] * len(some))
            yield from connection.exec_driver_sql(f"{asked} ({marks})", values)
        else:
            marks = ", ".join([_marks(by)] * len(some))
            yield from connection.exec_driver_sql(f"{asked} (values {marks})", values)


def insert(connection: Connection, table: Table, rows: Sequence[Values]) -> None:
    """Insert rows that are not there."""
    if rows and is_postgresql(connection):
        _copy(connection, table.name, table, rows)
    elif rows and is_mysql(connection):
        insert_rows(connection, _insert(table), rows)
    elif rows:
        connection.exec_driver_sql(f"{_insert(table)} values {_marks(table.c.keys())}", list(rows))


def merge(connection: Connection, table: Table, rows: Sequence[Values], rules: Mapping[str, Rule]) -> None:
    """Insert rows; of those that are there already, by their primary key, the columns with a rule are changed."""
    if not rows:
        return
    if is_mysql(connection):
        insert_rows(connection, _insert(table), rows, f"on duplicate key update {_changes(table, rules)}")
        return
    greatest = "greatest" if is_postgresql(connection) else "max"
    changes = _changes(table, rules, "excluded.{}", greatest)
    of_key = _listed(table.primary_key.columns.keys())
    on_conflict = f"on conflict ({of_key}) do " + (f"update set {changes}" if rules else "nothing")
    if is_postgresql(connection):
        staged = _stage(connection, table, rows)
        connection.exec_driver_sql(
            f"{_insert(table)} select {_listed(table.c.keys())} from {staged} {on_conflict}"
        )
    else:
        statement = f"{_insert(table)} values {_marks(table.c.keys())} {on_conflict}"
        connection.exec_driver_sql(statement, list(rows))


def _changes(
    table: Table, rules: Mapping[str, Rule], of_new: str = "values({})", greatest: str = "greatest"
) -> str:
    """Return what a row that is there is to have; without a rule, one column of its key as it is."""
    first, *_ = table.primary_key.columns.keys()
    changes = []
    for name, rule in (rules or {first: Rule.REPLACE}).items():
        old, new = f'{table.name}."{name}"', of_new.format(f'"{name}"')
        value = {Rule.REPLACE: new, Rule.ADD: f"{old} + {new}", Rule.GREATEST: f"{greatest}({old}, {new})"}
        changes.append(f'"{name}" = {value[rule]}')
    return ", ".join(changes)


def delete(
    connection: Connection, table: Table, by: Sequence[str], keys: Sequence[Values], also: str = ""
) -> None:
    """Delete the rows whose columns `by` have the values of one of these keys; `also` is a further condition, SQL."""
    condition = f" and {also}" if also else ""
    if is_mysql(connection):  # whose client sends one statement after another
        for begin in range(0, len(keys), MOST_ASKED):
            some = keys[begin : begin + MOST_ASKED]
            values = tuple(value for key in some for value in key)
            which = f"({_listed(by)}) in ({', '.join([_marks(by, '%s')] * len(some))})"
            # With the name before `from` it takes the ways of a query, and finds the rows by their index.
            connection.exec_driver_sql(
                f"delete {table.name} from {table.name} where {which}{condition}", values
            )
    elif keys:
        mark = "%s" if is_postgresql(connection) else "?"
        which = " and ".join(f'"{name}" = {mark}' for name in by)
        connection.exec_driver_sql(f"delete from {table.name} where {which}{condition}", list(keys))


def put(
    connection: Connection, table: Table, rows: Iterable[Row], stored: Mapping[Values, Row | None]
) -> None:
    """Have the table hold these rows.

    `stored` has, by their primary key, those of them that are there, None for one that is damaged.
    """
    key_of, values_of = itemgetter(*table.primary_key.columns.keys()), itemgetter(*table.c.keys())
    if is_mysql(connection):
        merge(
            connection, table, [values_of(row) for row in rows], dict.fromkeys(table.c.keys(), Rule.REPLACE)
        )
        return
    there = [(stored[key], row) for row in rows if (key := key_of(row)) in stored]
    new = [values_of(row) for row in rows if key_of(row) not in stored]
    if is_postgresql(connection):
        insert(connection, table, new)
        _update_staged(connection, table, [values_of(row) for _, row in there])
        return
    # In a damaged file a row may be there that was not found.
    new += [values_of(row) for before, row in there if before is None]
    merge(connection, table, new, dict.fromkeys(table.c.keys(), Rule.REPLACE))
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
    return f"insert into {table.name} ({_listed(table.c.keys())})"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _marks(names: Iterable[str], mark: str = "?") -> str:
    return f"({', '.join(mark for _ in names)})"


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
