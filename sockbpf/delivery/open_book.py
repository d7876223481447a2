# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which episodes were told and have not ended: kept in the journal as alerts that are owed to nobody.

So they are written, compacted and found again as all that the journal holds. For the outbox's thread.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from sockbpf.delivery.owed import Owed, body_of
from sockbpf.record.left import left_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockbpf.record.left import Left

NOBODY = "(open)"
"""In place of a destination's name: none can have it."""

MOST_OPEN = 16_384
"""So many episodes are kept; of more, those that were not told for longest are not."""


class OpenBook:
    """The open episodes that were told, each with its place in the journal."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Owed] = OrderedDict()
        """Id -> what the journal holds of it; the one told last is at the end."""
        self._first: dict[str, str] = {}
        """Id -> `Left.first`."""
        self._members: dict[str, set[str]] = {}
        """Id of a fold -> those that it told of: they end with it, if not before."""

    def __len__(self) -> int:
        return len(self._kept)

    def kept(self) -> list[Owed]:
        """Return all that the journal is to hold."""
        return list(self._kept.values())

    def find(self, found: list[Owed]) -> tuple[list[Left], list[Owed]]:
        """Take over what an earlier run kept, of all that the journal held; return it, and what makes no sense."""
        lefts: dict[str, Left] = {}
        senseless: list[Owed] = []
        for owed in found:
            if owed.destination != NOBODY:
                continue
            try:
                left = left_of(owed.fields.get("left", ""))
            except ValueError:
                senseless.append(owed)
                continue
            if left.id in self._kept:
                senseless.append(self._kept[left.id])  # what was told later is kept
            self._note(left, owed)
            lefts.pop(left.id, None)
            lefts[left.id] = left
        return list(lefts.values()), senseless

    def keep(self, left: Left, owed: Owed) -> list[Owed]:
        """Keep this from now on; return what the journal need not hold any more."""
        before = self._kept.pop(left.id, None)
        gone = [before] if before else []
        self._note(left, owed)
        while len(self._kept) > MOST_OPEN:
            id_, oldest = self._kept.popitem(last=False)
            self._first.pop(id_, None)
            gone.append(oldest)
        return gone

    def first(self, id_: str) -> str:
        """Return what was kept as `Left.first` of an episode; empty if it is not known."""
        return self._first.get(id_, "")

    def end(self, id_: str) -> list[Owed]:
        """Forget an episode, and all of a fold; return what the journal need not hold any more."""
        ids = (id_, *self._members.pop(id_, ()))
        self._first.pop(id_, None)
        return [owed for one in ids if (owed := self._kept.pop(one, None))]

    def _note(self, left: Left, owed: Owed) -> None:
        self._kept[left.id] = owed
        if left.first:
            self._first[left.id] = left.first
        if left.fold:
            self._members.setdefault(left.fold, set()).add(left.id)


def open_of(fields: Mapping[str, str], left: Left, n: int, at: tuple[float, str, float]) -> Owed:
    """Return what the journal is to hold of an open episode: of its last alert, and of what a later run needs.

    `at` is Unix time, the id of this boot and its CLOCK_BOOTTIME.
    """
    made_s, boot, boot_s = at
    body = {"timestamp": fields["timestamp"], "id": left.id, "seq": fields["seq"]}
    body |= {"event": "open", "left": left.text()}
    return Owed(n, NOBODY, left.id, made_s, body_of(body), boot=boot, boot_s=boot_s)
