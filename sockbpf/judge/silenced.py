# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is not told while somebody silences it: an episode that begins so is told, if it is open still, afterwards.

Pure: whether a notice is silenced now is asked of an argument. An episode that was told before goes on unheard; its
`cleared` is told, so that no receiver holds a ghost. Nothing is told of one that begins and ends in silence.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sockbpf.record.alert import CLEARED, EXCEEDED, ONGOING, Notice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sockbpf.record.alert import Folded

MOST_UNTOLD = 65_536
"""So many open episodes can be unheard; further ones are told."""


class Silenced:
    """The episodes that are open and were not told. For one thread."""

    def __init__(self, is_silenced: Callable[[Notice], bool], count: Callable[[int], None]) -> None:
        """`count` is called with how many notices were not told."""
        self._is_silenced = is_silenced
        self._count = count
        self._untold: dict[str, Notice] = {}
        """Id -> the latest notice of the episode."""

    def __len__(self) -> int:
        """Return how many open episodes were not told."""
        return len(self._untold)

    def __contains__(self, id_: str) -> bool:
        return id_ in self._untold

    def on_notices(self, notices: Iterable[Notice]) -> list[Notice]:
        """Return the notices that are told."""
        notices = list(notices)
        told = [each for notice in notices if (each := self._told(notice)) is not None]
        if len(told) < len(notices):
            self._count(len(notices) - len(told))
        return told

    def _told(self, notice: Notice) -> Notice | None:
        if notice.event == CLEARED:
            return None if self._untold.pop(notice.id, None) else notice
        is_new = notice.event == EXCEEDED or notice.id in self._untold
        if self._is_silenced(notice) and (notice.id in self._untold or len(self._untold) < MOST_UNTOLD):
            if is_new:
                self._untold[notice.id] = notice
            return None
        return _begun(notice) if self._untold.pop(notice.id, None) else notice

    def go_on(self, notices: Iterable[Notice | Folded]) -> list[Notice | Folded]:
        """Return what is told of the notices that a later stage makes itself, of queues that flap."""
        notices = list(notices)
        told = [one for one in notices if not self._is_unheard(one)]
        if len(told) < len(notices):
            self._count(len(notices) - len(told))
        return told

    def _is_unheard(self, one: Notice | Folded) -> bool:
        return isinstance(one, Notice) and one.event == ONGOING and self._is_silenced(one)

    def ended(self) -> list[Notice]:
        """Return the beginnings of the episodes that are open and not silenced any more, true since they began."""
        begun = [notice for notice in self._untold.values() if not self._is_silenced(notice)]
        for notice in begun:
            del self._untold[notice.id]
        return [_begun(notice) for notice in begun]


def _begun(notice: Notice) -> Notice:
    return replace(notice, event=EXCEEDED, ns=notice.since_ns)
