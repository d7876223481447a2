# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A rule that is advised for a service, as the settings take it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from sockbpf.record.cgroup import UNITS
from sockbpf.record.event import OF_BYTES
from sockbpf.record.text import printable
from sockbpf.settings.rules import MatchSettings

if TYPE_CHECKING:
    from collections.abc import Collection

    from sockbpf.record.facts import Fill
    from sockbpf.record.history import Series

CUT = 64
"""A service's name of so many characters may be the beginning of a longer one."""
NAME_LENGTH = 55
"""Of a rule's name; the number that may follow has room."""


def why_not(series: Series) -> str:
    """Return why no rule can set a threshold for a service, in words; empty if one can."""
    if series.type not in {direction.name for direction in OF_BYTES}:
        return "an accept queue is judged by its listener's backlog"
    return "" if match_of(series) else "no rule can name these sockets by their service"


def match_of(series: Series) -> dict[str, str | int] | None:
    """Return the conditions of a rule for a service; None if there are none."""
    service = series.service
    whose: dict[str, str | int]
    if service.isdecimal():
        whose = {"local_port": int(service)}
    elif service.endswith(UNITS) or len(service) == CUT:
        whose = {"unit": f"{service}*" if len(service) == CUT else service}
    else:
        return None
    return {**whose, "protocol": series.protocol, "type": series.type}


def rule_of(
    series: Series, process: str, thresholds: dict[str, object], hold_s: float
) -> dict[str, object] | None:
    """Return a rule, still without a name, for a service or a process of it; None if no condition can name it."""
    match = match_of(series)
    if match is None:
        return None
    if process:
        match["process"] = re.sub(r"([*?\[])", r"[\1]", process)  # a name, no pattern
    try:
        MatchSettings.model_validate(match)
    except ValueError:  # a process or a unit can have a name that no condition can have
        return None
    hold = f"{hold_s:.3f}".rstrip("0").rstrip(".")
    return {"match": match, "thresholds": thresholds, "hold": f"{hold}s"}


def rule_text(said: str, rule: dict[str, object]) -> str:
    """Return a rule behind what is said of it, as YAML for the top of the list that the settings have as `rules`."""
    return f"  # {printable(said)}\n  - {json.dumps(rule, ensure_ascii=False, default=_share)}\n"


def _share(value: Fill) -> str:
    """Return a share of the buffer as settings write it."""
    return f"{value.percent}%"


def name_of(series: Series, taken: Collection[str]) -> str:
    """Return a name for the rule of a service that is none of those that are taken."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", f"advised-{series.service}-{series.type}")[:NAME_LENGTH]
    name, number = plain, 1
    while name in taken:
        number += 1
        name = f"{plain}-{number}"
    return name
