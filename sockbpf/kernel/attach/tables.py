# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the kernel side keeps and what it is set to: its tables, and how their bytes are read.

The bytes are the structs of bpf/maps.h; tests/abi checks this file against them field by field.
"""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from sockbpf.errors import UnsupportedError
from sockbpf.kernel.attach.answers import Answers
from sockbpf.kernel.attach.maps import INDEX, delete, entries, keys, look_up, rewrite, write
from sockbpf.kernel.attach.rule_tables import RuleTables
from sockbpf.record.event import WIRE, Direction, Event, What, decode, over

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sockbpf.kernel.attach.loading import Table


@dataclass(frozen=True, slots=True)
class KernelLevels:
    """The levels that the kernel side compares queues with, each for SEND and for RECV."""

    threshold: tuple[int, int]
    """A queue is over while it holds more than this, bytes."""

    clear: tuple[int, int]
    """An episode ends at this size or less, bytes."""

    fill: tuple[int, int] = (0, 0)
    """If not 0: a queue is over while besides more than this share of its buffer is in use, percent."""

    clear_fill: tuple[int, int] = (0, 0)
    """Then an episode ends at this share or less too."""

    own_pid: int = 0
    """The process whose sockets are not reported; 0 is no process."""

    gate: tuple[int, ...] = ()
    """The least threshold of any queue, by kind: TCP and UDP, each SEND and RECV; empty: those of `threshold`."""

    gate_fill: tuple[int, ...] = ()
    """The least share of any, percent, by kind, 0 where not all have one; empty: those of `fill`."""

    rules: int = 0
    """Which rules apply, as `RuleTables.prepare` says; 0: there are none."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What the kernel side counts, since load: `struct tally`, field by field."""

    opened: int
    closed: int
    lost: int
    full: int
    own: int
    mptcp: int
    unmarked: int
    unreturned: int
    untold: int


SETTINGS_FIELDS = (
    ("threshold", "2I"),
    ("clear", "2I"),
    ("fill", "2I"),
    ("clear_fill", "2I"),
    ("reaped", "I"),
    ("own_pid", "I"),
    ("lookers", "2I"),
    ("gate", "4I"),
    ("gate_fill", "4I"),
    ("sees_udp_drain", "I"),
    ("rules", "I"),
    ("rule", "I"),
    ("unsure", "I"),
)
"""`struct settings`: names and `struct` codes; of two by direction, of four by kind of queue. The last two are for
the kernel side's copies alone."""

KEY_FIELDS = (("address", "Q"), ("direction", "Q"))
"""`struct episode_key`."""

SETTINGS = struct.Struct("=" + "".join(code for _, code in SETTINGS_FIELDS))
TALLY = struct.Struct(f"={len(fields(Tally))}I")
KEY = struct.Struct("=" + "".join(code for _, code in KEY_FIELDS))
NUMBER = struct.Struct("=Q")
"""A key and a value of `own`: an inode, 1; a value of `held`, `reaped`, and of `paid`, for the kernel side alone."""

SIZES = {
    "settings": (INDEX.size, SETTINGS.size),
    "tally": (INDEX.size, TALLY.size),
    "episodes": (KEY.size, WIRE.size),
    "held": (INDEX.size, NUMBER.size),
    "reaped": (INDEX.size, NUMBER.size),
    "own": (NUMBER.size, NUMBER.size),
    "paid": (INDEX.size, NUMBER.size),
}
"""Of each table the sizes of keys and values, bytes."""

FIRST = INDEX.pack(0)

PLACE_BITS = 16
"""PLACE_BITS of bpf/maps.h."""


def place_of(address: int) -> bytes:
    """Return the key of a socket's place in `held` and `reaped`: place_of of bpf/episode.h."""
    return INDEX.pack((-address * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF) >> (64 - PLACE_BITS))


def _rules_of(tables: Mapping[str, Table]) -> RuleTables | Answers | None:
    if "answers" in tables:
        return Answers(tables)
    return RuleTables(tables) if "rows" in tables else None


class Tables:
    """The tables of the loaded programs."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        """Raise UnsupportedError when they are not what is read here: the C is of another version."""
        made = {name: (table.key_size, table.value_size) for name, table in tables.items() if name in SIZES}
        if made != SIZES:
            raise UnsupportedError(f"the programs have other tables: {made}, expected {SIZES}")
        self._tables = tables
        self._reaped = 0
        self._levels = KernelLevels((0, 0), (0, 0))
        self._lookers = (0, 0)
        self._sees_udp_drain = True
        self.rules = _rules_of(tables)
        """The tables of the rules; None where the programs judge by none."""

    def set_levels(self, levels: KernelLevels) -> None:
        """Set what the kernel side compares with, at any time."""
        self._levels = levels
        self._write_settings()

    def set_lookers(self, one: int, other: int = 0) -> None:
        """Set which threads of this process look at others' sockets: they send on none, so they mark none as own."""
        self._lookers = (one, other)
        self._write_settings()

    def set_sees_udp_drain(self, *, sees: bool) -> None:
        """Set whether every drain of a UDP receive queue was seen so far; if not, its growth proves one."""
        self._sees_udp_drain = sees
        self._write_settings()

    def _write_settings(self) -> None:
        levels = self._levels
        settings = SETTINGS.pack(
            *levels.threshold,
            *levels.clear,
            *levels.fill,
            *levels.clear_fill,
            *(self._reaped, levels.own_pid, *self._lookers),
            *(levels.gate or 2 * levels.threshold),
            *(levels.gate_fill or 2 * levels.fill),
            *(self._sees_udp_drain, levels.rules, 0, 0),
        )
        write(self._tables["settings"], FIRST, settings)

    def tally(self) -> Tally:
        return Tally(*TALLY.unpack(look_up(self._tables["tally"], FIRST) or bytes(TALLY.size)))

    def open_count(self) -> int:
        """Return how many episodes the kernel side holds open."""
        tally = self.tally()
        return (tally.opened - tally.closed - self._reaped) & 0xFFFFFFFF

    def open_episodes(self) -> list[Event]:
        """Return the open episodes with their latest size and peak."""
        if not self.open_count():
            return []
        return [decode(episode) for _, episode in entries(self._tables["episodes"])]

    def unsure(self, event: Event) -> Event | None:
        """Return an UNSURE episode as it stands now; None if it is none any more: the kernel side was first."""
        raw = look_up(self._tables["episodes"], KEY.pack(event.address, event.direction))
        entry = decode(raw) if raw else None
        is_it = entry and entry.since_ns == event.since_ns and entry.what is What.UNSURE
        return entry if is_it else None

    def make_sure(self, event: Event) -> bool:
        """Make an UNSURE episode the OVER that the event says; False if the kernel side was first."""
        key = KEY.pack(event.address, event.direction)
        raw = look_up(self._tables["episodes"], key)
        if raw is None or decode(raw).since_ns != event.since_ns or decode(raw).what is not What.UNSURE:
            return False
        return rewrite(self._tables["episodes"], key, over(raw, event))

    def reap(self, address: int, direction: Direction) -> bool:
        """Delete an episode that the hooks left open; False if the kernel side was first."""
        if not delete(self._tables["episodes"], KEY.pack(address, direction)):
            return False
        self._reaped = (self._reaped + 1) & 0xFFFFFFFF
        self._write_settings()
        self._count_reaped(address)
        return True

    def _count_reaped(self, address: int) -> None:
        """Take the episode off its socket's place, after it has left the table: this side alone writes `reaped`."""
        reaped, place = self._tables["reaped"], place_of(address)
        (count,) = NUMBER.unpack(look_up(reaped, place) or bytes(NUMBER.size))
        write(reaped, place, NUMBER.pack(count + 1))

    def counted_open(self, address: int) -> int:
        """Return how many open episodes are counted at the place of a socket: of all sockets there."""
        values = (look_up(self._tables[name], place_of(address)) for name in ("held", "reaped"))
        held, reaped = (int.from_bytes(value or b"", sys.byteorder) for value in values)
        return (held - reaped) & 0xFFFFFFFFFFFFFFFF

    def own_inodes(self) -> frozenset[int]:
        """Return the inodes of the monitor's own sockets that sent something, of closed ones until forgotten."""
        return frozenset(NUMBER.unpack(inode)[0] for inode in keys(self._tables["own"]))

    def is_own(self, inode: int) -> bool:
        """Tell whether a socket is marked as the monitor's own."""
        return look_up(self._tables["own"], NUMBER.pack(inode)) is not None

    def forget_own(self, inodes: Iterable[int]) -> None:
        """Take the marks off these sockets, which must be closed."""
        for inode in inodes:
            delete(self._tables["own"], NUMBER.pack(inode))
