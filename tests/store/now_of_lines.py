# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is over now by the lines of an alert file, by the rule of docs/now.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Line = dict[str, Any]


def open_by_lines(path: Path) -> list[Line]:
    """Return the last alert of each episode that the file shows open."""
    last: dict[tuple[str, str], Line] = {}
    started: dict[str, Line] = {}
    for text in path.read_text().splitlines():
        line: Line = json.loads(text)
        if line["event"] == "started":
            started[line["host"]] = max(started.get(line["host"], line), line, key=_at)
        elif "type" in line:
            episode = line["host"], line["id"]
            last[episode] = max(last.get(episode, line), line, key=lambda one: one["seq"])
    return [line for line in last.values() if line["event"] != "cleared" and not _left(line, started)]


def _left(line: Line, started: dict[str, Line]) -> bool:
    """Tell whether a run has started since that has not told of the episode."""
    later = started.get(line["host"])
    return later is not None and later["run"] != line["run"] and _at(later) > _at(line)


def _at(line: Line) -> float:
    return float(line["timestamp"])
