# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which rule applies to a socket, as user space found out: where the kernel side cannot match rules it goes by that.

The bytes are the structs of bpf/maps.h; tests/abi checks this file against them field by field.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from typing import TYPE_CHECKING

from sockbpf.kernel.attach.maps import INDEX, delete, write
from sockbpf.kernel.attach.rule_sets import KINDS
from sockbpf.kernel.attach.rule_tables import RuleLists

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockbpf.kernel.attach.loading import Table
    from sockbpf.record.event import Direction, Socket

MOST = 16_384
"""MOST_ANSWERS of bpf/maps.h: of more, the oldest are forgotten and asked for again."""

ANSWER_FIELDS = (("inode", "Q"), ("local_port", "H"), ("remote_port", "H"), ("kind", "I"), ("rules", "Q"))
"""`struct answer_key`: names and `struct` codes."""

ANSWER = struct.Struct("=" + "".join(code for _, code in ANSWER_FIELDS))


class Answers(RuleLists):
    """The table of the answers."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        super().__init__(tables)
        self._given: OrderedDict[bytes, None] = OrderedDict()
        """The keys in the table, the oldest first; of lists of rules that apply no more too."""

    def give(self, socket: Socket, direction: Direction, rule: int) -> None:
        """Say which of the rules that were written last applies to this queue, from 1; 0: none does."""
        kind = KINDS.index((socket.protocol, direction))
        key = ANSWER.pack(socket.inode, socket.local_port, socket.remote_port, kind, self.number)
        while key not in self._given and len(self._given) >= MOST:
            oldest, _ = self._given.popitem(last=False)
            delete(self._tables["answers"], oldest)
        write(self._tables["answers"], key, INDEX.pack(rule))
        self._given[key] = None
