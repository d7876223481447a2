# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Advice on real programs: some are well, some hang, advice is asked for; by it what hangs is told, and no other.

Both runs start the same programs in the same order, each in a network namespace of its own: they have the same ports.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from bench.advised import advised
from bench.figure import Figure
from sockbpf.record.history import STEP_S
from tests.live.monitoring import start
from tests.live.programs import loads, more_hangs
from tests.live.programs.hangs import Hang
from tests.live.programs.place import Place, place
from tests.live.programs.told_of import Noise, Verdict, noise, verdict
from tests.live.receiver import Receiver, Told, receiving
from tests.live.waiting import until
from tests.store.serving import start_store

SECONDS = 60
PATIENCE_S = 40
ENDS_S = 30

Hangs = Callable[[Place], Iterator[Hang]]


@dataclass(frozen=True)
class Watched:
    """What was told of programs that were well, and of others that hung."""

    well: list[Noise]
    hung: list[Verdict]

    @property
    def ports(self) -> list[int]:
        return [*(each.load.port for each in self.well), *(each.hang.port for each in self.hung)]

    @property
    def minutes(self) -> float:
        return sum(each.load.seconds for each in self.well) / 60

    @property
    def alerts(self) -> list[Told]:
        """Those about queues of programs that were well."""
        return [told for each in self.well for told in each.told if told["type"] != "RATE"]

    @property
    def untold(self) -> list[str]:
        """The hangs of which nothing was told."""
        return [each.hang.name for each in self.hung if each.told is None]


@dataclass(frozen=True)
class Tried:
    """The same by the settings before and by what was advised."""

    before: Watched
    after: Watched
    rules: list[dict[str, Any]]
    services: int
    """Of how many there was a history."""


def tried(
    folder: Path, well: Sequence[str], hangs: Sequence[Hangs], seconds: float, settings: Mapping[str, Any]
) -> Tried:
    """Watch programs, ask for advice, and watch them by it; each load is `seconds` long."""
    store = start_store(folder / "store", f"sqlite:///{folder / 'alerts.sqlite'}")
    try:
        kept = {"destinations": [{"type": "store", "url": store.url}]}
        before = watched(folder / "before", {**settings, **kept}, well, hangs, seconds)
        config = folder / "before" / "config.yaml"
        services, rules = advised(config, "1h")
    finally:
        store.stop()
    after = watched(folder / "after", {**settings, "rules": rules}, well, hangs, seconds)
    assert before.ports == after.ports, "advice names a service by its port"
    return Tried(before, after, rules, len(services))


def watched(
    folder: Path, settings: Mapping[str, Any], well: Sequence[str], hangs: Sequence[Hangs], seconds: float
) -> Watched:
    """Run a monitor by these settings while programs are well, and then while others hang."""
    folder.mkdir()
    with ExitStack() as stack:
        receiver = stack.enter_context(receiving())
        own = {
            "url": receiver.url,
            "journal": {"path": str(folder / "journal")},
            "status": {"socket": "none"},
        }
        config = folder / "config.yaml"
        config.write_text(yaml.safe_dump({**own, **settings}))
        monitor = start(config, stack)
        monitor.wait_armed()
        with place() as here:
            done = [loads.run(name, here, seconds) for name in well]
            hung = [each for group in hangs for each in group(here)]
            found = _verdicts(hung, receiver, here.number)
            if "destinations" in settings:  # a store, that has the history
                _wait_for_a_look()
            netns = str(here.number)
        _wait_for_ends(receiver, netns)
        assert monitor.stop() == 0
        told = [told for _, told in list(receiver.told) if told.get("netns") == netns]
    return Watched([noise(each, told) for each in done], found)


def _verdicts(hung: Sequence[Hang], receiver: Receiver, netns: int) -> list[Verdict]:
    """Return what is told of each, once it is or has not been for long."""
    ends_s = time.time() + PATIENCE_S
    while True:
        found = [verdict(each, receiver, netns) for each in hung]
        if all(each.told for each in found) or time.time() > ends_s:
            return found
        time.sleep(0.1)


def _wait_for_a_look() -> None:
    """Wait until the history has seen what hangs: each look is in the middle of its step."""
    look_s = (time.time() - STEP_S / 2) // STEP_S * STEP_S + 1.5 * STEP_S
    until(lambda: time.time() > look_s + 0.5, "a look was due", 2 * STEP_S)


def _wait_for_ends(receiver: Receiver, netns: str) -> None:
    """Wait for the ends of what was told, as the programs are gone; not for long, where an end is not seen."""
    ends_s = time.time() + ENDS_S
    while time.time() < ends_s:
        events = Counter(told["event"] for _, told in list(receiver.told) if told.get("netns") == netns)
        if events["exceeded"] == events["cleared"]:
            return
        time.sleep(0.1)


def measure(*, quick: bool) -> list[Figure]:
    """Return what was told by advice of all programs; nothing quick: a test tries some of them."""
    if quick:
        return []
    with TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        of = tried(Path(folder), list(loads.ALL), more_hangs.ALL, SECONDS, {})
    for line in _lines(of):
        print(line, file=sys.stderr)
    told = [each.told for each in of.after.hung if each.told]
    conditions = Counter(each["condition"] for each in told)
    advised = sum(each.get("rule", "").startswith("advised-") for each in told)
    slowest_s = max((each.after_s for each in of.after.hung if each.told), default=0.0)
    return [
        Figure(
            f"hangs of real programs, told by what is advised, {len(of.rules)} rules for {of.services} services",
            f"of {len(of.after.hung)}",
            (len(told),),
            "all",
            not of.after.untold,
            note=f"{', '.join(f'{count} {name}' for name, count in conditions.items())}, {advised} by a rule that is "
            f"advised; the last after {slowest_s:.1f} s; before: {len(of.before.hung) - len(of.before.untold)}",
        ),
        Figure(
            f"alerts about queues in {of.after.minutes:.0f} minutes of real programs that are well, by the same",
            "alerts",
            (len(of.after.alerts),),
            "none",
            not of.after.alerts,
            note=f"before: {len(of.before.alerts)}",
        ),
    ]


def _lines(of: Tried) -> Iterator[str]:
    for rule in of.rules:
        yield f"advised: {json.dumps(rule)}"
    for verdict_ in of.after.hung:
        told = verdict_.told or {}
        by = [told.get(name, "") for name in ("type", "condition", "size", "threshold", "rule")]
        yield f"hung: {verdict_.hang.name}: {verdict_.after_s:.1f} s, {' '.join(by) if told else 'not told'}"
    for each in of.after.well:
        yield f"well: {' | '.join(each.row())}"
