# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a search found last time: of thousands of rows that it finds again few have changed since."""

from __future__ import annotations

from collections import defaultdict
from operator import is_
from typing import TYPE_CHECKING, Any

from sockbpf.store.data.search import check_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import Connection, Select, Table

    Row = dict[str, Any]
    Made = dict[tuple[Any, ...], Row]


class KnownRows:
    """A row that is the same as last time, in every column, is neither checked nor made into an answer again.

    What is returned is shared: nobody may change it. Used by several threads; what the last of them found is kept.
    """

    def __init__(self) -> None:
        self._made: dict[str, Made] = {}
        self._of_hosts: dict[str, tuple[list[Row], list[Row]]] = {}

    def find(
        self, connection: Connection, wanted: Select[Any], table: Table, make: Callable[[Row], Row], name: str
    ) -> list[Row]:
        """Return what `make` makes of the rows of `table` that are found; raise AlteredError.

        They are kept under `name` for the next search of this name; not if it is empty.
        """
        found = connection.execute(wanted)
        columns = tuple(found.keys())
        known = self._made.get(name, {})
        rows = [tuple(row) for row in found]
        new = {row: dict(zip(columns, row, strict=True)) for row in rows if row not in known}
        check_rows(new.values(), table)
        made = {row: known[row] if row in known else make(new[row]) for row in rows}
        if name:
            self._made[name] = made
        return list(made.values())

    def of_each_host(self, rows: Iterable[Row], make: Callable[[list[Row]], list[Row]]) -> list[Row]:
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
