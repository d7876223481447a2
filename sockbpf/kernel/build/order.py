# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The order for the compiling process: which programs, with which definitions."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import Enum
from typing import TYPE_CHECKING

from sockbpf.kernel.build.choice import ADDRESSES, on_demand
from sockbpf.kernel.build.hooks import KPROBES, HookKind
from sockbpf.kernel.build.shortcuts import definitions

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sockbpf.kernel.build.choice import Sight
    from sockbpf.kernel.build.shortcuts import Shortcut

MONITOR, LOOK = "monitor.c", "look.c"
"""What can be compiled, of bpf/."""

MAPS = {
    MONITOR: ("settings", "tally", "episodes", "held", "reaped", "own", "sending", "paid", "events"),
    LOOK: ("terms",),
}
"""The maps of each."""

LOOK_AT_QUEUE = "look_at_queue"
"""The program of bpf/drained.h. It is attached to nothing: user space runs it."""


class Matching(Enum):
    """Who finds out which rule applies; the value is the compiler's argument."""

    IN_KERNEL = "-DWITH_RULES"
    """The kernel side, by sets of rules: 5.3."""

    BY_ANSWERS = "-DWITH_ANSWERS"
    """User space, once for each socket; the kernel side goes by its answers."""


RULE_MAPS = {
    Matching.IN_KERNEL: ("rows", "port_rows", "decisions", "prefixes", "facts", "found_out"),
    Matching.BY_ANSWERS: ("decisions", "answers"),
}
"""Further maps of programs that judge by rules."""

ITERATED = {"look_tcp": "bpf_iter_tcp", "look_udp": "bpf_iter_udp"}
"""The iterators of bpf/look.c, and the kernel's function that stands for what each goes through."""


@dataclass(frozen=True, slots=True)
class Order:
    """One compilation."""

    flags: tuple[str, ...]
    """The compiler's arguments, besides those for the kernel's types."""

    programs: dict[str, str]
    """The programs to load: name -> the value of its HookKind."""

    source: str = MONITOR

    @property
    def maps(self) -> tuple[str, ...]:
        """The names of the maps that the programs have."""
        of_rules = (maps for matching, maps in RULE_MAPS.items() if matching.value in self.flags)
        return MAPS[self.source] + next(of_rules, ())

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def order_from(raw: bytes) -> Order:
    """Read what `Order.to_bytes` wrote."""
    content = json.loads(raw)
    return Order(tuple(content["flags"]), content["programs"], content["source"])


def order_of(
    sights: Collection[Sight],
    *,
    symbols: Mapping[str, int],
    max_episodes: int,
    shortcuts: Collection[Shortcut] = (),
    matching: Matching | None = None,
) -> Order:
    """Return the order for these sights: their programs and no others; `symbols` are addresses by name.

    Of `shortcuts` the compiler uses those that the kernel's types allow. With `matching` they judge by rules.
    """
    hooks = {hook for sight in sights if sight.candidate for hook in sight.candidate.hooks}
    # A return probe's program is loaded as a kprobe's: the kernel knows no other kind.
    kinds = {hook.program: HookKind.KPROBE if hook.kind in KPROBES else hook.kind for hook in hooks}
    if on_demand(sights, can_look=True) and HookKind.TRACEPOINT in kinds.values():
        kinds[LOOK_AT_QUEUE] = HookKind.TRACEPOINT
    flags = (
        f"-DMAX_EPISODES={max_episodes}",
        *definitions(shortcuts),
        *([matching.value] if matching else []),
        *sorted({"-DWITH_KPROBES" if kind in KPROBES else "-DWITH_TRACEPOINTS" for kind in kinds.values()}),
        *(f"-DWANT_{program}=1" for program in sorted(kinds)),
        *(f"-DSYM_{name}={symbols.get(name, 0):#x}ULL" for name in sorted(ADDRESSES)),
    )
    return Order(flags, {program: kind.value for program, kind in sorted(kinds.items())})


def order_of_look(shortcuts: Collection[Shortcut]) -> Order:
    """Return what to compile for a look at all sockets."""
    kinds = dict.fromkeys(ITERATED, HookKind.ITERATOR.value)
    return Order(tuple(definitions(shortcuts)), kinds, LOOK)
