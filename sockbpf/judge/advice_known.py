# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a store knows of the services of a host, of which advice is made: their samples, and what was told. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sockbpf.judge.advice import Told
from sockbpf.record.facts import Condition
from sockbpf.record.history import TYPES, Series
from sockbpf.record.service import home_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockbpf.record.history import Samples

HOUR_S = 3600
LONGEST_S = 14 * 86_400
"""So far back is asked: of more, a store answers in longer steps than hours."""
GREATEST = 2**63


@dataclass
class Known:
    """What is known of the services of a host between two times, whole hours."""

    begin_s: int
    end_s: int
    samples: dict[Series, Samples] = field(default_factory=dict)
    told: dict[Series, list[Told]] = field(default_factory=lambda: defaultdict(list))
    """Of sizes over a threshold."""
    others: dict[Series, list[Told]] = field(default_factory=lambda: defaultdict(list))
    """Of other conditions."""
    of_share: set[Series] = field(default_factory=set)
    """Those that were told of by a share of their buffer."""
    unnamed: set[tuple[str, str]] = field(default_factory=set)
    """Protocol and type of folded alerts whose sockets share no unit: of which services they are is not known."""
    left_out: int = 0
    """So many services had samples, and are not among these."""
    is_whole: bool = True
    """Whether all episodes are here."""

    @classmethod
    def between(cls, begin_s: float, end_s: float) -> Known:
        """Return one of which nothing is known yet, between these times widened to whole hours."""
        return cls(int(begin_s) // HOUR_S * HOUR_S, math.ceil(end_s / HOUR_S) * HOUR_S)

    def add_episode(self, row: Mapping[str, Any]) -> None:
        """Add an episode as `GET /episodes` shows it, if it is one of a socket; raise one of the errors of BAD."""
        if row["type"] not in TYPES:
            return
        home = home_of(f"/{row.get('unit') or ''}")
        is_unit = home.unit and not home.is_container
        series = Series(
            *(str(row["host"]), home.unit if is_unit else str(row["local_port"])),
            *(str(row["protocol"]), str(row["type"])),
        )
        if row.get("count") and not is_unit:
            self.unnamed.add((series.protocol, series.type))
        start_s, end_s = float(row["start"]), float(row["last"] if row.get("end") is None else row["end"])
        if not (math.isfinite(start_s) and math.isfinite(end_s)):
            raise ValueError("no times")
        told = Told(
            start_s,
            max(start_s, end_s),
            whole(row["peak"]),
            whole(row["threshold"]),
            str(row.get("comm") or ""),
            is_whole=row.get("ended_by") == "cleared",
            is_joined=bool(row.get("count")),
        )
        condition = row.get("condition")
        if condition == Condition.FILL.value:
            self.of_share.add(series)
        is_size = condition in {None, Condition.SIZE.value}
        (self.told if is_size else self.others)[series].append(told)


BAD = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError)
"""What reading an answer raises that is not of a store."""


def whole(value: object) -> int:
    """Return a whole number that a store can have; raise ValueError for anything else."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < GREATEST:
        raise ValueError("no number that a store has")
    return value
