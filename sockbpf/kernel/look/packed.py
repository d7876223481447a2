# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a look at all sockets handed over, kept small: of 100 000 sockets only a few are shown.

Records stay the bytes that they are until somebody asks for one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sockbpf.kernel.look.record import FIELDS, RECORD, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sockbpf.kernel.look.row import Row

AT = {name: place for place, (name, _) in enumerate(FIELDS)}
PLACE_BITS = 32


@dataclass(frozen=True, slots=True)
class Handed:
    """The sockets of one protocol that one network namespace handed over."""

    full: list[int]
    """Those that hold something: a place for `row`."""
    empties: list[int]
    """The others in the order of their ports: the ports, and in the lower 32 bits a place for `row`."""
    states: Counter[int]
    """How many there are of each TCP state, by its number; of UDP the same numbers say whether they are connected."""
    row: Callable[[int], Row]

    def full_rows(self) -> Iterator[Row]:
        """Yield those that hold something, made one by one."""
        return map(self.row, self.full)

    def empty_rows(self) -> Iterator[tuple[int, Row]]:
        """Yield the empty ones by their ports, with what they are sorted by."""
        for key in self.empties:
            yield key >> PLACE_BITS, self.row(key & (1 << PLACE_BITS) - 1)


def handed(chunks: Iterable[bytes]) -> Handed:
    """Return what iterators handed over, each socket once. Raise struct.error for what is no whole number of them."""
    raw = b"".join(chunks)
    address, recv, send, state = AT["address"], AT["recv"], AT["send"], AT["state"]
    local, remote = AT["local_port"], AT["remote_port"]
    known: set[int] = set()
    full, empties, states = [], [], []
    for place, found in enumerate(RECORD.iter_unpack(raw)):
        if found[address] in known:  # where its neighbours change meanwhile the kernel may show it again
            continue
        known.add(found[address])
        states.append(found[state])
        if found[recv] or found[send]:
            full.append(place)
        else:
            empties.append((found[local] << 16 | found[remote]) << PLACE_BITS | place)

    def row(place: int) -> Row:
        begin = place * RECORD.size
        return next(rows_of(raw[begin : begin + RECORD.size]))[1]

    return Handed(full, sorted(empties), Counter(states), row)


def handed_rows(rows: list[Row]) -> Handed:
    """Return the same of rows."""
    empties = [
        (int.from_bytes(row.local_port, "big") << 16 | int.from_bytes(row.remote_port, "big")) << PLACE_BITS
        | place
        for place, row in enumerate(rows)
        if not (row.recv or row.send)
    ]
    states = Counter(row.detail.state for row in rows if row.detail)
    full = [place for place, row in enumerate(rows) if row.recv or row.send]
    return Handed(full, sorted(empties), states, rows.__getitem__)
