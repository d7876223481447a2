# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What was told of a hang, and when; and tables of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tests.live.programs.hangs import Hang
from tests.live.programs.loads import Load
from tests.live.receiver import Receiver, Told


@dataclass(frozen=True)
class Verdict:
    """A hang, and the first alert that was wanted of it; None if none came."""

    hang: Hang
    told: Told | None
    after_s: float = 0.0

    def row(self) -> list[str]:
        """Return its row of the table."""
        if self.told is None:
            return [self.hang.name, "no", "", "", "", ""]
        told = self.told
        owner = f"{told['comm']} {told['pid']}" if "pid" in told else "not found"
        return [self.hang.name, f"{self.after_s:.1f}", told["type"], told["condition"], told["size"], owner]


HUNG = ("hung", "told after s", "type", "condition", "size", "owner")
WELL = ("well", "seconds", "done", "alerts", "crossings", "highest peak")


def verdict(hang: Hang, receiver: Receiver, netns: int) -> Verdict:
    """Return the first alert of the right type, service and owner that came after the hang began.

    If there is none, one without an owner will do: the search for owners is limited to a tenth of the time, and where
    many alerts are due at once on a busy machine some stay unknown.
    """
    for owners in (hang.owners, {0}):
        for came_s, told in list(receiver.told):
            if came_s >= hang.began_s and is_about(hang, told, netns) and int(told.get("pid", 0)) in owners:
                return Verdict(hang, told, came_s - hang.began_s)
    return Verdict(hang, None)


def is_about(hang: Hang, told: Told, netns: int) -> bool:
    """Tell whether an alert is about a hang, and right about the type of queue."""
    return (
        told["event"] != "cleared"
        and told.get("netns") == str(netns)
        and told["protocol"] == hang.protocol
        and told["type"] in hang.types
        and str(hang.port) in (told.get("local_port"), told.get("remote_port"))
        and hang.remote_ip in ("", told.get("remote_ip"))
    )


@dataclass(frozen=True)
class Noise:
    """What was told while a program was well."""

    load: Load
    told: list[Told]
    crossings: int
    """Those alone and those counted."""

    def row(self) -> list[str]:
        by_event = Counter(told["event"] for told in self.told)
        what = ", ".join(f"{count} {event}" for event, count in by_event.items()) or "none"
        most = max((int(told["peak"]) for told in self.told), default=0)
        return [
            self.load.name,
            f"{self.load.seconds:.0f}",
            self.load.work,
            what,
            str(self.crossings),
            str(most),
        ]


def noise(load: Load, told: list[Told]) -> Noise:
    """Return what of these alerts is about the load's service."""
    port = str(load.port)
    of_it = [each for each in told if port in (each.get("local_port"), each.get("remote_port"))]
    crossings = sum((each["event"] == "exceeded") + int(each.get("crossings", 0)) for each in of_it)
    return Noise(load, of_it, crossings)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown, as docs/measured.md has them."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
