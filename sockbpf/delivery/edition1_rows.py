# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the journal of the first edition holds. Imported where there is one: SQLite takes a megabyte."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sockbpf.delivery.journal_lines import Found
from sockbpf.delivery.owed import owed_of

if TYPE_CHECKING:
    from pathlib import Path

SENSELESS = (sqlite3.Error, OverflowError, ValueError)
"""The exceptions that a damaged database raises, also for text that is not Unicode."""

COLUMNS = "n, destination, episode, made_s, body"


def read(path: Path) -> tuple[Found, bool]:
    """Return the alerts of the database, and whether all rows could be read. Raise no exception of sqlite3.

    The rows have no checksums: damage is found only in a row that does not look like an alert any more.
    """
    found = Found()
    is_whole = False
    with suppress(*SENSELESS):
        name = f"file:{quote(str(path))}?mode=rw"
        with closing(sqlite3.connect(name, uri=True, timeout=1.0, isolation_level=None)) as connection:
            connection.text_factory = bytes  # which need not be Unicode any more
            tried: set[int] = set()
            # From both ends, so that a damaged place in the middle costs the fewest rows.
            is_whole = _take_rows(connection, "asc", found, tried) or _take_rows(
                connection, "desc", found, tried
            )
            is_whole = _take_last(connection, found) and is_whole and len(tried) == _count(connection)
    found.owed = dict(sorted(found.owed.items()))
    return found, is_whole and not found.broken


def _take_rows(connection: sqlite3.Connection, order: str, found: Found, tried: set[int]) -> bool:
    """Take rows until one cannot be read; return whether all could be read."""
    with suppress(*SENSELESS):
        for n, *row in connection.execute(f"select {COLUMNS} from owed order by n {order}"):  # noqa: S608
            if n not in tried:
                tried.add(n)
                _take(n, row, found)
        return True
    return False


def _take(n: int, row: list[Any], found: Found) -> None:
    try:
        destination, episode, made_s, body = row
        head = {"n": n, "destination": destination.decode(), "episode": episode.decode(), "made_s": made_s}
        one = owed_of(head, json.dumps(json.loads(body), separators=(",", ":")))
    except (*SENSELESS, AttributeError, TypeError, RecursionError):
        found.broken.append(repr((n, *row)).encode())
    else:
        found.owed[n] = one
        found.last_seq = max(found.last_seq, int(one.fields["seq"]))
        found.last_n = max(found.last_n, n)


def _take_last(connection: sqlite3.Connection, found: Found) -> bool:
    with suppress(*SENSELESS, TypeError):
        seq, n = connection.execute("select seq, n from last").fetchone()
        found.last_seq, found.last_n = max(found.last_seq, int(seq)), max(found.last_n, int(n))
        return True
    return False


def _count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("select count(*) from owed").fetchone()[0])
