# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What alerts and the events of a monitor report of its host, and how two such reports become one.

Pure. Reports come late, twice, in any order and from several stores: joined in any order they give the same row. Each
group of columns below is kept as the report with the greatest time had it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sockbpf.counters import NAMES
from sockbpf.record.alert import HEARTBEAT, STARTED, STOPPED
from sockbpf.record.labels import labels_of, text_of
from sockbpf.store.data.values import MOST_INTEGER, searchable, seconds_or_none

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_UNSEEN = 1024
"""So many characters are kept of what a monitor has no hooks for, and of its silences."""

WORD = ("last", "is_last", "seq", "event", "run")
START = ("started", "started_run")
ABOUT = ("about_at", "version", "kernel", "mode", "unseen", "repeat", "heartbeat", "silences", "labels")
COUNTS = ("counts_at", "open", "lost_ago", "counters")
GROUPS = (WORD, START, ABOUT, COUNTS)
"""The columns that are kept together, the time of the report first."""
NOTHING = {name: None for group in GROUPS for name in group if name != "is_last"}


def word_of(body: Mapping[str, Any], columns: Mapping[str, object]) -> dict[str, Any]:
    """Return the row that an alert, or an event about the monitor, makes of its host by itself."""
    event, at_s = body["event"], body["timestamp"]
    word = {
        **NOTHING,
        "host": columns["host"],
        "last": at_s,
        "event": event,
        "seq": body.get("seq"),
        "run": columns["run"],
    }
    if event == STARTED and columns["run"]:
        word |= {"started": at_s, "started_run": columns["run"]}
    if event in {STARTED, HEARTBEAT} and "version" in body:
        word |= {"about_at": at_s, **_about(body)}
    if event == HEARTBEAT:
        word |= {"counts_at": at_s, **_counts(body)}
    return word


def _about(body: Mapping[str, Any]) -> dict[str, Any]:
    texts = {name: searchable(str(body[name])) for name in ("version", "kernel", "mode") if name in body}
    unseen = str(body.get("unseen", ""))
    return {
        **texts,
        "unseen": searchable(unseen, MOST_UNSEEN) or None,
        "repeat": seconds_or_none(body.get("repeat")),
        "heartbeat": seconds_or_none(body.get("heartbeat")),
        "silences": searchable(str(body.get("silences", "")), MOST_UNSEEN) or None,
        "labels": text_of(labels_of(str(body.get("labels", "")))) or None,
    }


def _counts(body: Mapping[str, Any]) -> dict[str, Any]:
    counts = {name: _whole(body[name]) for name in NAMES if name in body}
    return {
        "open": _whole(body.get("open_episodes")),
        "lost_ago": seconds_or_none(body.get("lost_ago")),
        "counters": json.dumps({name: count for name, count in counts.items() if count}),
    }


def _whole(value: object) -> int | None:
    text = str(value)
    is_whole = text.isascii() and text.isdecimal() and len(text) < len(str(MOST_INTEGER))
    return int(text) if is_whole else None


def joined_words(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return what both say of one host."""
    joined = {"host": one["host"], "heard": max(one["heard"], other["heard"])}
    for group in GROUPS:
        newer = _newer(one, other, group)
        joined |= {name: newer[name] for name in group if name != "is_last"}
    return joined


def _newer(one: Mapping[str, Any], other: Mapping[str, Any], group: tuple[str, ...]) -> Mapping[str, Any]:
    mine, theirs = one[group[0]], other[group[0]]
    if mine is None or theirs is None or mine != theirs:
        return one if theirs is None or (mine is not None and mine > theirs) else other
    return max(one, other, key=lambda row: _order(row, group))


def _order(row: Mapping[str, Any], group: tuple[str, ...]) -> list[tuple[bool, Any]]:
    """Return what says which of two reports counts: the later, and of two of one time always the same one."""
    values = [row["event"] == STOPPED if name == "is_last" else row[name] for name in group]
    return [(value is not None, value if value is not None else 0) for value in values]
