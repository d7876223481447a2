# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Days of a host: services that are quiet, burst, hang, flap, are never empty or have a backup at 02:00.

Each is there by three settings. The same seed gives the same days.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.replayed.record import Change, Made, Pulse, S, Service, Sockets, changes_of
from sockbpf.kernel.look.whose import cgroup_root
from sockbpf.record.event import Direction, Protocol

DAY_S, HOUR_S = 86_400, 3600
KIB, MIB = 2**10, 2**20

SETTINGS: dict[int, dict[str, Any]] = {
    8000: {},
    8100: {"thresholds": {"send": "64KiB", "recv": "64KiB"}, "hold": "0s"},
    8200: {"thresholds": {"send": "256KiB", "recv": "256KiB"}, "hold": "30s"},
}
"""From this port on, a hundred: what a rule sets; nothing: the defaults, 1 MiB for 10 s."""

Pulses = Iterator[Pulse]


def rules(*, by_unit: bool) -> list[dict[str, Any]]:
    """Return the rules of the host, as settings have them."""
    return [
        {
            "name": f"from-{port}",
            "match": {"unit": f"*-{port}.service"} if by_unit else {"local_port": f"{port}-{port + 99}"},
            **its,
        }
        for port, its in SETTINGS.items()
        if its
    ]


def _now_and_then(chance: random.Random, days: int, a_day: float) -> Iterator[float]:
    at_s = 60.0
    while (at_s := at_s + chance.expovariate(a_day / DAY_S)) < days * DAY_S - HOUR_S:
        yield at_s


def _between(chance: random.Random, low: float, high: float) -> int:
    """Return a size of any order between these."""
    return int(low * (high / low) ** chance.random())


def quiet(chance: random.Random, days: int) -> Pulses:
    for at_s in _now_and_then(chance, days, 100):
        yield Pulse(at_s, chance.uniform(0.05, 20), _between(chance, KIB, 20 * KIB))


def bursts(chance: random.Random, days: int) -> Pulses:
    for at_s in _now_and_then(chance, days, 40):
        yield Pulse(at_s, chance.uniform(0.2, 8), _between(chance, 64 * KIB, 8 * MIB))


def hung(chance: random.Random, days: int) -> Pulses:
    yield from quiet(chance, days)
    for at_s in _now_and_then(chance, days, 4):
        yield Pulse(at_s, chance.uniform(60, 1200), _between(chance, 200 * KIB, 8 * MIB), stands=True)


def transfers(chance: random.Random, days: int) -> Pulses:
    """Yield healthy ones: what stands in the queue goes up and down all the while."""
    for begins_s in _now_and_then(chance, days, 20):
        at_s, ends_s = begins_s, begins_s + chance.uniform(10, 90)
        while at_s < ends_s:
            lasts_s = chance.uniform(0.5, 12)
            yield Pulse(at_s, lasts_s, _between(chance, MIB, 6 * MIB))
            at_s += lasts_s + chance.choice((0.001, 0.5, 3))


def flapping(chance: random.Random, days: int) -> Pulses:
    for begins_s in _now_and_then(chance, days, 4):
        at_s, ends_s = begins_s, begins_s + chance.uniform(100, 900)
        while at_s < ends_s:
            lasts_s = chance.uniform(0.3, 15)
            yield Pulse(at_s, lasts_s, _between(chance, 300 * KIB, 3 * MIB))
            at_s += lasts_s + chance.uniform(0.5, 20)


def datagrams(chance: random.Random, days: int) -> Pulses:
    for at_s in _now_and_then(chance, days, 30):
        yield Pulse(at_s, chance.uniform(1, 60), _between(chance, 2 * KIB, 212 * KIB))


def ramp(chance: random.Random, days: int) -> list[Change]:
    """Return a queue that grows for most of an hour, each half a day."""
    changes = []
    for half_day in range(2 * days):
        at_s = half_day * DAY_S / 2 + chance.uniform(HOUR_S, 10 * HOUR_S)
        changes += [Change(int((at_s + 30 * step) * S), step * MIB) for step in range(1, 101)]
        changes.append(Change(int((at_s + 30 * 101) * S), 0))
    return changes


def busy(chance: random.Random, days: int) -> list[Change]:
    """Return a queue that is never empty."""
    changes, at_s = [], 30.0
    while at_s < days * DAY_S - 60:
        changes.append(Change(int(at_s * S), _between(chance, 90 * KIB, 900 * KIB)))
        at_s += chance.uniform(15, 90)
    return [*changes, Change(int(at_s * S), 0)]


def nights(chance: random.Random, days: int) -> Pulses:
    """Yield what a backup does from 02:00 on; the record begins at midnight."""
    for day in range(days):
        at_s = day * DAY_S + 2 * HOUR_S + chance.uniform(1, 300)
        for _ in range(3):
            lasts_s = chance.uniform(60, 400)
            yield Pulse(at_s, lasts_s, _between(chance, 4.5 * MIB, 6 * MIB))
            at_s += lasts_s + chance.uniform(20, 200)


def pair(chance: random.Random, days: int) -> Pulses:
    for at_s in _now_and_then(chance, days, 30):
        yield Pulse(at_s, chance.uniform(5, 120), _between(chance, 100 * KIB, 4 * MIB))


def one(
    name: str, pulses: Callable[[random.Random, int], Pulses]
) -> Callable[[random.Random, int], list[Made]]:
    return lambda chance, days: [(name, changes_of(pulses(chance, days)))]


def two(chance: random.Random, days: int) -> list[Made]:
    return [("nginx", changes_of(pair(chance, days))) for _ in range(2)]


def backup(chance: random.Random, days: int) -> list[Made]:
    return [("rsync", changes_of(nights(chance, days))), ("rsyncd", changes_of(quiet(chance, days)))]


RECV = {"direction": Direction.RECV}
PATTERNS: dict[str, tuple[Callable[[random.Random, int], list[Made]], dict[str, Any]]] = {
    "quiet": (one("calm", quiet), {}),
    "bursts": (one("bursty", bursts), {}),
    "hung reader": (one("hangs", hung), RECV),
    "transfers": (one("sends", transfers), {}),
    "flapping": (one("flaps", flapping), RECV),
    "datagrams": (one("syslog", datagrams), RECV | {"protocol": Protocol.UDP}),
    "ramp": (lambda chance, days: [("grows", ramp(chance, days))], {}),
    "never empty": (lambda chance, days: [("busy", busy(chance, days))], {}),
    "backup": (backup, {}),
    "two queues": (two, {}),
}


@dataclass(frozen=True)
class Days:
    """The services of a host, with what makes more sockets."""

    services: tuple[Service, ...]
    sockets: Sockets
    by_unit: bool = False


def days_of(days: int, names: Sequence[str], ports: Sequence[int], cgroups: Path | None = None) -> Days:
    """Return services of these patterns by these settings; with a folder of cgroups each is a unit."""
    sockets, services = Sockets(), []
    for base in ports:
        for place, name in enumerate(PATTERNS):
            if name not in names:
                continue
            make, kind = PATTERNS[name]
            unit = f"{name.replace(' ', '-')}-{base}.service" if cgroups else ""
            cgroup = _cgroup(cgroups / unit) if cgroups else 0
            made = make(random.Random(f"{name} {base}"), days)
            services.append(sockets.service(name, base + place, made, unit=unit, cgroup=cgroup, **kind))
    return Days(tuple(services), sockets, by_unit=cgroups is not None)


def _cgroup(folder: Path) -> int:
    folder.mkdir()
    return folder.stat().st_ino


@contextmanager
def cgroups() -> Iterator[Path | None]:
    """Make a folder of cgroups, and leave none; None where sockets have no cgroups."""
    root = cgroup_root()
    if root is None:
        yield None
        return
    folder = root / f"sockbpf-replayed-{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        for each in folder.glob("*.service"):
            each.rmdir()
        folder.rmdir()
