# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which way of looking at all sockets this kernel has: BPF iterators, or sock_diag where they are not to be had."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sockbpf.errors import UnsupportedError
from sockbpf.kernel.build.making import Making, bytecode_of
from sockbpf.kernel.build.order import order_of_look
from sockbpf.kernel.build.shortcuts import Shortcut, taken_by
from sockbpf.kernel.build.source import BTF
from sockbpf.kernel.look.diag import Diag
from sockbpf.kernel.look.in_use import WhereInUse
from sockbpf.kernel.look.iterators import Iterators

if TYPE_CHECKING:
    from sockbpf.counters import Counters
    from sockbpf.kernel.look.row import Look

log = logging.getLogger(__name__)

CASTS = frozenset({Shortcut.CASTS})


class Choice:
    """The choice under way: the iterators are compiled beside this process. To be closed, whatever happens."""

    def __init__(self, wanted: str, types: str) -> None:
        """Begin. `wanted` is auto or sock_diag, `types` where the kernel's types come from: auto, btf or headers."""
        self._types = types
        self._making: Making | None = None
        self.reason = ""
        """Why there are no iterators, if there are none."""
        if wanted == "sock_diag":
            self.reason = "the configuration says so: kernel > look: sock_diag"
        elif types == "headers" or not BTF.exists():
            self.reason = f"they need the kernel's types from {BTF}"
        else:
            try:
                self._making = Making(order_of_look(CASTS), types)
            except UnsupportedError as fault:
                self.reason = str(fault)

    def take(self, counters: Counters) -> Look:
        """Return the best way that works, once it is there; that it is not the iterators is counted and said."""
        if self._making:
            try:
                look = self._iterators(self._making)
            except UnsupportedError as fault:
                self.reason = str(fault)
            else:
                log.info("sockets are looked at by %s", look.name)
                return WhereInUse(look)
        counters.add("look_refused")
        log.info("sockets are looked at by sock_diag, no BPF iterators: %s", self.reason)
        return WhereInUse(Diag())

    def _iterators(self, making: Making) -> Iterators:
        bytecode = making.bytecode()
        try:
            return Iterators(bytecode)
        except UnsupportedError as fault:
            if not taken_by(bytecode):
                raise
            log.debug("a look costs more here, the kernel refuses casts: %s", fault)
            return Iterators(bytecode_of(order_of_look(()), self._types))

    def close(self) -> None:
        """End the compiler, if there is one."""
        if self._making:
            self._making.close()


def look_of(wanted: str, types: str, counters: Counters) -> tuple[Look, str]:
    """Return the best way that works, and why there are no iterators, if there are none."""
    choice = Choice(wanted, types)
    try:
        return choice.take(counters), choice.reason
    finally:
        choice.close()
