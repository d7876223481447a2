# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Brings the table of hosts up to date with what new alerts report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sockbpf.store.data import bulk
from sockbpf.store.data.digest import digest_of, is_sound
from sockbpf.store.data.kept import entries_of_host
from sockbpf.store.data.schema import HOST
from sockbpf.store.data.words import joined_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from sockbpf.store.data.entry import Entry

    Hosts = Mapping[tuple[str, int], Mapping[str, Any] | None]
    """Host, and 1 for what is trusted -> its row, None for one that is damaged."""

NAMES = tuple(HOST.c.keys())


def tell_hosts(connection: Connection, new: Sequence[Entry], arrived_s: float) -> Hosts:
    """Join what these entries report with what is in the table; return the rows of their hosts.

    As in `tell_episodes`, nobody else changes them meanwhile.
    """
    words: dict[tuple[str, int], dict[str, Any]] = {}
    for entry in new:
        if entry.word is None:
            continue
        heard_s = arrived_s if entry.arrived_s is None else entry.arrived_s
        key = (entry.word["host"], int(entry.trusted))
        word = {**entry.word, "heard": heard_s}
        words[key] = joined_words(words[key], word) if key in words else word
    if not words:
        return {}
    stored = _stored(connection, sorted({host for host, _ in words}))
    rows = {}
    for key in sorted(words):
        row = stored.get(key) or _of_entries(connection, key, words[key])
        rows[key] = {**joined_words(row, words[key]), "trusted": key[1]}
    for row in rows.values():
        row["digest"] = digest_of(row, NAMES)
    bulk.put(connection, HOST, list(rows.values()), stored)
    return {**stored, **rows}


def _of_entries(connection: Connection, key: tuple[str, int], word: dict[str, Any]) -> dict[str, Any]:
    """Return the row of a host that is new, or whose row was damaged, as its entries make it."""
    host, trusted = key
    for entry in entries_of_host(connection, host):
        if entry.word and int(entry.trusted) == trusted:
            word = joined_words(word, {**entry.word, "heard": entry.arrived_s})
    return word


def _stored(connection: Connection, hosts: list[str]) -> dict[tuple[str, int], Mapping[str, Any] | None]:
    """Return the rows of these hosts; None for one that is damaged."""
    keys = [(host,) for host in hosts]
    found = (
        dict(zip(NAMES, row, strict=True)) for row in bulk.find(connection, HOST, ("host",), keys, NAMES)
    )
    return {(row["host"], row["trusted"]): row if is_sound(row, HOST) else None for row in found}
