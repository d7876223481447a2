# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The queues of a host summed up by service, from look to look, in a bounded number of sums. Pure: no I/O, no clock.

Whoever reads the sums keeps each for as long as it likes: so names are bounded at once and in a day.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sockbpf.record.event import Direction, Protocol
from sockbpf.record.service import OTHER

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = tuple[Protocol, Direction]
Key = tuple[Protocol, Direction, str]
"""The last is the service."""

MOST = 50
"""So many services have a name at once; the rest are one, OTHER."""

MOST_A_DAY = 100
"""So many names are new within a day at most."""

MOST_OF_A_USER = 10
"""So many of them may be ports of one user other than root."""

DAY_S = 86_400.0

LEFT_S = 3600.0
"""The name of a service whose queues were empty for so long gives way to another."""


@dataclass(slots=True)
class Sums:
    """The queues of one kind of one service."""

    size: int = 0
    """Bytes; of ACCEPT connections."""
    limit: int = 0
    """Of ACCEPT alone: so many connections may wait."""
    sockets: int = 0
    """Those whose queue is not empty."""
    fill: float = 0.0
    """The fullest of them: 1 is full."""
    stalled: int = 0
    open: int = 0
    """Episodes, those held back and stalled ones included."""
    drops: int = 0
    """Since the service has its name."""
    largest: int = 0
    """Of the largest queue."""

    def add(self, size: int, charged: int, limit: int) -> None:
        """Add a queue with so much in it, that the kernel charges with so much of such a limit."""
        if size:
            self.size += size
            self.largest = max(self.largest, size)
            self.sockets += 1
            self.fill = max(self.fill, charged / limit if limit else 0.0)

    def merge(self, other: Sums) -> None:
        self.size += other.size
        self.limit += other.limit
        self.largest = max(self.largest, other.largest)
        self.sockets += other.sockets
        self.fill = max(self.fill, other.fill)
        self.stalled += other.stalled
        self.open += other.open
        self.drops += other.drops


@dataclass(slots=True)
class Service:
    """What a look saw of one service."""

    uid: int = 0
    """Who owns its port; 0 of a unit: root made it."""
    kinds: defaultdict[Kind, Sums] = field(default_factory=lambda: defaultdict(Sums))

    @property
    def weight(self) -> tuple[int, int, float, int]:
        """Return what is greater the more the service deserves a name; all 0 if nothing stands in its queues."""
        sums = self.kinds.values()
        return (
            sum(each.stalled for each in sums),
            sum(each.open for each in sums),
            max((each.fill for each in sums), default=0.0),
            sum(each.size + each.drops for each in sums),
        )


NOTHING = (0, 0, 0.0, 0)


class Names:
    """Which services have a name: `most` at once, new ones `most_a_day`, `most_of_a_user` ports of one user."""

    def __init__(
        self, most: int = MOST, most_a_day: int = MOST_A_DAY, most_of_a_user: int = MOST_OF_A_USER
    ) -> None:
        self._most, self._most_of_a_user = most, most_of_a_user
        self._seen_s: dict[str, float] = {}
        """When something last stood in its queues."""
        self._uids: dict[str, int] = {}
        self._of_users: Counter[int] = Counter()
        self._given_s: deque[float] = deque(maxlen=most_a_day)

    def __contains__(self, name: str) -> bool:
        return name in self._seen_s

    def choose(self, seen: Mapping[str, Service], now_s: float) -> None:
        """Give names to services that were seen, the worst first, as far as there are any."""
        weights = {name: service.weight for name, service in seen.items() if name != OTHER}
        wanted = {name for name, weight in weights.items() if weight != NOTHING}
        known = wanted & self._seen_s.keys()
        self._seen_s |= dict.fromkeys(known, now_s)
        for name in sorted(wanted - known, key=lambda name: (weights[name], name), reverse=True):
            if len(self._given_s) == self._given_s.maxlen and now_s - self._given_s[0] < DAY_S:
                return
            uid = seen[name].uid
            if uid and self._of_users[uid] >= self._most_of_a_user:
                continue
            if len(self._seen_s) >= self._most and not self._has_made_room(now_s):
                return
            self._seen_s[name], self._uids[name] = now_s, uid
            self._of_users[uid] += 1
            self._given_s.append(now_s)

    def _has_made_room(self, now_s: float) -> bool:
        oldest = min(self._seen_s, key=lambda name: self._seen_s[name])
        if now_s - self._seen_s[oldest] < LEFT_S:
            return False
        self._of_users[self._uids.pop(oldest)] -= 1
        del self._seen_s[oldest]
        return True


class Services:
    """Remembers which sums were shown: they are shown until their service loses its name, empty ones too."""

    def __init__(self) -> None:
        self._names = Names()
        self._drops: Counter[Key] = Counter()
        """Of every sum that is shown."""
        self.unnamed = 0
        """How many services of the last look had something in their queues and no name."""

    def take(self, seen: Mapping[str, Service], now_s: float) -> dict[Key, Sums]:
        """Return the sums after this look, taken at this instant of any clock that goes on."""
        self._names.choose(seen, now_s)
        for key in [key for key in self._drops if key[2] != OTHER and key[2] not in self._names]:
            del self._drops[key]
        shown = {key: Sums() for key in self._drops}
        self.unnamed = 0
        for name, service in seen.items():
            shown_as = name if name in self._names else OTHER
            self.unnamed += shown_as != name and service.weight != NOTHING
            for (protocol, direction), sums in service.kinds.items():
                shown.setdefault((protocol, direction, shown_as), Sums()).merge(sums)
        for key, sums in shown.items():
            self._drops[key] += sums.drops
            sums.drops = self._drops[key]
        return shown
