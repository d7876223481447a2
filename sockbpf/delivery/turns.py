# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Whose turn it is, where many want to be told and whom nobody shall crowd out.

Accounts take turns (the users whose sockets the alerts are about), of each account its services, of each service its
episodes: first those with something new to tell, in the order in which they became ready, then those that only repeat
that they go on. Who has ten thousand alerts waiting delays another's by one.
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
        """Whose turn is next stands first; nobody is in it who has nothing ready."""
        self._number = 0

    def add(self, episode: str, account: int, service: str, *, repeats: bool) -> None:
        """Take an episode in; `repeats` says that what it tells next is only that it goes on."""
        its = self._accounts.setdefault(account, OrderedDict()).setdefault(service, _Service())
        (its.repeats if repeats else its.news).append(episode)
        self._number += 1

    def first(self) -> str | None:
        """Return the episode whose turn it is."""
        if not self._accounts:
            return None
        services = next(iter(self._accounts.values()))
        return next(iter(services.values())).next[0]

    def skip(self) -> None:
        """Drop the first episode; the turn stays where it is."""
        account, services = next(iter(self._accounts.items()))
        service, its = next(iter(services.items()))
        its.next.popleft()
        self._number -= 1
        if not its.next:
            del services[service]
        if not services:
            del self._accounts[account]

    def take(self) -> str | None:
        """Return the first episode and drop it; its service and its account are last now."""
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
            for service, its in list(services.items()):
                its.news = deque(filter(wanted, its.news))
                its.repeats = deque(filter(wanted, its.repeats))
                if not its.next:
                    del services[service]
            if not services:
                del self._accounts[account]
        self._number = sum(
            len(its.news) + len(its.repeats)
            for services in self._accounts.values()
            for its in services.values()
        )

    def __len__(self) -> int:
        return self._number
