# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Many rows at once for MariaDB, whose client would take longer to write them out than the server to insert them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from sockbpf.store.data.mysql import MOST_PACKET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Connection

STATEMENTS = 16
"""A statement has at most about such a part of the bytes that the server takes, unless one row alone has more."""
MOST_CHARACTERS = 2**20
OF_STATEMENT = 2**16
"""Bytes for what a statement has besides its rows."""
TOO_LARGE = 1153
"""The server's own number for a statement that is too large; it would close the connection."""


def insert_rows(connection: Connection, insert: str, rows: Sequence[Sequence[Any]], end: str = "") -> None:
    """Insert rows by statements that begin with `insert` and end with `end`. Raise DBAPIError."""
    for values in _packed(connection, insert, rows):
        try:
            connection.exec_driver_sql(
                f"{insert} values {values} {end}", execution_options={"no_parameters": True}
            )
        except DBAPIError as error:
            error.statement = insert  # no text of an error has values
            raise


def _packed(connection: Connection, insert: str, rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    """Yield the values of some rows, as many as one statement may have."""
    most = connection.info[MOST_PACKET]
    at_once = min(MOST_CHARACTERS, most // STATEMENTS)
    some: list[str] = []
    size = 0
    for row in rows:
        written = _written(row)
        if len(written) > at_once and len(written.encode()) + OF_STATEMENT > most:
            dbapi: Any = connection.dialect.loaded_dbapi
            error = dbapi.DataError(TOO_LARGE, "an entry is larger than the server's max_allowed_packet")
            raise DBAPIError.instance(insert, None, error, dbapi.Error, hide_parameters=True)
        if some and size + len(written) > at_once:
            yield ", ".join(some)
            some, size = [], 0
        some.append(written)
        size += len(written)
    if some:
        yield ", ".join(some)


def _written(row: Sequence[Any]) -> str:
    """Return a row as SQL has it."""
    return f"({', '.join([WRITTEN[value.__class__](value) for value in row])})"


def _quoted(value: str) -> str:
    """Return a text in quotes, by the rules of `mysql.MODE`."""
    value = value.replace("\\", "\\\\").replace("'", "''")
    return f"'{value}'"


def _exact(value: float) -> str:
    """Return a number with an exponent: without one it would be no double."""
    said = repr(value)
    return said if "e" in said else f"{said}e0"


WRITTEN: dict[type, Callable[[Any], str]] = {
    str: _quoted,
    int: int.__repr__,
    float: _exact,
    bytes: lambda value: f"x'{value.hex()}'",
    type(None): lambda _: "null",
}
