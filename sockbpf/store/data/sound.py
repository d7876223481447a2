# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Whether an entry is as it was written: by its digest, or if it has none, by comparing its columns with its body."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, select, update

from sockbpf.store.data.columns import LATER_COLUMNS
from sockbpf.store.data.digest import digest_of, is_checked
from sockbpf.store.data.entry import Entry, alert_entry, posted_entry
from sockbpf.store.data.schema import ENTRY
from sockbpf.store.data.values import EntryError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

AT_ONCE = 500
"""Entries of one transaction."""


def is_sound_entry(row: Mapping[Any, Any]) -> bool:
    """Whether this row of the table is as it was written; without a digest not every change is seen."""
    if row.get("digest") is not None:
        return is_checked(row) or bool(row["digest"] == digest_of(row, ENTRY.c.keys()))
    try:
        entry = entry_of_body(row)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return False
    if entry is None:
        return False
    expected = {**entry.columns, "at": entry.at_s, "key": entry.key, "body": entry.body}
    return all(
        row.get(name) == value or (name in LATER_COLUMNS and row.get(name) is None)
        for name, value in expected.items()
    )


def entry_of_body(row: Mapping[Any, Any]) -> Entry | None:
    """Return the entry that the body of a row makes by itself; None if it would be refused today."""
    body = json.loads(row["body"])
    with suppress(EntryError):
        if row["key"] is None:
            return posted_entry(body, row["at"])
        return alert_entry(
            {name: value if isinstance(value, str) else json.dumps(value) for name, value in body.items()}
        )
    return None


def give_digests(connection: Connection, after: int) -> int | None:
    """Give a digest to some entries after this number that have none; return the last number, None at the end."""
    lacking = (
        select(ENTRY).where(ENTRY.c.n > after, ENTRY.c.digest.is_(None)).order_by(ENTRY.c.n).limit(AT_ONCE)
    )
    rows = connection.execute(lacking).mappings().all()
    digests = [
        {"of_n": row["n"], "of_at": row["at"], "of_digest": digest_of(row, ENTRY.c.keys())}
        for row in rows
        if is_sound_entry(row)
    ]
    if digests:
        which = (ENTRY.c.n == bindparam("of_n"), ENTRY.c.at == bindparam("of_at"))
        connection.execute(update(ENTRY).where(*which).values(digest=bindparam("of_digest")), digests)
    return int(rows[-1]["n"]) if rows else None
