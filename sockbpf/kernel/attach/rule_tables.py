# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The tables of the rules: new rules are written beside those that apply, and are used from one moment on.

The bytes are the structs of bpf/maps.h; tests/abi checks this file against them field by field.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from sockbpf.kernel.attach.maps import INDEX, delete, write
from sockbpf.kernel.attach.ruleset import MOST_ROWS, MOST_RULES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockbpf.kernel.attach.loading import Table
    from sockbpf.kernel.attach.ruleset import Row, Ruleset
    from sockbpf.record.rule import Decision

RULE_WORDS = MOST_RULES // 64
ROW_FIELDS = (("bit", f"{RULE_WORDS}Q"), ("floor", "4I"))
PORT_ROWS_FIELDS = (("row", "256H"),)
PREFIX_FIELDS = (("length", "I"), ("which", "I"), ("ip", "16s"))
FACT_FIELDS = (("value", "Q"), ("about", "I"), ("rules", "I"))
DECISION_FIELDS = (("threshold", "2I"), ("clear", "2I"), ("fill", "2I"), ("clear_fill", "2I"))
"""The structs of the same names: names of fields and `struct` codes."""


def _struct(layout: tuple[tuple[str, str], ...]) -> struct.Struct:
    return struct.Struct("=" + "".join(code for _, code in layout))


ROW, PORT_ROWS, PREFIX, FACT, DECISION = map(
    _struct, (ROW_FIELDS, PORT_ROWS_FIELDS, PREFIX_FIELDS, FACT_FIELDS, DECISION_FIELDS)
)

SIZES = {
    "rows": (INDEX.size, ROW.size),
    "port_rows": (INDEX.size, PORT_ROWS.size),
    "decisions": (INDEX.size, DECISION.size),
    "prefixes": (PREFIX.size, INDEX.size),
    "facts": (FACT.size, INDEX.size),
    "found_out": (FACT.size, INDEX.size),
}
"""Of each table the sizes of keys and values, bytes."""

WORD = 2**64 - 1

MOST_LISTS = 2**24
"""So many lists of rules have numbers of their own."""


class RuleLists:
    """What rules decide. Two lists of rules have a place in the tables: the one that applies, the one before."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = tables
        self.number = 0
        """Which rules were written last, as settings.rules of bpf/maps.h says it."""
        self._lists = 0

    def prepare(self, made: Ruleset) -> int:
        """Write these rules beside those that apply, and return the number by which the settings choose them."""
        self._lists += 1
        self.number = (self._lists % MOST_LISTS + 1) << 6 | made.ask << 1 | self._slot
        for place, decision in enumerate(made.decisions):
            key = INDEX.pack(self._slot * (MOST_RULES + 1) + place)
            write(self._tables["decisions"], key, _levels(decision))
        return self.number

    @property
    def _slot(self) -> int:
        """The place in the tables of the rules that were written last."""
        return self._lists & 1


class RuleTables(RuleLists):
    """The tables by which the kernel side finds the rule that applies."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        super().__init__(tables)
        self._written: dict[int, list[tuple[str, bytes]]] = {0: [], 1: []}
        """By place, the keys that go when other rules take it."""
        self._made: Ruleset | None = None
        self._rows = 0

    def prepare(self, made: Ruleset) -> int:
        super().prepare(made)
        slot = self._slot
        self._made, self._rows = made, 0
        for name, key in self._written[slot]:
            delete(self._tables[name], key)
        keys = self._written[slot] = []
        rows = made.ports[0].tobytes() + made.ports[1].tobytes()
        for part in range(len(rows) // PORT_ROWS.size):
            key = INDEX.pack(slot * len(rows) // PORT_ROWS.size + part)
            write(self._tables["port_rows"], key, rows[part * PORT_ROWS.size : (part + 1) * PORT_ROWS.size])
        self._write_rows()
        for side, ip, length, row in made.prefixes:
            key = PREFIX.pack(32 + length, 2 * self.number + side, ip)
            write(self._tables["prefixes"], key, INDEX.pack(row))
            keys.append(("prefixes", key))
        for (about, value), row in made.facts.items():
            key = FACT.pack(value, about, self.number)
            write(self._tables["facts"], key, INDEX.pack(row))
            keys.append(("facts", key))
        return self.number

    def _write_rows(self) -> None:
        """Write the rows that are new."""
        if self._made is None:
            return
        for number, row in enumerate(self._made.rows[self._rows :], self._rows):
            write(self._tables["rows"], INDEX.pack(self._slot * MOST_ROWS + number), _packed(row))
        self._rows = len(self._made.rows)

    def find_out(self, about: int, value: int, rules: int) -> None:
        """Write what was found out: the set of rules whose conditions about this cgroup, or this inode, hold.

        Raise UnsupportedError if there are too many different sets.
        """
        if self._made is None:
            return
        row = self._made.row(rules)
        self._write_rows()
        write(self._tables["found_out"], FACT.pack(value, about, self.number), INDEX.pack(row))


def _levels(decision: Decision) -> bytes:
    return DECISION.pack(*decision.threshold, *decision.clear, *decision.fill, *decision.clear_fill)


def _packed(row: Row) -> bytes:
    rules, floor = row
    words = (rules >> 64 * place & WORD for place in range(RULE_WORDS))
    return ROW.pack(*words, *floor)
