# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What waits for the writer, in lanes: nobody who sends much holds up the monitor's alerts."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from sockbpf.store.data.tally import LONGEST, LONGEST_US, SECOND_US

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from sockbpf.store.data.entry import Entry

MOST_WAITING = 10_000
"""Entries that may wait in each lane; what comes when a lane is full is refused."""
BEHIND, BEHIND_BYTES = 5000, 8 * 2**20
"""While more entries wait in a lane, or what takes more memory, it takes no batch: there is room for those who send
one alert at a time. A batch of few bytes may take much once it is decompressed, and more when it is written."""
BATCH, BATCH_BYTES = 5000, 16 * 2**20
"""Entries of one transaction, unless a single piece of work has more; and the memory after which none is added."""
STEP_BYTES = 1000
"""What the timeline takes for each of its longest steps in which an episode was over."""


class Lane(IntEnum):
    """Where work waits; the lower number is written first. Each lane has its own limit of entries."""

    OURS = 0
    """Alerts of the monitor, or of a sender that knows the token."""
    CALLS = 1
    """What the store itself does in the database, such as deleting."""
    ANYBODY = 2
    """Alerts of any other sender."""
    BULK = 3
    """What is posted, or copied from a damaged file: many entries at once, so in a transaction of their own."""


@dataclass(slots=True)
class Work:
    """What one caller waits for: entries to be written, or a call to be made with the connection."""

    entries: Sequence[Entry] = ()
    call: Callable[[Connection], Any] | None = None
    crowds_out: bool = True
    """Whether the oldest entries go to make room for it."""
    done: Future[Any] = field(default_factory=Future)
    answer: Any = None
    """What `done` will return once the transaction is committed."""
    size: int = field(init=False)
    """About how many bytes of memory its entries take, at least."""

    def __post_init__(self) -> None:
        self.size = sum(map(_size, self.entries))


def _size(entry: Entry) -> int:
    episode = entry.episode
    seconds = min(episode["last"] - episode["start"], LONGEST_US // SECOND_US) if episode else 0
    return len(entry.body) + STEP_BYTES * int(seconds // LONGEST)


class Lanes:
    """The waiting work. It has no lock: the writer has one."""

    def __init__(self) -> None:
        self._waiting: dict[Lane, deque[Work]] = {lane: deque() for lane in Lane}
        self._entries = dict.fromkeys(Lane, 0)
        self._bytes = dict.fromkeys(Lane, 0)
        self._is_bulks_turn = False

    def __bool__(self) -> bool:
        """Whether any work waits."""
        return any(self._waiting.values())

    @property
    def entries(self) -> int:
        """How many entries wait, in all lanes."""
        return sum(self._entries.values())

    def has_room(self, work: Work, lane: Lane) -> bool:
        return self._entries[lane] + len(work.entries) <= MOST_WAITING

    def is_behind(self, lane: Lane) -> bool:
        return self._entries[lane] > BEHIND or self._bytes[lane] > BEHIND_BYTES

    def add(self, work: Work, lane: Lane) -> None:
        self._waiting[lane].append(work)
        self._entries[lane] += len(work.entries)
        self._bytes[lane] += work.size

    def take(self) -> list[Work]:
        """Remove and return the work of the next transaction.

        While both wait, transactions of the bulk lane alternate with those of all other lanes together.
        """
        others = [lane for lane in Lane if lane is not Lane.BULK and self._waiting[lane]]
        self._is_bulks_turn = bool(self._waiting[Lane.BULK]) and (not self._is_bulks_turn or not others)
        batch: list[Work] = []
        entries = size = 0
        for lane in (Lane.BULK,) if self._is_bulks_turn else others:
            waiting = self._waiting[lane]
            while waiting and (
                not batch or (entries + len(waiting[0].entries) <= BATCH and size <= BATCH_BYTES)
            ):
                work = waiting.popleft()
                size += work.size
                entries += len(work.entries)
                self._entries[lane] -= len(work.entries)
                self._bytes[lane] -= work.size
                batch.append(work)
        return batch
