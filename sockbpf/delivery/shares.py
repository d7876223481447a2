# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How many owed alerts each account and service has: where there are too many, the one with most gives some up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockbpf.delivery.most import Most

if TYPE_CHECKING:
    from collections.abc import Container

    from sockbpf.delivery.owed import Owed

Whose = tuple[int, str]
"""An account and its service."""


class Shares:
    """The numbers (`n`) of the owed alerts, by account and service; for one thread at a time."""

    def __init__(self) -> None:
        self._accounts = Most[int]()
        self._services: dict[int, Most[str]] = {}
        self._numbers: dict[tuple[Whose, bool], dict[int, None]] = {}
        """(Whose, whether the alerts are `ongoing`) -> the numbers, oldest first."""

    def add(self, owed: Owed) -> None:
        self._accounts.add(owed.account)
        self._services.setdefault(owed.account, Most()).add(owed.service)
        self._numbers.setdefault(_kind(owed), {})[owed.n] = None

    def remove(self, owed: Owed) -> None:
        self._accounts.remove(owed.account)
        services = self._services[owed.account]
        services.remove(owed.service)
        if services.first() is None:
            del self._services[owed.account]
        numbers = self._numbers[_kind(owed)]
        del numbers[owed.n]
        if not numbers:
            del self._numbers[_kind(owed)]

    def victim(self, spared: Container[int]) -> int | None:
        """Return the number of the alert to give up first, none of those spared.

        Of the account that has most, of its service that has most: the oldest `ongoing`, else the oldest alert.
        None if all of these are spared.
        """
        account = self._accounts.first()
        if account is None:
            return None
        service = self._services[account].first() or ""
        for repeats in (True, False):
            for number in self._numbers.get(((account, service), repeats), ()):
                if number not in spared:
                    return number
        return None


def _kind(owed: Owed) -> tuple[Whose, bool]:
    return (owed.account, owed.service), owed.repeats
