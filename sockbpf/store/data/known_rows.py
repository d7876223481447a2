# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a search found last time: of thousands of rows that it finds again few have changed since."""

from __future__ import annotations

import time
from collections import defaultdict
from operator import is_, itemgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import tuple_

from sockbpf.store.data.digest import APART
from sockbpf.store.data.search import check_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import ColumnElement, Connection, Select, Table

    Row = dict[str, Any]
    Key = tuple[Any, ...]

LONG_S = 0.02
MOST_NEW = 200
"""So many new rows are read by their keys; of more, all rows are read."""


class KnownRows:
    """A row that is the same as last time is neither read as a whole, nor checked, nor made into an answer again.

    It is the same if its digest is, and what the digest leaves out. What is returned is shared: nobody may change it.
    Used by several threads; what the last of them found is kept.
    """

    def __init__(self) -> None:
        self._made: dict[str, dict[Key, Any]] = {}
        self._of_hosts: dict[str, tuple[list[Row], list[Any]]] = {}
        self._lately: dict[str, tuple[float, Any]] = {}

    def find(
        self, connection: Connection, wanted: Select[Any], table: Table, make: Callable[[Row], Any], name: str
    ) -> list[Any]:
        """Return what `make` makes of the rows of `table` that are found; raise AlteredError.

        They are kept under `name` for the next search of this name; not if it is empty.
        """
        known = self._made.get(name, {})
        found = self._found_again(connection, wanted, table, make, known) if known else None
        if found is None:
            found = _read(connection, wanted, table, make, known)
        if name:
            self._made[name] = found
        return list(found.values())

    def _found_again(
        self,
        connection: Connection,
        wanted: Select[Any],
        table: Table,
        make: Callable[[Row], Any],
        known: dict[Key, Any],
    ) -> dict[Key, Any] | None:
        """Return what is found, of which only what is new is read; None if that is much."""
        marks = _marks(wanted, table)
        keys = [tuple(row) for row in connection.execute(wanted.with_only_columns(*marks)).all()]
        digest = marks.index(table.c.digest)
        new = [key for key in keys if key not in known or key[digest] is None]
        if len(new) > MOST_NEW:
            return None
        if new:
            primary = table.primary_key.columns
            which = tuple_(*primary).in_([key[: len(primary)] for key in new])
            known = {**known, **_read(connection, wanted.where(which), table, make, {})}
        # Between the two questions a row may have changed.
        return {key: known[key] for key in keys} if all(key in known for key in keys) else None

    def of_each_host(self, rows: Iterable[Row], make: Callable[[list[Row]], list[Any]]) -> list[Any]:
        """Return what `make` makes of the rows of each host; not again of rows that `find` returned last time too."""
        by_host: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            by_host[row["host"]].append(row)
        known, made = self._of_hosts, {}
        for host, its in by_host.items():
            before = known.get(host)
            is_same = before is not None and len(before[0]) == len(its) and all(map(is_, before[0], its))
            made[host] = before if before and is_same else (its, make(its))
        self._of_hosts = made
        return [each for _, of_host in made.values() for each in of_host]

    def lately(self, name: str, make: Callable[[], Any]) -> Any:
        """Return what `make` makes, or made a while ago: what takes long is made for a tenth of the time at most."""
        until_s, made = self._lately.get(name, (0.0, None))
        begun_s = time.monotonic()
        if begun_s < until_s:
            return made
        made = make()
        took_s = time.monotonic() - begun_s
        if took_s > LONG_S:
            self._lately[name] = (time.monotonic() + 10 * took_s, made)
        return made


def _marks(wanted: Select[Any], table: Table) -> list[ColumnElement[Any]]:
    """Return the columns by which a row is known again, those of its key first."""
    own = [
        column for name, column in table.c.items() if name in {"digest", *APART} and not column.primary_key
    ]
    others = [column for column in wanted.selected_columns if str(column.key) not in table.c]
    return [*table.primary_key.columns, *own, *others]


def _read(
    connection: Connection,
    wanted: Select[Any],
    table: Table,
    make: Callable[[Row], Any],
    known: dict[Key, Any],
) -> dict[Key, Any]:
    """Read rows as a whole; what is not known is checked."""
    found = connection.execute(wanted)
    columns = tuple(found.keys())
    key_of = itemgetter(*(columns.index(str(mark.key)) for mark in _marks(wanted, table)))
    rows = {key_of(row): row for row in map(tuple, found.all())}
    new = {
        key: dict(zip(columns, row, strict=True))
        for key, row in rows.items()
        if key not in known or row[columns.index("digest")] is None
    }
    check_rows(new.values(), table)
    return {key: make(new[key]) if key in new else known[key] for key in rows}
