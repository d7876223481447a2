# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Tries advice: days of a host are watched, advice is asked for, and the same days are watched by what was advised.

What `--write` prints is tried as it is. Beside that each rung of a service's ladder is tried, on a copy of the
service at a port of its own, in the same run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bench.advised import advised
from bench.replayed.days import SETTINGS, Days, rules
from bench.replayed.host import Played, play
from bench.replayed.record import Service
from sockbpf.judge.advice import Told, times_of
from sockbpf.settings.config import load
from tests.live.receiver import Receiver, receiving
from tests.store.serving import Store, start_store

FIRST_COPY = 10_000
KEPT = "720h"

Kind = tuple[str, str, str]
"""Service, protocol and type."""


@dataclass(frozen=True)
class Rung:
    """Levels that advice has tried, what it says they tell, and what they told."""

    service: Service
    threshold: int
    hold_s: float
    least: int
    seen: int
    most: int | None
    told: int = 0
    """Times, as advice counts them."""
    is_proposed: bool = False
    reason: str = ""

    @property
    def is_exact(self) -> bool:
        return self.least == self.most

    @property
    def is_right(self) -> bool:
        """Whether what was told is what was said, or within its bounds."""
        return self.least <= self.told and (self.most is None or self.told <= self.most)

    def __str__(self) -> str:
        said = f"{self.least}" if self.is_exact else f"{self.least} to {self.most}, about {self.seen}"
        return (
            f"{self.service.name} {self.service.port}: {self.threshold} for {self.hold_s:g} s: "
            f"{said}; told {self.told}{'' if self.is_right else ' WRONG'}"
        )


@dataclass
class Trial:
    """What became of it."""

    first: Played
    again: Played
    told: dict[Kind, list[Told]]
    """By the settings before."""
    rungs: list[Rung] = field(default_factory=list)
    proposals: list[Rung] = field(default_factory=list)
    unadvised: dict[str, str] = field(default_factory=dict)
    """Service -> why."""

    @property
    def wrong(self) -> list[Rung]:
        return [each for each in (*self.rungs, *self.proposals) if not each.is_right]


def tried(folder: Path, days: Days, begins_s: int, seconds: int, changed: Mapping[str, Any]) -> Trial:
    """Watch, ask, and watch again; `changed` are settings besides."""
    settings: dict[str, Any] = {
        "journal": {"path": "none"},
        "status": {"socket": "none"},
        "store": {"listen": ""},
        "listeners": {"backlog": 0},
        "rates": {},
        "log": "warning",
        "events": ["exceeded", "cleared"],
        "rules": rules(by_unit=days.by_unit),
        **changed,
    }
    with receiving() as receiver:
        store = start_store(folder / "store", f"sqlite:///{folder / 'alerts.sqlite'}", history={"keep": KEPT})
        try:
            config = _written(folder / "first.yaml", receiver, settings, store)
            first = play(load(config), days.services, begins_s, seconds)
            told = told_of(receiver)
            advice, written = advised(config, "14d")
        finally:
            store.stop()
    rungs = list(_rungs(days, advice))
    copies = [days.sockets.copied(rung.service, FIRST_COPY + place) for place, rung in enumerate(rungs)]
    of_copies = [_rule(rung, copy) for rung, copy in zip(rungs, copies, strict=True)]
    with receiving() as receiver:
        rules_again = [*written, *of_copies, *settings["rules"]]
        config = _written(folder / "again.yaml", receiver, settings | {"rules": rules_again})
        again = play(load(config), [*days.services, *copies], begins_s, seconds)
        told_again = told_of(receiver)
    trial = Trial(first, again, told)
    for rung, copy in zip(rungs, copies, strict=True):
        trial.rungs.append(_with(rung, told[_kind(rung.service)], told_again[_kind(copy)]))
    for each in advice:
        service = _service(days, each["service"])
        if not each["tried"]:
            trial.unadvised[service.name] = each["reason"]
        elif each["proposal"]:
            rung = _rung(service, each["proposal"], is_proposed=True, reason=each["reason"])
            kind = (each["service"], *service.kind)
            trial.proposals.append(_with(rung, told[kind], told_again[kind]))
    return trial


def told_of(receiver: Receiver) -> dict[Kind, list[Told]]:
    """Return what a receiver was told of sizes over a threshold, by service."""
    begun: dict[str, dict[str, str]] = {}
    found: dict[Kind, list[Told]] = defaultdict(list)
    alerts = sorted((told for _, told in receiver.told), key=lambda told: int(told["seq"]))
    for told in alerts:
        if told.get("condition") != "size":
            continue
        assert "count" not in told, "nothing is folded: a service has few queues"
        if told["event"] == "exceeded":
            begun[told["id"]] = told
        else:
            first = begun.pop(told["id"])
            kind = told.get("unit", told["local_port"]), told["protocol"], told["type"]
            times = float(first["timestamp"]), float(told["timestamp"])
            found[kind].append(Told(*times, int(told["peak"]), int(told["threshold"]), told["comm"]))
    assert not begun, "a record ends with empty queues"
    return found


def _with(rung: Rung, before: Sequence[Told], now: Sequence[Told]) -> Rung:
    """Return the rung with how often it was told: by times of before that have one, and what is in none; or all."""
    threshold, hold_s = present(rung.service)
    is_within = rung.threshold >= threshold and rung.hold_s >= hold_s
    times = [(time[0].start_s, max(each.end_s for each in time)) for time in times_of(before)]
    within = [sum(begins_s <= each.start_s <= ends_s for each in now) > 0 for begins_s, ends_s in times]
    besides = [
        each for each in now if not any(begins_s <= each.start_s <= ends_s for begins_s, ends_s in times)
    ]
    told = sum(within) + len(besides) if is_within else len(times_of(now))
    return Rung(**{**vars(rung), "told": told})


def present(service: Service) -> tuple[int, float]:
    """Return threshold and hold that the host has for a service."""
    its = SETTINGS.get(service.port // 100 * 100, {})
    if not its:
        return 2**20, 10.0
    return int(its["thresholds"]["send"].removesuffix("KiB")) * 2**10, float(its["hold"].removesuffix("s"))


def _kind(service: Service) -> Kind:
    return _name(service), *service.kind


def _name(service: Service) -> str:
    return service.unit or str(service.port)


def _service(days: Days, name: str) -> Service:
    return next(each for each in days.services if _name(each) == name)


def _rungs(days: Days, advice: Sequence[Mapping[str, Any]]) -> Iterator[Rung]:
    for each in advice:
        service = _service(days, each["service"])
        assert (each["protocol"], each["type"]) == service.kind
        for shown in each["tried"]:
            yield _rung(service, shown)


def _rung(service: Service, shown: Mapping[str, Any], **more: Any) -> Rung:
    counted = shown["least"], shown["seen"], shown["most"]
    return Rung(service, shown["threshold"], shown["hold"], *counted, **more)


def _rule(rung: Rung, copy: Service) -> dict[str, Any]:
    protocol, type_ = copy.kind
    return {
        "name": f"tried-{copy.port}",
        "match": {"local_port": copy.port, "protocol": protocol, "type": type_},
        "thresholds": {type_.lower(): rung.threshold},
        "hold": f"{rung.hold_s:g}s",
    }


def _written(path: Path, receiver: Receiver, settings: Mapping[str, Any], store: Store | None = None) -> Path:
    kept = {"destinations": [{"type": "store", "url": store.url}], "history": {"keep": KEPT}} if store else {}
    path.write_text(yaml.safe_dump({"url": receiver.url, "history": {"keep": 0}, **settings, **kept}))
    return path
