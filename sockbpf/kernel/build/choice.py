# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Chooses this kernel's hooks: for each thing to be seen the first candidate that the kernel has and accepts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sockbpf.kernel.build.hooks import SEEN, Attached, Candidate, Hook, HookKind

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

HOOKS = frozenset(hook for row in SEEN.values() for candidate in row for hook in candidate.hooks)
"""Every hook of the table."""

ADDRESSES = frozenset(candidate.symbol for row in SEEN.values() for candidate in row if candidate.symbol)
"""The kernel functions whose addresses programs need, for comparisons."""


@dataclass(frozen=True, slots=True)
class Sight:
    """How one thing is seen on this kernel: by the hooks of `candidate`, or not at all if it is None."""

    thing: str
    candidate: Candidate | None
    refused: tuple[str, ...]
    """Why no better candidate was chosen: the hooks that this kernel lacks or refuses, each with the reason."""

    def __str__(self) -> str:
        return f"{self.thing}, by {self.hooks}"

    @property
    def hooks(self) -> str:
        """The names of the hooks, joined."""
        return " + ".join(map(str, self.candidate.hooks if self.candidate else ())) or "no hook"


def _traces(target: str) -> tuple[str, str]:
    """Return two symbols: a tracepoint has one of them, see __DECLARE_TRACE in include/linux/tracepoint.h."""
    return f"__tracepoint_{target}", f"__traceiter_{target}"


WANTED_SYMBOLS = frozenset(
    [hook.target for hook in HOOKS]
    + [symbol for hook in HOOKS for symbol in _traces(hook.target)]
    + list(ADDRESSES)
)
"""The symbols of /proc/kallsyms that `lacking` and `choose` need."""


def lacking(symbols: Mapping[str, int]) -> dict[Hook, str]:
    """Return the hooks that this kernel does not have, with the reason; `symbols` are the kernel's, name to address.

    A kernel may hide its symbols, or those of its data; then only attaching shows whether it has a hook.
    """
    tells_tracepoints = any(symbol in symbols for hook in HOOKS for symbol in _traces(hook.target))
    missing = {}
    for hook in HOOKS:
        if hook.kind is not HookKind.TRACEPOINT:
            if symbols and hook.target not in symbols:
                missing[hook] = f"{hook}: this kernel has no such function"
        elif tells_tracepoints and not any(symbol in symbols for symbol in _traces(hook.target)):
            missing[hook] = f"{hook}: this kernel has no such tracepoint"
    return missing


def choose(
    kinds: frozenset[HookKind], symbols: Mapping[str, int], refused: Mapping[Hook, str]
) -> tuple[Sight, ...]:
    """Choose a candidate for each thing to be seen, with hooks of these kinds; `refused` has the others, and why."""
    sights = []
    for thing, row in SEEN.items():
        reasons: list[str] = []
        for candidate in row:
            if not {hook.kind for hook in candidate.hooks} <= kinds:
                continue
            faults = [refused[hook] for hook in candidate.hooks if hook in refused]
            if candidate.symbol and not symbols.get(candidate.symbol):
                faults.append(f"address of {candidate.symbol} hidden: sysctl kernel.kptr_restrict=1")
            if not faults:
                sights.append(Sight(thing, candidate, tuple(reasons)))
                break
            reasons += faults
        else:
            sights.append(Sight(thing, None, tuple(reasons)))
    return tuple(sights)


def on_demand(sights: Collection[Sight], *, can_look: bool) -> dict[str, tuple[Hook, ...]]:
    """Return the hooks that are attached only while something is over, by the thing that they see.

    What drained before they were attached must be found: by the hooks that see the queue grow, which prove it, and,
    where nothing grows any more, by a look: `can_look` says whether the kernel runs bpf/drained.h when asked.
    """
    chosen = {sight.thing: sight.candidate for sight in sights if sight.candidate}
    found = {}
    for thing, candidate in chosen.items():
        grows = chosen.get(thing.replace("shrinks", "grows"))
        is_found = can_look and grows is not None and grows.proves_drains
        if candidate.attached is Attached.WHILE_OVER or (
            candidate.attached is Attached.WHILE_OVER_IF_PROVED and is_found
        ):
            found[thing] = candidate.hooks
    return found
