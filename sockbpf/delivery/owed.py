"""What is owed: one alert, to one destination, until it was taken or given up."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Mapping


class SenselessError(ValueError):
    """A body is not the parameters of an alert."""


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
        return named(self.body) or f"number {self.n}"


def body_of(told: Mapping[str, str]) -> str:
    """Return an alert as an `Owed` keeps it."""
    return json.dumps(told, separators=(",", ":"))


def told_of(body: str) -> dict[str, str]:
    """Return the alert's parameters from what an `Owed` keeps. Raise SenselessError if they are not texts by name."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        raise SenselessError("no JSON") from None
    if not isinstance(told, dict) or not all(isinstance(value, str) for value in told.values()):
        raise SenselessError("not texts by name")
    return cast("dict[str, str]", told)


def named(body: str) -> str:
    """Return how the log names an alert: id, event and seq, as far as it has them; empty if it has none."""
    try:
        told = told_of(body)
    except SenselessError:
        return ""
    return "/".join(told[name] for name in ("id", "event", "seq") if name in told)
