# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Listeners on which connections wait and from which nobody accepts.

Pure: no I/O, no clock of its own. The number that waits proves little: one may have gone and another come. Who waits
does: connections are accepted in the order in which they came, so the first to go is one of those that waited first.
One that the peer has reset is not shown any more, but is counted until it is accepted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sockbpf.judge.episodes import Episode, Episodes
from sockbpf.judge.levels import Levels
from sockbpf.judge.own_episodes import OwnEpisodes
from sockbpf.record.event import Direction, Mode
from sockbpf.record.facts import Condition, Facts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sockbpf.counters import Counters
    from sockbpf.judge.episodes import OwnerOf
    from sockbpf.record.alert import Notice
    from sockbpf.record.listening import Listener, ListenLook, Place

Port = tuple[int, int, bool]
"""Network namespace, number, and whether it is one of IPv6."""

LISTEN = 10
"""The TCP state."""

SOON, OFTEN = 30, 3
"""Who waits is seen first after one part in so many of `after`; once `after` is over, so often within it."""


@dataclass(frozen=True, slots=True)
class UnacceptedSettings:
    """When a listener is stalled. `after_ns` 0: never."""

    after_ns: int
    repeat_ns: int


@dataclass(slots=True)
class _Standing:
    """A listener with connections that wait, whose number has not fallen since `since_ns`."""

    since_ns: int
    waiting: int
    first: Listener | None = None
    """As it was when it was first seen who waits, at `first_ns`."""
    first_ns: int = 0
    beside: dict[Place, int] = field(default_factory=dict)
    """How many waited then at each listener on the port, this one too."""
    due_ns: int = 0
    """When it is to be seen again who waits."""


class Unaccepted(OwnEpisodes):
    """Makes notices of what looks show of listeners from which nobody accepts."""

    def __init__(
        self, settings: UnacceptedSettings, counters: Counters, salt: str, owner_of: OwnerOf
    ) -> None:
        """Begin with no open episode; `salt` and `owner_of` are those of `Policy`."""
        self.settings = settings
        """May be changed at any time: the next look is judged by them."""
        self.wanted: frozenset[Place] = frozenset()
        """The listeners of which the next look is to say who waits; another thread may read it."""
        self.episodes = Episodes(counters, f"unaccepted {salt}", owner_of)
        self._standing: dict[Place, _Standing] = {}

    def on_look(self, seen: ListenLook) -> list[Notice]:
        """Take a look, and return the notices of episodes that end; `on_time` begins them."""
        after_ns = self.settings.after_ns
        notices: list[Notice] = []
        found = {each.place: each for each in seen.listeners if not each.is_own} if after_ns else {}
        for place in [place for place in self._standing if place not in found]:
            if not after_ns or place[0] in seen.overflows or place[0] not in seen.places:
                notices += self._forget(place, 0, seen)
        beside = _by_port(seen.listeners) if self.wanted else {}
        for place, listener in found.items():
            if listener.waiting or place in self._standing:
                notices += self._look(place, listener, seen, beside.get(_port(listener), {}))
        self.wanted = frozenset(
            place for place, standing in self._standing.items() if seen.ended_ns >= standing.due_ns
        )
        return notices

    def _look(
        self, place: Place, listener: Listener, seen: ListenLook, beside: dict[Place, int]
    ) -> list[Notice]:
        standing, after_ns = self._standing.get(place), self.settings.after_ns
        if standing is None or listener.waiting < standing.waiting:  # somebody has accepted
            notices = self._forget(place, listener.waiting, seen)
            if listener.waiting:
                due_ns = seen.ended_ns + after_ns // SOON
                self._standing[place] = _Standing(seen.ended_ns, listener.waiting, due_ns=due_ns)
            return notices
        standing.waiting = listener.waiting
        notices = self._compare(place, standing, listener, seen, beside)
        if episode := self.episodes.open.get(place):
            episode.ns, episode.size = seen.ended_ns, listener.waiting
            episode.peak = max(episode.peak, listener.waiting)
            episode.facts = _facts(listener)
        return notices

    def _compare(
        self,
        place: Place,
        standing: _Standing,
        listener: Listener,
        seen: ListenLook,
        beside: dict[Place, int],
    ) -> list[Notice]:
        """Compare who waits with who waited first, if this look says it.

        `beside` has how many wait at each listener on the port, this one too.
        """
        after_ns = self.settings.after_ns
        notices: list[Notice] = []
        if not listener.connections:
            return []
        if standing.first is None or not self._waits_still(standing, standing.first, listener):
            if place in self.episodes.open:
                notices = self.episodes.end(place, listener.waiting, seen.ended_ns)
            standing.first, standing.first_ns, standing.beside = listener, seen.ended_ns, beside
            standing.due_ns = seen.ended_ns + after_ns
        else:
            standing.due_ns = seen.ended_ns + after_ns // OFTEN
            is_long = seen.begun_ns - standing.first_ns >= after_ns
            if is_long and not listener.is_full and place not in self.episodes.open:
                notices = self.episodes.begin(place, self._episode(standing, listener, seen))
        return notices

    def _waits_still(self, standing: _Standing, first: Listener, now: Listener) -> bool:
        """Tell whether all that waited first wait still.

        Where others listen on the port, it is not known whose a connection is: then as many must wait still as waited
        here and at all others whose number has not fallen since.
        """
        kept = first.connections & now.connections
        if len(standing.beside) > 1:
            still = (
                waiting
                for place, waiting in standing.beside.items()
                if (other := self._standing.get(place)) and other.since_ns <= standing.first_ns
            )
            return len(kept) >= sum(still)
        reset = (now.waiting - len(now.connections)) - (first.waiting - len(first.connections))
        return bool(kept) and len(first.connections) - len(kept) <= max(reset, 0)

    def _forget(self, place: Place, waiting: int, seen: ListenLook) -> list[Notice]:
        self._standing.pop(place, None)
        return self.episodes.end(place, waiting, seen.ended_ns) if place in self.episodes.open else []

    def _episode(self, standing: _Standing, listener: Listener, seen: ListenLook) -> Episode:
        """Return the episode: `after` is its hold, so that its alert has the instant from which nobody accepts."""
        return Episode(
            socket=listener.socket,
            direction=Direction.ACCEPT,
            mode=Mode.POLL,
            address=0,
            since_ns=standing.first_ns,
            ns=seen.ended_ns,
            size=listener.waiting,
            peak=listener.waiting,
            threshold=0,
            levels=Levels(0, 0, self.settings.after_ns, self.settings.repeat_ns),
            condition=Condition.STALLED,
            facts=_facts(listener),
        )


def _port(listener: Listener) -> Port:
    return listener.socket.netns, listener.socket.local_port, ":" in listener.socket.local_ip


def _by_port(listeners: Iterable[Listener]) -> dict[Port, dict[Place, int]]:
    """Return how many wait at each listener, by port."""
    found: dict[Port, dict[Place, int]] = {}
    for listener in listeners:
        found.setdefault(_port(listener), {})[listener.place] = listener.waiting
    return found


def _facts(listener: Listener) -> Facts:
    return Facts(listener.limit, listener.waiting, LISTEN)
