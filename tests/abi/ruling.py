# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A kernel side that judges by rules, to be asked which rule applies to a queue."""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass, replace

from sockbpf.kernel.attach.bpf import NUMBERS
from sockbpf.kernel.attach.ruleset import ruleset_of
from sockbpf.kernel.attach.tables import KernelLevels
from sockbpf.record.rule import Decision, Rule
from tests.abi.everything import Everything
from tests.abi.rule_sockets import Placed

OTHERWISE = Decision((2**20, 2**20), (2**19, 2**19), 0, 60 * 10**9)
ALL = KernelLevels(OTHERWISE.threshold, OTHERWISE.clear)
TEST_RUN, RUN = 10, struct.Struct("=II32xI4xQ16x")
UNSURE = -1


@dataclass
class Kernel:
    """The loaded programs, and the sockets to ask them about."""

    everything: Everything
    placed: list[Placed]

    def rule_of(self, address: int, kind: int) -> int:
        """Return what the kernel side says: the rule from 1, 0 for none, UNSURE."""
        given = ctypes.create_string_buffer(struct.pack("=2Q", address, kind), 16)
        program = self.everything.loaded.programs["rule_of"]
        union = ctypes.create_string_buffer(RUN.pack(program, 0, 16, ctypes.addressof(given)), RUN.size)
        result = ctypes.CDLL(None, use_errno=True).syscall(
            NUMBERS[os.uname().machine], TEST_RUN, union, RUN.size
        )
        assert result == 0, os.strerror(ctypes.get_errno())
        return ctypes.c_int32(struct.unpack_from("=I", union.raw, 4)[0]).value

    def use(self, rules: list[Rule], namespaces: dict[str, int]) -> None:
        tables = self.everything.probes.tables
        assert tables.rules
        made = ruleset_of(rules, OTHERWISE, namespaces=namespaces)
        number = tables.rules.prepare(made)
        tables.set_levels(replace(ALL, gate=made.gate, gate_fill=made.gate_fill, rules=number))
