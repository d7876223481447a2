# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Rates: how fast the counters of each network namespace rise, and when that is an episode.

Pure: no I/O, the clock is an argument. Each severity has an episode of its own, so that the labels of an alert stay
the same from `exceeded` to `cleared`. A critical one says all that a warning would: while it is open no warning
begins, and one that is open has no `ongoing`. A warning follows it if the rate is still over that threshold.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass, field
from hashlib import blake2s
from typing import TYPE_CHECKING

from sockbpf.record.alert import CLEARED, EXCEEDED, ONGOING, Notice
from sockbpf.record.event import Direction, Mode, Socket
from sockbpf.record.facts import Condition, Severity
from sockbpf.record.rate import HostCounter, Rate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sockbpf.record.left import Left
    from sockbpf.record.rate import Counts, Droppers

SLACK_NS = 10**8
"""By so much a look may be late without a correction: a rate for a second is then the very count of that look."""

PATIENCE_NS = 5 * 10**9
"""The rate must stay at or under the clear level for so long before an episode ends."""

NAMED = 5
"""So many sockets that drop datagrams are named."""

MOST_DROPPERS = 1024
"""So many sockets are remembered for one episode."""

MISSED_LOOKS = 2
"""A namespace that so many looks in a row did not find is gone."""

Key = tuple[HostCounter, Severity]


class _Past:
    """The values of one counter within a window, each with the instant of its look."""

    def __init__(self, window_ns: int) -> None:
        self._window_ns = window_ns
        self._values: deque[tuple[int, int]] = deque()

    def rate(self, ns: int, value: int) -> float:
        """Take a value, and return how much the counter rose in the window that ends with it.

        Where the last look was longer ago than the window, its share of the rise since then.
        """
        values = self._values
        if values and value < values[-1][1]:
            values.clear()  # it began anew, or is no counter
        values.append((ns, value))
        while len(values) > 2 and ns - values[0][0] > self._window_ns + SLACK_NS:  # noqa: PLR2004  this look, one before
            values.popleft()
        elapsed_ns, rise = ns - values[0][0], value - values[0][1]
        return rise if elapsed_ns <= self._window_ns + SLACK_NS else rise * self._window_ns / elapsed_ns


@dataclass(slots=True)
class _Episode:
    """One counter that rises too fast; `size` is the rate at the instant `ns`, in the unit of `limit`, rounded up."""

    id: str
    limit: Rate
    since_ns: int
    ns: int
    size: int
    peak: int
    last_alert_ns: int
    owner: tuple[int, str] = (0, "")
    """pid and name of the process whose socket alone drops, as last known; the socket may be closed by now."""
    quiet_ns: int | None = None
    """Since when the rate has been at or under the clear level."""
    drops: Counter[Socket] = field(default_factory=Counter)

    def droppers(self) -> Droppers:
        return tuple(self.drops.most_common(NAMED))


class Rates:
    """The judge of rates: takes what a look read of each network namespace."""

    def __init__(self, salt: str, owner_of: Callable[[int], tuple[int, str]]) -> None:
        """Begin without any limit; `owner_of` returns pid and name of the process that holds a socket's inode."""
        self._salt = salt
        self._owner_of = owner_of
        self._limits: Mapping[str, Mapping[Severity, Rate]] = {}
        self._clear_ratio = 1.0
        self._repeat_ns = 60 * 10**9
        self._past: dict[tuple[HostCounter, int], _Past] = {}
        self._open: dict[Key, _Episode] = {}
        self._missed: Counter[int] = Counter()
        """Namespace -> how many looks in a row did not find it."""
        self._owed: list[Notice] = []
        self.left: dict[tuple[object, ...], Left] = {}
        """Which episodes an earlier run told in this boot and did not end, by counter and severity."""

    def use(self, limits: Mapping[str, Mapping[Severity, Rate]], clear_ratio: float, repeat_ns: int) -> None:
        """Judge by these limits from now on; an episode whose limit is no longer there ends."""
        self._limits, self._clear_ratio, self._repeat_ns = limits, clear_ratio, repeat_ns
        for key, episode in list(self._open.items()):
            counter, severity = key
            if limits.get(counter.name, {}).get(severity) != episode.limit:
                self._owed += self._end(key, episode.ns, 0)
        windows = {(name, rate.window_ns) for name, rates in limits.items() for rate in rates.values()}
        self._past = {
            (counter, window_ns): past
            for (counter, window_ns), past in self._past.items()
            if (counter.name, window_ns) in windows
        }

    def on_look(self, seen: Sequence[Counts]) -> list[Notice]:
        """Take a look at all network namespaces, and return the notices."""
        notices: list[Notice] = []
        for counts in seen:
            for name in self._limits.keys() & counts.values.keys():
                notices += self._on_value(HostCounter(name, counts.netns), counts)
        return notices + self._end_gone(frozenset(counts.netns for counts in seen))

    def on_time(self, now_ns: int) -> list[Notice]:  # noqa: ARG002  as a judge has it
        """Return the notices of episodes that new settings have ended."""
        owed, self._owed = self._owed, []
        return owed

    def next_due_ns(self) -> int | None:
        """Return 0 if a notice is due now, else None: all others come from looks."""
        return 0 if self._owed else None

    def is_open(self, id_: str) -> bool:
        return any(episode.id == id_ for episode in self._open.values())

    def __len__(self) -> int:
        return len(self._open)

    def open_now(self, now_ns: int) -> list[Notice]:
        """Return the open episodes as they stand, a notice for each; no alert is made of it."""
        return [_notice_of(key, episode, ONGOING, now_ns) for key, episode in self._open.items()]

    def _on_value(self, counter: HostCounter, counts: Counts) -> list[Notice]:
        limits, value = self._limits[counter.name], counts.values[counter.name]
        rates: dict[int, float] = {}
        for window_ns in {rate.window_ns for rate in limits.values()}:
            past = self._past.setdefault((counter, window_ns), _Past(window_ns))
            rates[window_ns] = past.rate(counts.ns, value)
        notices: list[Notice] = []
        for severity in (Severity.CRITICAL, Severity.WARNING):
            limit = limits.get(severity)
            if limit is not None:
                notices += self._judged((counter, severity), limit, rates[limit.window_ns], counts)
        return notices

    def _judged(self, key: Key, limit: Rate, rate: float, counts: Counts) -> list[Notice]:
        episode, size = self._open.get(key), math.ceil(rate)
        is_over, is_outdone = rate > limit.number, self._is_outdone(key)
        if episode is None:
            return self._begin(key, limit, size, counts) if is_over and not is_outdone else []
        episode.ns, episode.size, episode.peak = counts.ns, size, max(episode.peak, size)
        _note_drops(episode, key[0], counts.droppers)
        if rate > limit.number * self._clear_ratio:
            episode.quiet_ns = None
        elif episode.quiet_ns is None:
            episode.quiet_ns = counts.ns
        elif counts.ns - episode.quiet_ns >= PATIENCE_NS:
            return self._end(key, counts.ns, size)
        if counts.ns - episode.last_alert_ns >= self._repeat_ns and not is_outdone:
            episode.last_alert_ns = counts.ns
            return [self._notice(ONGOING, key, episode)]
        return []

    def _is_outdone(self, key: Key) -> bool:
        counter, severity = key
        return severity is Severity.WARNING and (counter, Severity.CRITICAL) in self._open

    def _begin(self, key: Key, limit: Rate, size: int, counts: Counts) -> list[Notice]:
        named = f"{self._salt} {counts.ns} {key}"
        id_ = blake2s(named.encode(), digest_size=8).hexdigest()
        episode = _Episode(id_, limit, counts.ns, counts.ns, size, size, counts.ns)
        self._open[key] = episode
        _note_drops(episode, key[0], counts.droppers)
        if left := self.left.pop(key, None):
            episode.id, episode.since_ns, episode.peak = left.id, left.since_ns, max(left.peak, size)
            return [self._notice(ONGOING, key, episode)]
        return [self._notice(EXCEEDED, key, episode)]

    def _end(self, key: Key, ns: int, size: int) -> list[Notice]:
        episode = self._open.pop(key)
        episode.ns, episode.size = ns, size
        return [self._notice(CLEARED, key, episode)]

    def _end_gone(self, found: frozenset[int]) -> list[Notice]:
        """End the episodes of network namespaces that are gone, and forget their counters."""
        known = {counter.netns for counter, _ in self._past}
        self._missed = Counter({netns: self._missed[netns] + 1 for netns in known - found})
        gone = {netns for netns, missed in self._missed.items() if missed >= MISSED_LOOKS}
        if not gone:
            return []
        self._past = {key: past for key, past in self._past.items() if key[0].netns not in gone}
        ended = [(key, episode) for key, episode in self._open.items() if key[0].netns in gone]
        return [notice for key, episode in ended for notice in self._end(key, episode.ns, 0)]

    def _notice(self, event: str, key: Key, episode: _Episode) -> Notice:
        alone = next(iter(episode.drops)) if len(episode.drops) == 1 else None
        if alone is None:
            episode.owner = (0, "")
        elif (owner := self._owner_of(alone.inode))[0]:
            episode.owner = owner
        return _notice_of(key, episode, event, episode.ns)


def _notice_of(key: Key, episode: _Episode, event: str, ns: int) -> Notice:
    counter, severity = key
    pid, comm = episode.owner
    return Notice(
        event=event,
        id=episode.id,
        ns=ns,
        since_ns=episode.since_ns,
        socket=None,
        direction=Direction.RATE,
        mode=Mode.POLL,
        size=episode.size,
        peak=episode.peak,
        threshold=episode.limit.number,
        pid=pid,
        comm=comm,
        condition=Condition.RATE,
        severity=severity,
        counter=counter,
        rate=episode.limit,
        droppers=episode.droppers(),
    )


def _note_drops(episode: _Episode, counter: HostCounter, droppers: Droppers) -> None:
    """Add what the sockets dropped that can be what this counter counts."""
    for socket, drops in droppers:
        if _counts(counter.name, socket.local_ip) and (
            socket in episode.drops or len(episode.drops) < MOST_DROPPERS
        ):
            episode.drops[socket] += drops


def _counts(name: str, local_ip: str) -> bool:
    """Tell whether a counter may count the drops of a UDP socket with this address."""
    if name.startswith("Udp6"):
        return ":" in local_ip and not local_ip.startswith("::ffff:")
    return name.startswith("Udp") and (
        ":" not in local_ip or local_ip == "::" or local_ip.startswith("::ffff:")
    )
