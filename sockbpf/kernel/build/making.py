# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""From an order to bytecode: what was kept, or what a compiler makes beside this process."""

from __future__ import annotations

import logging
from contextlib import closing
from typing import TYPE_CHECKING

from sockbpf.kernel.build import cache
from sockbpf.kernel.build.compiler import Compiler

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockbpf.kernel.build.bytecode import Bytecode
    from sockbpf.kernel.build.order import Order

log = logging.getLogger(__name__)


class Making:
    """One order under way. To be closed, whatever happens."""

    def __init__(self, order: Order, types: str, started: Compiler | None = None) -> None:
        """Find what was kept, or have it compiled, by a compiler that was started if there is one.

        `types` is where the kernel's types come from: auto, btf or headers. Raise UnsupportedError.
        """
        self._name = cache.name_of(order)
        self._key = cache.key_of(order, types)
        kept = cache.read(self._key, self._name) if self._key else None
        self._made: Bytecode | Compiler
        if kept:
            log.debug("%s: nothing to compile: the bytecode was kept", order.source)
            self._made = kept
        else:
            self._made = started or Compiler(types)
            self._made.ask(order)

    @property
    def is_compiling(self) -> bool:
        """Whether there is something to wait for."""
        return isinstance(self._made, Compiler)

    def bytecode(self) -> Bytecode:
        """Return it once it is made, and keep it; raise UnsupportedError."""
        if not isinstance(self._made, Compiler):
            return self._made
        with closing(self._made) as compiler:
            self._made = compiler.answer()
        if self._key:
            cache.write(self._key, self._made, self._name)
        return self._made

    def close(self) -> None:
        """End the compiler, whatever it does."""
        if isinstance(self._made, Compiler):
            self._made.close()


def bytecode_of(
    order: Order,
    types: str,
    started: Compiler | None = None,
    meanwhile: Callable[[], object] = tuple,
) -> Bytecode:
    """Return what was kept for this order, or have it compiled; `meanwhile` is called if that has to be waited for.

    Raise UnsupportedError.
    """
    with closing(Making(order, types, started)) as making:
        if making.is_compiling:
            meanwhile()
        return making.bytecode()
