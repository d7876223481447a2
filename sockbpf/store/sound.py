"""Whether an entry is as it was written: by its sum; without one by what columns and body both say."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sockbpf.store.digest import digest_of
from sockbpf.store.entry import Entry, EntryError, alert_entry, posted_entry
from sockbpf.store.schema import ENTRY

if TYPE_CHECKING:
    from collections.abc import Mapping


def is_sound_entry(row: Mapping[Any, Any]) -> bool:
    """Whether this row of the table is as it was written, as far as can be told."""
    if row.get("digest") is not None:
        return bytes(row["digest"]) == digest_of(row, ENTRY.c.keys())
    try:
        entry = said_by(row)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return False
    if entry is None:
        return False
    said = {**entry.columns, "at": entry.at_s, "key": entry.key, "body": entry.body}
    return all(row[name] == value for name, value in said.items())


def said_by(row: Mapping[Any, Any]) -> Entry | None:
    """Return what the body of a row says by itself, None if it could not be kept today."""
    body = json.loads(row["body"])
    with suppress(EntryError):
        if row["key"] is None:
            return posted_entry(body, row["at"])
        return alert_entry(
            {name: value if isinstance(value, str) else json.dumps(value) for name, value in body.items()}
        )
    return None
