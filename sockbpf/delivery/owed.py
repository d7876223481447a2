# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""An owed alert: one alert for one destination, until the destination has taken it or it is given up."""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, dataclass, replace
from dataclasses import fields as fields_of_class
from typing import TYPE_CHECKING, Any, cast

from sockbpf.record.alert import CLEARED, EXCEEDED, ONGOING
from sockbpf.record.event import NO_UID

if TYPE_CHECKING:
    from collections.abc import Mapping

BEGINS, REPEATS, ENDS = (f'"event":"{event}"' for event in (EXCEEDED, ONGOING, CLEARED))
"""The parts of a body by which the event is known without parsing; no value contains one, its quotes are escaped."""

MAX_BODY = 32 * 1024
"""The most characters of an alert's body, far more than the 8 KiB of a request's line that servers take."""

NEEDED = ("timestamp", "event", "id", "seq")
"""The fields that every alert in the journal has; only heartbeats, which are not written there, have no id."""


class SenselessError(ValueError):
    """A body does not hold the fields of an alert."""


@dataclass(frozen=True, slots=True)
class Owed:
    """One alert that one destination has not taken yet. `n` numbers all owed alerts, over the monitor's restarts.

    A new attribute needs a default, for alerts in the journals of earlier versions.
    """

    n: int
    destination: str
    """Its name."""

    episode: str
    """The alert's `id`: alerts with the same one are delivered in order."""

    made_s: float
    """Unix time at which the alert was made."""

    body: str
    """The alert's fields as JSON; a text takes less memory than a dict, and ten thousands may wait."""

    account: int = NO_UID
    """Whose sockets it is about, see `account_of`."""

    service: str = ""
    """Protocol, direction and local port of its sockets."""

    boot: str = ""
    """The id of the host's boot in which the alert was made; empty where that is not known."""

    boot_s: float = 0.0
    """CLOCK_BOOTTIME of that boot when the alert was made: its age goes by a clock that nobody corrects."""

    @property
    def repeats(self) -> bool:
        """Whether it is an `ongoing`."""
        return REPEATS in self.body

    @property
    def begins(self) -> bool:
        """Whether it is an `exceeded`."""
        return BEGINS in self.body

    @property
    def ends(self) -> bool:
        """Whether it is a `cleared`."""
        return ENDS in self.body

    @property
    def fields(self) -> dict[str, str]:
        """The alert's fields; the body is parsed each time."""
        return fields_of(self.body)

    def __str__(self) -> str:
        return named(self.body) or f"number {self.n}"


TYPES = {"int": int, "str": str, "float": float}
HEAD = {field.name: field for field in fields_of_class(Owed) if field.name != "body"}
"""The attributes beside the body, by name."""


def of_this_boot(alerts: list[Owed], boot: str, now_s: float) -> list[Owed]:
    """Return the alerts with `boot_s` on the clock of this boot, negative for those of an earlier boot.

    No alert gets older than can be proven: an earlier boot lasted at least until the last of its alerts, but how long
    the host was off is not known. `now_s` is CLOCK_BOOTTIME.
    """
    ends_s: dict[str, float] = {}
    for owed in alerts:
        ends_s[owed.boot] = max(owed.boot_s, ends_s.get(owed.boot, owed.boot_s))
    return [
        replace(owed, boot=boot, boot_s=_since_s(owed, boot, ends_s[owed.boot], now_s)) for owed in alerts
    ]


def _since_s(owed: Owed, boot: str, end_s: float, now_s: float) -> float:
    if not owed.boot:
        return now_s
    return min(owed.boot_s, now_s) if owed.boot == boot else owed.boot_s - end_s


def body_of(fields: Mapping[str, str]) -> str:
    """Return the fields of an alert as the body of an `Owed`."""
    return json.dumps(fields, separators=(",", ":"))


def service_of(fields: Mapping[str, str]) -> str:
    """Return which service an alert is about; blanks for a heartbeat."""
    return " ".join(fields.get(name, "") for name in ("protocol", "type", "local_port"))


def fields_of(body: str) -> dict[str, str]:
    """Return the fields of an alert from a body. Raise SenselessError if these are not texts by name."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise SenselessError("no JSON") from None
    if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
        raise SenselessError("not texts by name")
    return cast("dict[str, str]", fields)


def named(body: str) -> str:
    """Return how the log names an alert: id, event and seq, as far as it has them; empty if it has none."""
    try:
        return name_of(fields_of(body))
    except SenselessError:
        return ""


def name_of(fields: Mapping[str, str]) -> str:
    """Return how the log names the alert with these fields."""
    return "/".join(fields[name] for name in ("id", "event", "seq") if name in fields)


def head_of(owed: Owed) -> dict[str, Any]:
    """Return all but the body, as values that JSON knows."""
    return {name: getattr(owed, name) for name in HEAD}


def owed_of(head: object, body: str) -> Owed:
    """Return the `Owed` of a head and a body from the journal; raise ValueError where they are none."""
    if not isinstance(head, dict):
        raise ValueError("expected an object")  # noqa: TRY004, one error for whatever makes no sense
    known = {name: value for name, value in head.items() if name in HEAD}
    for name, field in HEAD.items():
        if name not in known and field.default is MISSING:
            raise ValueError(f"expected {name}")
        if name in known and type(known[name]) is not TYPES[str(field.type)]:
            raise ValueError(f"expected {field.type} as {name}")
    owed = Owed(**known, body=body)
    if not 0 <= owed.n < 2**63 or not math.isfinite(owed.made_s + owed.boot_s):
        raise ValueError("expected numbers that can be")
    check_alert(body)
    return owed


def check_alert(body: str) -> None:
    """Raise ValueError unless the body is an object of texts with the fields that every alert has."""
    if len(body) > MAX_BODY:
        raise ValueError(f"expected at most {MAX_BODY} characters")
    fields = fields_of(body)
    if missing := [name for name in NEEDED if name not in fields]:
        raise ValueError(f"expected {', '.join(missing)}")
    if not (fields["seq"].isascii() and fields["seq"].isdigit() and int(fields["seq"]) < 2**63):
        raise ValueError("expected a number as seq")
    if not math.isfinite(float(fields["timestamp"])):
        raise ValueError("expected a time as timestamp")
    "".join([*fields, *fields.values()]).encode()  # half of a surrogate pair could never be sent
