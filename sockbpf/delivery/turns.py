# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The order in which episodes have their alerts delivered, so that no account crowds out another.

Accounts take turns (the users whose sockets the alerts are about). Of an account new incidents come first, the
episodes whose next alert is `exceeded`, then the other news, then those whose next alert is an `ongoing`; but of
`SHARE` turns one goes to the others, so that ends are delivered in the longest storm of beginnings. Of each kind the
services take turns, within a service its episodes, in the order in which they became ready. An account with ten
thousand alerts delays another account's alert by one.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SHARE = 4


class Kind(IntEnum):
    """Of the next alert of an episode."""

    BEGINS = 0
    NEWS = 1
    REPEATS = 2


@dataclass(slots=True)
class _Account:
    """The episodes of one account that are ready."""

    kinds: tuple[OrderedDict[str, deque[str]], ...] = field(
        default_factory=lambda: tuple(OrderedDict() for _ in Kind)
    )
    """By kind: service -> episodes. The service whose turn is next comes first; none is without episodes."""
    turns: int = 0
    """How many it has had."""

    @property
    def services(self) -> OrderedDict[str, deque[str]]:
        """The services of the kind whose turn it is."""
        kinds = (*self.kinds[1:], self.kinds[0]) if self.turns % SHARE == SHARE - 1 else self.kinds
        return next((services for services in kinds if services), self.kinds[0])

    def __len__(self) -> int:
        return sum(len(episodes) for services in self.kinds for episodes in services.values())


class Turns:
    """Episodes that are ready, each at most once; for one thread at a time."""

    def __init__(self) -> None:
        self._accounts: OrderedDict[int, _Account] = OrderedDict()
        """The account whose turn is next comes first; an account without a ready episode is not in here."""
        self._number = 0

    def add(
        self, episode: str, account: int, service: str, kind: Kind, *, newest_first: bool = False
    ) -> None:
        """Add an episode; with `newest_first` before those of its service, and its service before the others."""
        services = self._accounts.setdefault(account, _Account()).kinds[kind]
        is_new = service not in services
        episodes = services.setdefault(service, deque())
        if newest_first:
            episodes.appendleft(episode)
            if is_new:
                services.move_to_end(service, last=False)
        else:
            episodes.append(episode)
        self._number += 1

    def first(self) -> str | None:
        """Return the episode whose turn it is."""
        if not self._accounts:
            return None
        services = next(iter(self._accounts.values())).services
        return next(iter(services.values()))[0]

    def skip(self) -> None:
        """Drop the first episode; its service and its account keep the turn."""
        account, its = next(iter(self._accounts.items()))
        services = its.services
        service, episodes = next(iter(services.items()))
        episodes.popleft()
        self._number -= 1
        if not episodes:
            del services[service]
        if not any(its.kinds):
            del self._accounts[account]

    def take(self) -> str | None:
        """Return the first episode and drop it; its service and its account come last now."""
        episode = self.first()
        if episode is None:
            return None
        account, its = next(iter(self._accounts.items()))
        services = its.services
        service = next(iter(services))
        self.skip()
        its.turns += 1
        if service in services:
            services.move_to_end(service)
        if account in self._accounts:
            self._accounts.move_to_end(account)
        return episode

    def keep(self, wanted: Callable[[str], bool]) -> None:
        """Drop every episode that is not wanted any more."""
        for account, its in list(self._accounts.items()):
            for services in its.kinds:
                for service, episodes in list(services.items()):
                    services[service] = deque(filter(wanted, episodes))
                    if not services[service]:
                        del services[service]
            if not any(its.kinds):
                del self._accounts[account]
        self._number = sum(map(len, self._accounts.values()))

    def __iter__(self) -> Iterator[str]:
        for account in self._accounts.values():
            for services in account.kinds:
                yield from chain.from_iterable(services.values())

    def __len__(self) -> int:
        return self._number
