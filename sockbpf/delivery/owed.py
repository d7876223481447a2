"""What is owed: one alert, to one destination, until it was taken or given up."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Owed:
    """One alert that one destination has not taken yet. `n` counts all of them, over the monitor's restarts."""

    n: int
    destination: str
    """Its name."""

    episode: str
    """The id of the alert: what has the same one is told in order."""

    made_s: float
    """Unix time."""

    body: str
    """The alert's parameters as JSON; text, because ten thousands may wait."""

    @property
    def told(self) -> dict[str, str]:
        return told_of(self.body)

    def __str__(self) -> str:
        told = self.told
        return "/".join(told[name] for name in ("id", "event", "seq") if name in told)


def body_of(told: Mapping[str, str]) -> str:
    """Return an alert as an `Owed` keeps it."""
    return json.dumps(told, separators=(",", ":"))


def told_of(body: str) -> dict[str, str]:
    """Return the alert's parameters from what an `Owed` keeps."""
    return cast("dict[str, str]", json.loads(body))
