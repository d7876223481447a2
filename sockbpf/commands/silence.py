# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`sockbpf silence`: has the running monitor say nothing of some queues for a time; lists and ends that."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sockbpf.errors import ConfigError
from sockbpf.monitor.asking import order
from sockbpf.record.text import printable
from sockbpf.settings.silences import conditions_of, reason_of, seconds_of, shown

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is typed; None where it is not."""

    match: str | None
    duration: str | None
    reason: str | None
    end: str | None
    is_list: bool


def silence(path: Path, wanted: Wanted) -> int:
    """Do what is wanted by the monitor that answers at this socket, and print what it says."""
    answer = order(path, _order_of(wanted))
    if faults := answer.get("faults"):
        raise ConfigError([printable(str(each)) for each in faults])
    lines = [_line(each) for each in answer["silences"]]
    ended = "ended: " if wanted.end else ""
    print("\n".join(f"{ended}{line}" for line in lines) or "no silences")
    if answer.get("kept"):
        print(f"but not kept over a restart of the monitor: {printable(str(answer['kept']))}")
    return 0


def _order_of(wanted: Wanted) -> dict[str, Any]:
    given = [wanted.match is not None, wanted.end is not None, wanted.is_list]
    if sum(given) != 1:
        raise ConfigError(["expected one of --match, --end and --list"])
    if wanted.match is None:
        if wanted.duration is not None or wanted.reason is not None:
            raise ConfigError(["--for and --reason go with --match"])
        return {"do": "list"} if wanted.is_list else {"do": "end", "id": wanted.end}
    if wanted.duration is None:
        raise ConfigError(["--for: for how long? such as --for 2h"])
    return {
        "do": "silence",
        "match": conditions_of(wanted.match),
        "for": seconds_of(wanted.duration),
        "reason": reason_of(wanted.reason or ""),
    }


def _line(silence: dict[str, Any]) -> str:
    until = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(silence["until"]))
    reason = f" ({silence['reason']})" if silence["reason"] else ""
    return printable(f"{silence['id']} until {until}: {shown(silence['match'])}{reason}")
