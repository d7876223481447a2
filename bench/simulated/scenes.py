# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What happens to a fleet: quiet, flapping, one cause for all, a partition of the network, a restart of all."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from bench.simulated.host import Telling, name_of
from bench.told import BEAT_S, Episode, episode, of_monitor
from sockbpf.settings.config import Config, FlappingSettings, FoldSettings

REPEAT_S = float(Config.model_fields["repeat"].default)
FOLD, FLAPPING = FoldSettings(), FlappingSettings()
EPISODE_EACH_S = 600.0
"""Of one host on average, when all is quiet."""
EPISODE_S = (5.0, 150.0)
"""How long such an episode lasts."""
FLAPS = 0.2
"""Share of the hosts that have a queue that crosses again and again."""
STRUCK = 0.8
"""Share of the hosts that wait for a service that dies."""
DEAD = {"type": "SEND", "cause": "peer-not-answering", "remote_ip": "10.0.0.5", "remote_port": 5432}
CUT = 0.5
"""Share of the hosts that a partition of the network cuts off."""
CUT_AFTER_S, AWAY_S, BACK_S = 30.0, 600.0, 90.0
"""When the partition begins, how long it lasts, and how long the scene goes on then."""

Away = tuple[float, float] | None


@dataclass(frozen=True)
class Monitor:
    """One monitor in a scene."""

    number: int
    begins_s: float
    ends_s: float

    @property
    def host(self) -> str:
        return name_of(self.number)

    @property
    def chance(self) -> random.Random:
        """The same for the same host in each run."""
        return random.Random(self.number)

    @property
    def seconds(self) -> float:
        return self.ends_s - self.begins_s


@dataclass(frozen=True)
class Scene:
    name: str
    seconds: float
    """Simulated."""
    factor: float
    """So many times faster than time; what comes all at once is measured in the time that it takes."""
    tells: Callable[[Monitor, random.Random], Iterable[Telling]]
    """What a monitor tells, in the order of time."""
    away: Callable[[Monitor], Away] = field(default=lambda _: None)
    """From when to when it cannot reach the receiver."""
    drain_s: float = 60.0
    """Real seconds after it in which what is owed may still arrive."""


def beats(of: Monitor, first_s: float, ends_s: float, run: str) -> Iterator[Telling]:
    while first_s < ends_s:
        yield Telling(first_s, partial(_of_monitor, "heartbeat", of.host, first_s, run), is_beat=True)
        first_s += BEAT_S


def _of_monitor(event: str, host: str, at_s: float, run: str, seq: int) -> dict[str, str]:
    return of_monitor(event, host, seq, at_s, run)


def alerts(of: Episode, at_s: float, lasts_s: float, **more: object) -> Iterator[Telling]:
    """Yield the alerts of one episode."""
    since_s = 0.0
    while since_s < lasts_s:
        yield _telling(of, "ongoing" if since_s else "exceeded", at_s + since_s, since_s, more)
        since_s += REPEAT_S
    yield _telling(of, "cleared", at_s + lasts_s, lasts_s, more)


def _telling(of: Episode, event: str, at_s: float, since_s: float, more: dict[str, object]) -> Telling:
    return Telling(at_s, lambda seq: of.alert(event, seq, at_s, since_s, **more))


def quiet(of: Monitor, chance: random.Random) -> Iterator[Telling]:
    """Yield heartbeats, and an episode now and then."""
    yield from heapq.merge(
        beats(of, of.begins_s + chance.random() * BEAT_S, of.ends_s, "1"), _episodes(of, chance), key=_at
    )


def _at(telling: Telling) -> float:
    return telling.at_s


def _episodes(of: Monitor, chance: random.Random) -> Iterator[Telling]:
    at_s = of.begins_s + chance.expovariate(1 / EPISODE_EACH_S)
    while at_s < of.ends_s:
        lasts_s = chance.uniform(*EPISODE_S)
        yield from alerts(episode(of.host, chance), at_s, min(lasts_s, of.ends_s - at_s))
        at_s += lasts_s + chance.expovariate(1 / EPISODE_EACH_S)


def flapping(of: Monitor, chance: random.Random) -> Iterator[Telling]:
    """Yield what is told of queues that cross each second: the first crossings, then how many there were."""
    flaps = _flaps(of, chance) if chance.random() < FLAPS else iter(())
    yield from heapq.merge(quiet(of, chance), flaps, key=_at)


def _flaps(of: Monitor, chance: random.Random) -> Iterator[Telling]:
    at_s = of.begins_s + chance.random() * BEAT_S
    first = episode(of.host, chance)
    for _ in range(FLAPPING.above):
        crossed = Episode(of.host, {**first.about, "id": f"{chance.getrandbits(64):016x}"}, first.size)
        yield from alerts(crossed, at_s, 0.5)
        at_s += 1.0
    yield from alerts(first, at_s, of.ends_s - at_s, crossings=int(REPEAT_S))


def storm(of: Monitor, chance: random.Random) -> Iterator[Telling]:
    """Yield what is told when a service dies that most hosts wait for: at each some alerts, and one for the rest."""
    begins_s = of.begins_s + of.seconds / 3
    of_storm: list[Iterator[Telling]] = []
    if chance.random() < STRUCK:
        for _ in range(FOLD.above):
            struck = episode(of.host, chance, **DEAD)
            of_storm.append(alerts(struck, begins_s + chance.random(), of.seconds / 3))
        rest = episode(of.host, chance, **DEAD, local_port=0, fold="remote-service", count=40)
        of_storm.append(alerts(rest, begins_s + FOLD.window, of.seconds / 3))
    yield from heapq.merge(quiet(of, chance), *of_storm, key=_at)


def cut_off(of: Monitor) -> Away:
    """Return when a partition of the network keeps a host from its receiver, if it does."""
    begins_s = of.begins_s + CUT_AFTER_S
    return (begins_s, begins_s + AWAY_S) if of.number % 100 < CUT * 100 else None


def restart(of: Monitor, chance: random.Random) -> Iterator[Telling]:
    """Yield what is told when all monitors restart within a second, as by a rollout."""
    stops_s = of.begins_s + of.seconds / 3 + chance.random()
    starts_s = stops_s + 1 + chance.random()
    runs = [
        Telling(stops_s, partial(_of_monitor, "stopped", of.host, stops_s, "1")),
        Telling(starts_s, partial(_of_monitor, "started", of.host, starts_s, "2")),
    ]
    before = beats(of, of.begins_s + chance.random() * BEAT_S, stops_s, "1")
    after = beats(of, starts_s + BEAT_S, of.ends_s, "2")
    yield from heapq.merge(before, after, runs, _episodes(of, chance), key=_at)


QUIET = Scene("quiet", 36.0, 6.0, quiet)
BALANCED = Scene("quiet, by connections that stay, as a balancer's", 480.0, 60.0, quiet)
FLAPPING_QUEUES = Scene("flapping", 36.0, 6.0, flapping)
STORM = Scene("storm", 12.0, 1.0, storm)
RESTART = Scene("all restart", 9.0, 1.0, restart)
PARTITION = Scene(
    f"a partition of {AWAY_S / 60:g} minutes", CUT_AFTER_S + AWAY_S + BACK_S, 10.0, quiet, cut_off, 120.0
)
