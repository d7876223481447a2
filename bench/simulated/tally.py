# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What became of all that the hosts of a fleet told."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sockbpf.delivery.owed import Owed
from sockbpf.record.alert import HEARTBEAT

Identity = tuple[str, str, str, str]
"""`host`, `id`, `event` and `seq` of an alert."""


def identity(fields: Mapping[str, object]) -> Identity:
    host, id_, event, seq = (str(fields[name]) for name in ("host", "id", "event", "seq"))
    return host, id_, event, seq


def _seconds() -> array[float]:
    return array("d")


@dataclass
class Tally:
    """Seconds are simulated ones."""

    told: set[Identity] = field(default_factory=set)
    """All alerts but heartbeats."""
    owed: set[Identity] = field(default_factory=set)
    """Of these, those that no receiver had answered for when the hosts were stopped."""
    lags_s: array[float] = field(default_factory=_seconds)
    """Of alerts, from the moment that they are about to the answer."""
    made_s: array[float] = field(default_factory=_seconds)
    """The moments that the same alerts are about."""
    beat_lags_s: array[float] = field(default_factory=_seconds)
    """The same of heartbeats."""
    late_s: array[float] = field(default_factory=_seconds)
    """How much later than it should the simulation itself had a host tell something."""
    answered: int = 0
    retried: int = 0
    refused: int = 0
    given_up: int = 0
    """Alerts beyond the most that a monitor may owe."""
    unsent_beats: int = 0
    """Heartbeats that were not sent because something was owed already."""
    out_of_order: int = 0
    most_owed: int = 0
    """Of one host at one time."""
    requests: int = 0
    connections: int = 0
    sent: int = 0
    received: int = 0
    """Bytes of HTTP."""
    _last: dict[str, dict[str, int]] = field(default_factory=dict)
    """By host and open episode, the number of the alert that was answered last."""

    def caught_up_s(self, since_s: float) -> float:
        """Return how long after this moment the last alert from before it was answered."""
        answered = zip(self.made_s, self.lags_s, strict=True)
        return max((at_s + lag_s - since_s for at_s, lag_s in answered if at_s < since_s), default=0.0)

    def count_answered(self, host: str, alerts: Sequence[Owed], now_s: float) -> None:
        """Take note that a receiver has answered for these alerts of a host."""
        self.answered += len(alerts)
        for owed in alerts:
            if owed.episode == HEARTBEAT:
                self.beat_lags_s.append(now_s - owed.made_s)
                continue
            self.lags_s.append(now_s - owed.made_s)
            self.made_s.append(owed.made_s)
            last = self._last.setdefault(host, {})
            self.out_of_order += owed.n <= last.get(owed.episode, 0)
            last[owed.episode] = owed.n
            if owed.ends:
                del last[owed.episode]
