# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What each of a bounded number of sockets has dropped from look to look. Pure: no I/O, no clock."""

from __future__ import annotations

from collections import Counter

Place = tuple[int, int]
"""Of a socket: its network namespace and its inode."""

MOST = 20_000
"""Of so many sockets it is known how much they have dropped."""

MOST_OF_A_USER = MOST // 2
"""So many of them may be of one user other than root."""


class Drops:
    """How much more sockets of one kind have dropped since they were seen last.

    A socket's own count has no beginning that we know. One that is known makes no room for others while it is seen.
    """

    def __init__(self, *, shows_all: bool = False) -> None:
        """With `shows_all` a look shows every socket, not only those that hold something."""
        self._shows_all = shows_all
        self._known: dict[Place, tuple[int, int]] = {}
        """User, and count, when it was seen last."""
        self._now: dict[Place, tuple[int, int]] = {}
        self._of_users: Counter[int] = Counter()
        self._room = MOST
        self._refused: Counter[int] = Counter()
        self._unknown: Counter[int] | None = None
        """How many sockets of each user the last look has shown in vain; None if it has not shown all."""

    def grown(self, place: Place, uid: int, count: int) -> int:
        """Return by how much; 0 of one that is seen first, unless the last look would have shown it: it is new."""
        known = self._known.get(place)
        if known is None and place not in self._now and not self._has_room(uid):
            self._refused[uid] += 1
            return 0
        self._now[place] = uid, count
        if known:
            return max(count - known[1], 0)
        is_new = self._shows_all and self._unknown is not None and uid not in self._unknown
        return count if is_new else 0

    def end_look(self, *, is_whole: bool = True) -> int:
        """Remember this look's counts, and as far as there is room those of sockets that it did not show.

        Return how many sockets there was no room for. `is_whole` says whether all could be looked at.
        """
        refused = self._refused
        unseen = self._known if self._room else {}
        self._known = {place: known for place, known in unseen.items() if known[0] not in refused} | self._now
        self._of_users = Counter(uid for uid, _ in self._known.values())
        self._room = MOST - len(self._known)
        self._unknown = refused if is_whole else None
        self._now, self._refused = {}, Counter()
        return refused.total()

    def _has_room(self, uid: int) -> bool:
        has_room = self._room > 0 and (not uid or self._of_users[uid] < MOST_OF_A_USER)
        if has_room:
            self._room -= 1
            self._of_users[uid] += 1
        return has_room
