# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What an error of the database means: its file is damaged, its disk is full, the server is away.

Pure: from an exception to words that reveal neither place nor user nor content of the database.
"""

from __future__ import annotations

import sqlite3

CODES = {
    3: "the database's files may not be used", 5: "the database is busy", 6: "the database is busy",
    7: "there is too little memory", 8: "the database is read-only", 9: "this took too long",
    10: "the disk fails", 13: "the disk is full", 14: "the database's files cannot be opened",
    15: "the database is busy", 18: "it is too large", 23: "the database's files may not be used",
}  # fmt: skip
"""Result codes of SQLite (sqlite3.h) with other causes than the content of the file."""
TEXTS = {
    "locked": 5, "readonly": 8, "read-only": 8, "interrupted": 9, "disk I/O": 10, "full": 13, "unable to open": 14,
    "too big": 18, "out of memory": 7,
}  # fmt: skip
"""Part of the message -> code: before Python 3.11 an exception has no code."""
CERTAIN = frozenset({11, 24, 26})
"""SQLITE_CORRUPT, SQLITE_FORMAT, SQLITE_NOTADB."""
CERTAIN_TEXTS = ("malformed", "not a database", "Could not decode")
SHORT = frozenset({522, 8458})
"""SQLITE_IOERR_SHORT_READ, SQLITE_IOERR_CORRUPTFS: the file is shorter than it should be."""
FULL = 13
AWAY = "the database is busy or away"
DAMAGED = "the database's file makes no sense"
STATES = {
    "25006": "the database is read-only", "53100": "the disk of the database is full",
    "XX001": "a table of the database is damaged", "XX002": "an index of the database is damaged",
    "57014": "this took too long",
}  # fmt: skip
"""What PostgreSQL's SQLSTATE means."""


CLICKHOUSE = "clickhouse_connect"
OF_CLICKHOUSE = {
    159: "this took too long", 160: "this took too long", 241: "there is too little memory",
    243: "the disk of the database is full", 242: "the database is read-only",
    164: "the database is read-only", 497: "the database's user may not do this",
    516: "the database refuses user or password", 81: "there is no such database",
    60: "a table of the database is missing",
}  # fmt: skip
"""What ClickHouse's error codes mean."""

MYSQL = "pymysql"
OF_MYSQL = {
    1021: "the disk of the database is full", 1114: "the disk of the database is full",
    1044: "the database's user may not do this", 1142: "the database's user may not do this",
    1045: "the database refuses user or password", 1698: "the database refuses user or password",
    1049: "there is no such database", 1146: "a table of the database is missing",
    1153: "it is larger than the database's max_allowed_packet", 1205: "the database is busy",
    1290: "the database is read-only", 1792: "the database is read-only", 1836: "the database is read-only",
    1034: "an index of the database is damaged", 1877: "a table of the database is damaged",
    1317: "this took too long", 1969: "this took too long",
}  # fmt: skip
"""What MariaDB's error codes mean; from 2000 on they are the client's, which has no answer."""
OF_CLIENT = range(2000, 3000)
OF_CODES = {MYSQL: OF_MYSQL, CLICKHOUSE: OF_CLICKHOUSE}
"""By the module of the client."""
IN_THE_WAY_STATES = frozenset({"40001", "40P01"})
IN_THE_WAY_CODES = frozenset({1020, 1213})
"""PostgreSQL's SQLSTATE, and MariaDB's codes, of what fails because of another transaction, as of a deadlock."""


def first_line(error: BaseException) -> str:
    """Return what an error says of itself; where that may name the server, its user or a value, what it means."""
    original = getattr(error, "orig", None) or error
    if any(_is_of(original, client) for client in OF_CODES):
        return described(error)
    return str(original).split("\n", maxsplit=1)[0] or type(error).__name__


def is_in_the_way(error: BaseException) -> bool:
    """Whether another transaction was in the way of this one, so that it may be tried again at once."""
    original = getattr(error, "orig", None) or error
    if _is_of(original, MYSQL):
        return _code_of(original) in IN_THE_WAY_CODES
    return getattr(original, "sqlstate", None) in IN_THE_WAY_STATES


def _is_of(original: BaseException, client: str) -> bool:
    return type(original).__module__.startswith(client)


def _code_of(original: BaseException) -> int | None:
    """Return the code of an error of MariaDB or ClickHouse; None of one that the client has made."""
    code = getattr(original, "code", None)
    if _is_of(original, MYSQL):
        code = original.args[0] if original.args else None
    return code if isinstance(code, int) and code not in OF_CLIENT else None


def is_damage(error: BaseException, *, certain: bool = False) -> bool:
    """Whether SQLite's file is damaged; with `certain` only if no statement on an intact file fails in this way."""
    original = getattr(error, "orig", None) or error
    if isinstance(original, UnicodeDecodeError):
        return True
    if not isinstance(original, sqlite3.Error):
        return False
    code, text = _code(original), str(original)
    if code & 0xFF in CERTAIN or code in SHORT or any(part in text for part in CERTAIN_TEXTS):
        return True
    return not certain and code & 0xFF not in CODES


def is_full(error: BaseException) -> bool:
    """Whether the disk is full, or SQLite's file has reached its limit."""
    original = getattr(error, "orig", None) or error
    return isinstance(original, sqlite3.Error) and _code(original) & 0xFF == FULL


def described(error: BaseException) -> str:
    """Return what is wrong, in words that anybody may read."""
    original = getattr(error, "orig", None) or error
    if is_damage(error):
        return DAMAGED
    if isinstance(original, sqlite3.Error):
        return CODES.get(_code(original) & 0xFF, DAMAGED)
    for client, meanings in OF_CODES.items():
        if _is_of(original, client):
            code = _code_of(original)
            return meanings.get(code, f"the database refuses it, code {code}") if code else AWAY
    state = getattr(original, "sqlstate", None)
    if state:
        return STATES.get(state, f"the database refuses it, SQLSTATE {state}")
    return AWAY


def _code(error: sqlite3.Error) -> int:
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return int(code)
    message = str(error)
    return next((code for part, code in TEXTS.items() if part in message), 1)
