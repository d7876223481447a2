# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How what two alerts report of one episode becomes one row, in whatever order they come.

Pure. The latest alert says whether the episode is over, and how much is in its queue; what it does not say is as the
latest of those alerts has it that say it. Where a value is not of the latest alert, `stamps` keeps of which it is.
`before` keeps the size that the alert before the latest one told, with its stamp.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sockbpf.store.data.columns import LATER_OF_EPISODES
from sockbpf.store.data.schema import EPISODE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Row = Mapping[str, Any]
    Stamp = list[Any]

LEAST_S = 0.001
BY_RUN = "run"
"""`ended_by` of an episode that a later run of the monitor ended."""
OF_A_CAUSE = ("cause", "confidence", "reason")
"""What was said of one cause is not said of another."""
OF_THE_LATEST = frozenset({"end", "last", "size", "threshold", "run"})
OF_ALL = frozenset({"host", "id", "start", "peak", "alerts", "arrived", "digest"})
PARTS: dict[str, tuple[str, ...]] = {
    "cause": OF_A_CAUSE,
    "local_ip": ("local_ip", "local_packed"),
    "remote_ip": ("remote_ip", "remote_packed"),
}
PARTS |= {
    name: (name,)
    for name in EPISODE.c.keys()  # noqa: SIM118
    if name not in OF_THE_LATEST | OF_ALL
    and name not in LATER_OF_EPISODES
    and not any(name in names for names in PARTS.values())
}
"""What an alert may leave out: the columns that go together, by the name of the first."""

TOGETHER = tuple(part for part, names in PARTS.items() if len(names) > 1)
ALONE = tuple(part for part, names in PARTS.items() if len(names) == 1)


def stamp_of(row: Row) -> Stamp:
    """Return what says which of two alerts of an episode is the later one, also where the sender's clock was set."""
    is_cleared = row["end"] is not None and row["ended_by"] != BY_RUN
    return [-1 if row["seq"] is None else row["seq"], row["last"], is_cleared]


def is_ours(row: Row) -> int:
    """Return 1 if alerts that are trusted made this row. Before it was kept who sent an alert, all were."""
    return 1 if row["trusted"] is None else int(row["trusted"])


def without_run(row: Row) -> dict[str, Any]:
    """Return the row as its alerts alone make it: a later run of the monitor has not ended it."""
    return {**row, "end": None, "ended_by": None} if row["ended_by"] == BY_RUN else dict(row)


def joined(one: Row, other: Row) -> dict[str, Any]:
    """Return what both say of one episode; beside what is trusted, what is not does not count."""
    if is_ours(one) != is_ours(other):
        return dict(one if is_ours(one) else other)
    later, earlier = (other, one) if stamp_of(other) >= stamp_of(one) else (one, other)
    row = {**later, **_filled(later, earlier)}
    row["before"] = _before(later, earlier)
    row["start"] = min(one["start"], other["start"])
    row["peak"] = max(one["peak"], other["peak"])
    row["alerts"] = one["alerts"] + other["alerts"]
    row["arrived"] = max(
        (each["arrived"] for each in (one, other) if each["arrived"] is not None), default=None
    )
    return row


def _before(later: Row, earlier: Row) -> str | None:
    """Return which alert came before the latest one, and what was in the queue then: a stamp and a size, as JSON."""
    told = {tuple(stamp_of(row)): row["size"] for row in (earlier, later)}
    for row in (earlier, later):
        if row["before"]:
            stamp, size = json.loads(row["before"])
            told.setdefault(tuple(stamp), size)
    stamps = sorted(told)[-2:-1]
    return json.dumps([stamps[0], told[stamps[0]]]) if stamps else None


def change_of(row: Row) -> float | None:
    """Return by how many bytes a second the queue grew from the alert before to the latest, where both are known.

    Alerts of the same millisecond tell nothing of that.
    """
    if not row["before"]:
        return None
    (_, before_s, _), size = json.loads(row["before"])
    seconds = row["last"] - before_s
    return (row["size"] - size) / seconds if seconds >= LEAST_S else None


def _filled(later: Row, earlier: Row) -> dict[str, Any]:
    """Return what the later alert does not say, as the row is to have it, with its stamps."""
    own = _stamps(later)
    open_parts = [part for part in ALONE if later[part] is None or part in own]
    open_parts += [part for part in TOGETHER if part in own or _is_absent(later, PARTS[part])]
    if not open_parts:
        return {"stamps": None}
    theirs, stamps = _stamps(earlier), {}
    found: dict[str, Any] = {}
    for part in open_parts:
        names = PARTS[part]
        choices = [(own[part], later)] if part in own else []
        if earlier[part] is not None or not _is_absent(earlier, names):
            choices.append((theirs.get(part) or stamp_of(earlier), earlier))
        if choices:
            stamps[part], source = max(choices, key=lambda choice: choice[0])
            found |= {name: source[name] for name in names}
    return {**found, "stamps": json.dumps(stamps) if stamps else None}


def _stamps(row: Row) -> dict[str, Stamp]:
    return json.loads(row["stamps"]) if row["stamps"] else {}


def _is_absent(row: Row, names: tuple[str, ...]) -> bool:
    return all(row[name] is None for name in names)


def one_for_each(reports: Iterable[Row]) -> list[dict[str, Any]]:
    """Join what the alerts of a batch report of the same episode; return one row for each episode, in one order.

    All stores write episodes in this order, so that two of them never wait for each other.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for report in reports:
        key = (report["host"], report["id"])
        rows[key] = joined(rows[key], report) if key in rows else dict(report)
    return [rows[key] for key in sorted(rows)]
