# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The order in which episodes have their alerts delivered, so that no account crowds out another.

Accounts take turns (the users whose sockets the alerts are about), within an account its services, within a service
its episodes: first those whose next alert is news, in the order in which they became ready, then those whose next
alert is an `ongoing`. An account with ten thousand alerts delays another account's alert by one.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(slots=True)
class _Service:
    """The episodes of one service that are ready."""

    news: deque[str] = field(default_factory=deque)
    repeats: deque[str] = field(default_factory=deque)

    @property
    def next(self) -> deque[str]:
        return self.news or self.repeats


class Turns:
    """Episodes that are ready, each at most once; for one thread at a time."""

    def __init__(self) -> None:
        self._accounts: OrderedDict[int, OrderedDict[str, _Service]] = OrderedDict()
        """The account whose turn is next comes first; an account without a ready episode is not in here."""
        self._number = 0

    def add(self, episode: str, account: int, service: str, *, repeats: bool) -> None:
        """Add an episode; `repeats` says that its next alert is an `ongoing`."""
        episodes = self._accounts.setdefault(account, OrderedDict()).setdefault(service, _Service())
        (episodes.repeats if repeats else episodes.news).append(episode)
        self._number += 1

    def first(self) -> str | None:
        """Return the episode whose turn it is."""
        if not self._accounts:
            return None
        services = next(iter(self._accounts.values()))
        return next(iter(services.values())).next[0]

    def skip(self) -> None:
        """Drop the first episode; its service and its account keep the turn."""
        account, services = next(iter(self._accounts.items()))
        service, episodes = next(iter(services.items()))
        episodes.next.popleft()
        self._number -= 1
        if not episodes.next:
            del services[service]
        if not services:
            del self._accounts[account]

    def take(self) -> str | None:
        """Return the first episode and drop it; its service and its account come last now."""
        episode = self.first()
        if episode is None:
            return None
        account, services = next(iter(self._accounts.items()))
        service = next(iter(services))
        self.skip()
        if service in services:
            services.move_to_end(service)
        if account in self._accounts:
            self._accounts.move_to_end(account)
        return episode

    def keep(self, wanted: Callable[[str], bool]) -> None:
        """Drop every episode that is not wanted any more."""
        for account, services in list(self._accounts.items()):
            for service, episodes in list(services.items()):
                episodes.news = deque(filter(wanted, episodes.news))
                episodes.repeats = deque(filter(wanted, episodes.repeats))
                if not episodes.next:
                    del services[service]
            if not services:
                del self._accounts[account]
        self._number = sum(
            len(episodes.news) + len(episodes.repeats)
            for services in self._accounts.values()
            for episodes in services.values()
        )

    def __len__(self) -> int:
        return self._number
