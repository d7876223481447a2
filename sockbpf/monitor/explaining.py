# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which rule applies to the sockets of this moment, and why: for people, without a running monitor."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sockbpf.counters import Counters
from sockbpf.judge.rules import unmet
from sockbpf.kernel.look.holders import sockets_of
from sockbpf.kernel.look.owner import Owners
from sockbpf.kernel.look.row import Terms, Which
from sockbpf.kernel.look.sweep import Sweeper, Wanted
from sockbpf.monitor.rules import Rules
from sockbpf.record.event import OF_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sockbpf.judge.levels import Levels
    from sockbpf.kernel.look.row import Look
    from sockbpf.record.event import Direction, Socket
    from sockbpf.record.rule import Rule, Who
    from sockbpf.settings.config import Config


@dataclass(frozen=True, slots=True)
class Explained:
    """One queue, the rule that applies to it, and why none before it does."""

    socket: Socket
    direction: Direction
    who: Who
    rule: Rule | None
    levels: Levels
    passed: tuple[tuple[str, tuple[str, ...]], ...]
    """The names of the rules before it, each with the keys of the conditions that do not hold."""


def matched_now(config: Config, look: Look) -> dict[str, int]:
    """Return for each rule, and for none (the empty name), how many sockets of this moment it applies to.

    A socket whose queues have different rules counts for both.
    """
    rules = _rules(config)
    counts = Counter(
        name
        for socket in _sockets(look)
        for name in {_name_of(rules, rules.book.place_of(socket, direction)) for direction in OF_BYTES}
    )
    return {
        name: counts[name] for name in (*(_name_of(rules, n) for n in range(1, len(config.rules) + 1)), "")
    }


def explained(config: Config, look: Look, is_meant: Callable[[Socket], bool]) -> Iterator[Explained]:
    """Yield both queues of each socket that is meant."""
    rules = _rules(config)
    book = rules.book
    for socket in _sockets(look):
        if not is_meant(socket):
            continue
        for direction in OF_BYTES:
            place = book.place_of(socket, direction)
            who = rules.who(socket)
            before = book.rules[: place - 1] if place else book.rules
            passed = tuple(
                (
                    each.decision.applied.rule,
                    tuple(unmet(each.match, socket, direction.name, who, book.names)),
                )
                for each in before
            )
            applies = book.rules[place - 1] if place else None
            yield Explained(socket, direction, who, applies, book.levels_of(socket, direction), passed)


def inodes_of(pid: int) -> Sequence[int]:
    """Return the inode numbers of a process's sockets; raise OSError if there is no such process."""
    os.stat(f"/proc/{pid}")
    return [inode for inode, _ in sockets_of(str(pid))]


def _rules(config: Config) -> Rules:
    owners = Owners()
    owners.look_through_all()
    rules = Rules(config, owners, None, Counters())
    rules.use(config)
    return rules


def _sockets(look: Look) -> Iterator[Socket]:
    sweep = Sweeper(Counters(), look).sweep(Wanted(None, Terms(Which.ALL)))
    return (reading.socket for reading in sweep.readings)


def _name_of(rules: Rules, place: int) -> str:
    return rules.book.rules[place - 1].decision.applied.rule if place else ""
