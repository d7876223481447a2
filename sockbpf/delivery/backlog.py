# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The alerts owed to one destination, by number and by episode: which are being tried, which are given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockbpf.delivery.meanwhile import Meanwhile
from sockbpf.delivery.shares import Shares

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sockbpf.delivery.owed import Owed


class Backlog:
    """Of each episode its first alerts may be under way, then none that follows is. For one thread at a time."""

    def __init__(self) -> None:
        self.owed: dict[int, Owed] = {}
        """By n, oldest first."""
        self.episodes: dict[str, list[int]] = {}
        self.under_way: dict[int, tuple[object, bool]] = {}
        """n of an alert that is being tried -> the shift that tries it, and whether the try is a probe."""
        self._shares = Shares()
        self._meanwhile = Meanwhile()

    def add(self, owed: Owed, *, earlier: bool, has_rate: bool) -> bool:
        """Return whether the alert is the only one of its episode; `earlier` is as in `Queue.offer`.

        `has_rate` says that the destination can fall behind.
        """
        self.owed[owed.n] = owed
        self._shares.add(owed)
        waiting = self.episodes.setdefault(owed.episode, [])
        waiting.append(owed.n)
        if has_rate:
            self._meanwhile.offered(owed, self.owed[waiting[0]], earlier=earlier)
        return len(waiting) == 1

    def waits(self, episode: str) -> bool:
        """Whether an episode has an alert, and none is under way."""
        waiting = self.episodes.get(episode)
        return bool(waiting) and waiting[0] not in self.under_way  # type: ignore[index]

    def number_of(self, episodes: Iterable[str]) -> int:
        """Return how many alerts those of these episodes have of which none is under way."""
        return sum(len(self.episodes[episode]) for episode in episodes if self.waits(episode))

    def first(self, episode: str) -> Owed:
        """Return the first alert of an episode that has one."""
        return self.owed[self.episodes[episode][0]]

    def begin(self, owed: Owed, shift: object, *, probe: bool) -> Owed:
        """Take note that an alert is tried now; return it."""
        self._meanwhile.tried(owed)
        self.under_way[owed.n] = (shift, probe)
        return owed

    def following(self, begun: list[Owed], most: int) -> list[Owed]:
        """Return what can be in a batch behind these, the first of their episodes: at most so many alerts.

        First comes the second alert of each episode that has one, then the third of each, and so on.
        """
        found: list[Owed] = []
        waiting = [self.episodes[owed.episode] for owed in begun]
        place = 1
        while waiting := [numbers for numbers in waiting if len(numbers) > place][: most - len(found)]:
            found += [self.owed[numbers[place]] for numbers in waiting]
            place += 1
        return found

    def forget(self, owed: Owed) -> bool:
        """Drop an alert; return whether its episode has none left."""
        del self.owed[owed.n]
        self._shares.remove(owed)
        waiting = self.episodes[owed.episode]
        waiting.remove(owed.n)
        self._meanwhile.forgotten(owed, is_last=not waiting)
        if not waiting:
            del self.episodes[owed.episode]
        return not waiting

    def victim(self) -> Owed | None:
        """Return which alert to give up if there are too many: of the account that has most, none under way."""
        n = self._shares.victim(self.under_way)
        return None if n is None else self.owed[n]

    def oldest(self, most: int, made_before_s: float) -> list[Owed]:
        """Return at most so many alerts that were made before this, CLOCK_BOOTTIME, and are not under way."""
        found: list[Owed] = []
        if most <= 0:
            return found
        for owed in self.owed.values():
            if len(found) == most or owed.boot_s >= made_before_s:
                break
            if owed.n not in self.under_way:
                found.append(owed)
        return found

    def ended(self) -> list[list[Owed]]:
        """Return the alerts, which must be forgotten, of episodes that began and ended untried, for each summary."""
        return [
            [self.owed[n] for episode in episodes for n in self.episodes[episode]]
            for episodes in self._meanwhile.take()
        ]
