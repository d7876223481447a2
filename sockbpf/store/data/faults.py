# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What an error of the database means: its file makes no sense, its disk is full, it is away.

Pure: from an exception to words that tell nothing of the database's place, user or content.
"""

from __future__ import annotations

import sqlite3

CODES = {
    3: "the database's files may not be used", 5: "the database is busy", 6: "the database is busy",
    7: "there is too little memory", 8: "the database is read-only", 9: "this took too long",
    10: "the disk fails", 13: "the disk is full", 14: "the database's files cannot be opened",
    15: "the database is busy", 18: "it is too large", 23: "the database's files may not be used",
}  # fmt: skip
"""SQLite's result codes that are not the fault of the file's content: sqlite3.h."""
TEXTS = {
    "locked": 5, "readonly": 8, "read-only": 8, "interrupted": 9, "disk I/O": 10, "full": 13, "unable to open": 14,
    "too big": 18, "out of memory": 7,
}  # fmt: skip
"""The same where Python, before 3.11, does not give the code."""
CERTAIN = frozenset({11, 24, 26})
"""SQLITE_CORRUPT, SQLITE_FORMAT, SQLITE_NOTADB."""
CERTAIN_TEXTS = ("malformed", "not a database", "Could not decode")
SHORT = frozenset({522, 8458})
"""SQLITE_IOERR_SHORT_READ, SQLITE_IOERR_CORRUPTFS: the file ends where it should not."""
FULL = 13
DAMAGED = "the database's file makes no sense"
STATES = {
    "25006": "the database is read-only", "53100": "the disk of the database is full",
    "XX001": "a table of the database is damaged", "XX002": "an index of the database is damaged",
    "57014": "this took too long",
}  # fmt: skip
"""PostgreSQL's, by SQLSTATE."""


def is_damage(error: BaseException, *, certain: bool = False) -> bool:
    """Whether SQLite's file is at fault; `certain`: whatever statement it was that failed."""
    original = getattr(error, "orig", None) or error
    if isinstance(original, UnicodeDecodeError):
        return True
    if not isinstance(original, sqlite3.Error):
        return False
    code, text = _code(original), str(original)
    if code & 0xFF in CERTAIN or code in SHORT or any(said in text for said in CERTAIN_TEXTS):
        return True
    return not certain and code & 0xFF not in CODES


def is_full(error: BaseException) -> bool:
    """Whether there is no room for more, on the disk or in SQLite's file."""
    original = getattr(error, "orig", None) or error
    return isinstance(original, sqlite3.Error) and _code(original) & 0xFF == FULL


def described(error: BaseException) -> str:
    """Return in words what is wrong, for whoever asks."""
    original = getattr(error, "orig", None) or error
    if is_damage(error):
        return DAMAGED
    if isinstance(original, sqlite3.Error):
        return CODES.get(_code(original) & 0xFF, DAMAGED)
    state = getattr(original, "sqlstate", None)
    if state:
        return STATES.get(state, f"the database refuses it, SQLSTATE {state}")
    return "the database is busy or away"


def _code(error: sqlite3.Error) -> int:
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return int(code)
    said = str(error)
    return next((code for text, code in TEXTS.items() if text in said), 1)
