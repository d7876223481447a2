# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is over, by a model that knows all alerts at once, and looks at them one by one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sockbpf.store.data.entry import Entry, alert_entry
from tests.store.serving import told

Found = tuple[str, float | None, str | None, int]

REPEAT_S, BEAT_S = 2.0, 4.0


@dataclass(frozen=True)
class Alert:
    """One alert, or word of a monitor, and when it arrives; its `seq` is unique."""

    seq: int
    host: str
    id: str
    event: str
    at_s: int
    run: str
    trusted: bool
    arrived_s: int
    unit: str

    def entry(self) -> Entry:
        changed: dict[str, Any] = {
            "seq": self.seq, "host": self.host, "event": self.event, "timestamp": f"{self.at_s}.000000",
            "id": self.id, "run": self.run, "duration": min(self.at_s, 1),
            **({"unit": self.unit} if self.unit else {}),
        }  # fmt: skip
        fields = told(self.seq, **changed)
        if self.event in {"started", "stopped", "heartbeat"}:
            fields = {name: fields[name] for name in ("seq", "host", "event", "timestamp", "run")}
            fields |= {"id": self.run, "version": "1", "repeat": str(REPEAT_S), "heartbeat": str(BEAT_S)}
        entry = alert_entry(fields)
        return replace(entry, trusted=self.trusted, arrived_s=float(self.arrived_s))


def is_of_episode(alert: Alert) -> bool:
    return alert.event in {"exceeded", "ongoing", "cleared"}


def states(alerts: list[Alert], now_s: float) -> dict[tuple[str, str], Found]:
    """Return what is to be found of each episode: its state, its end, its unit, and how many alerts it has."""
    found = {}
    for key, ours in _that_count(alerts).items():
        state = _state(ours, [each for each in alerts if each.host == key[0]], now_s)
        units = [each.unit for each in ours if each.unit]
        found[key] = (*state, units[-1] if units else None, len(ours))
    return found


def changes(alerts: list[Alert]) -> dict[tuple[str, str], float | None]:
    """Return by how many bytes a second the queue of each episode grew between its last two alerts.

    An alert's size is a number and its `seq`.
    """
    found: dict[tuple[str, str], float | None] = {}
    for key, ours in _that_count(alerts).items():
        seconds = ours[-1].at_s - ours[-2].at_s if len(ours) > 1 else 0
        found[key] = (ours[-1].seq - ours[-2].seq) / seconds if seconds > 0 else None
    return found


def _that_count(alerts: list[Alert]) -> dict[tuple[str, str], list[Alert]]:
    """Return the alerts of each episode by `seq`: those that are trusted, or if none is, all."""
    found = {}
    for key in {(each.host, each.id) for each in alerts if is_of_episode(each)}:
        its = [each for each in alerts if is_of_episode(each) and (each.host, each.id) == key]
        found[key] = sorted([each for each in its if each.trusted] or its, key=lambda each: each.seq)
    return found


def _state(its: list[Alert], of_host: list[Alert], now_s: float) -> tuple[str, float | None]:
    latest = max(its, key=lambda each: each.seq)
    if latest.event == "cleared":
        return "ended", latest.at_s
    later = [
        each.at_s
        for each in of_host
        if each.event == "started"
        and each.at_s > latest.at_s
        and each.run != latest.run
        and each.trusted >= latest.trusted
    ]
    if later:
        return "ended", min(later)
    words = [each for each in of_host if each.trusted == latest.trusted]
    last = max(words, key=lambda each: (each.at_s, each.event == "stopped", each.seq))
    if last.event == "stopped":
        return "not-heard", None
    has_told = [each for each in words if each.event in {"started", "heartbeat"}]
    if has_told and max(each.arrived_s for each in words) + 3 * BEAT_S < now_s:
        return "silent", None
    repeat_s = REPEAT_S if has_told else 60.0
    heard_s = max(each.arrived_s for each in its)
    return ("not-heard" if heard_s + 3 * repeat_s < now_s else "over"), None
