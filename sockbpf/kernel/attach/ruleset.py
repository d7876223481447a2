# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""From a list of rules to what the kernel side matches by: sets of rules, by port, address, namespace, user.

A set of rules is a number whose bit 0 is the first rule. bpf/matching.h says how the sets are used.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sockbpf.errors import UnsupportedError
from sockbpf.kernel.attach.rule_sets import LOCAL, REMOTE, Sets, asks_cgroup, prefixes_of, sets_by_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sockbpf.record.rule import Decision, Match, Prefix, Rule

MOST_RULES, MOST_ROWS = 1024, 4096
"""As in bpf/maps.h."""

ASK_ADDRESS, ASK_NETNS, ASK_USER, ASK_CGROUP, ASK_INODE = 1, 2, 4, 8, 16
ABOUT_NETNS, ABOUT_USER, ABOUT_CGROUP, ABOUT_INODE = 1, 2, 3, 4

NO_FLOOR = (0, 0, 0, 0)

Row = tuple[int, tuple[int, ...]]
"""A set of rules, and of a port's row the least threshold by kind."""


@dataclass(slots=True)
class Ruleset:
    """What is written into the tables for one list of rules."""

    decisions: list[Decision]
    """Of no rule the first."""
    gate: tuple[int, ...]
    gate_fill: tuple[int, ...]
    ask: int
    rows: list[Row]
    ports: tuple[array[int], array[int]]
    """The row of each port, local and remote."""
    prefixes: list[tuple[int, bytes, int, int]]
    """Side, address of 16 bytes, length in bits, row."""
    facts: dict[tuple[int, int], int]
    """(ABOUT_*, value) -> row."""
    row_of: dict[Row, int] = field(default_factory=dict)

    def row(self, rules: int, floor: Sequence[int] = NO_FLOOR) -> int:
        """Return the number of a row with this set, an old one or a new one; raise UnsupportedError."""
        key = (rules, tuple(floor))
        if key not in self.row_of:
            if len(self.rows) == MOST_ROWS:
                raise UnsupportedError(
                    f"the rules tell more than {MOST_ROWS} sets of sockets apart: use fewer"
                )
            self.row_of[key] = len(self.rows)
            self.rows.append(key)
        return self.row_of[key]


def ruleset_of(
    rules: Sequence[Rule],
    otherwise: Decision,
    *,
    namespaces: Mapping[str, int],
    cgroup_by_process: bool = False,
) -> Ruleset:
    """Return what the kernel side needs for these rules; `otherwise` is decided where none applies.

    `namespaces` are the inode numbers of named network namespaces. With `cgroup_by_process` the socket's cgroup is
    that of the process that holds it, since the kernel does not say it. Raise UnsupportedError.
    """
    sets = Sets(rules, otherwise)
    any_rows = (
        sets.every,
        sets.of(lambda match: not match.netns),
        sets.of(lambda match: not match.users),
        sets.every if cgroup_by_process else sets.of(lambda match: not asks_cgroup(match)),
        sets.of(lambda match: not (match.processes or (cgroup_by_process and asks_cgroup(match)))),
    )
    made = Ruleset(
        sets.decisions,
        sets.gate(),
        sets.gate_fill(),
        _asked(sets, any_rows),
        [],
        (array("H"), array("H")),
        [],
        {},
    )
    made.rows = [(bits, NO_FLOOR) for bits in (*sets.kinds, *any_rows)]
    made.ports = (
        _ports(made, sets_by_port(sets, lambda match: match.local_ports, "local_ports")),
        _ports(made, sets_by_port(sets, lambda match: match.remote_ports, "remote_ports")),
    )
    for side, ips_of in ((LOCAL, _local_ips), (REMOTE, _remote_ips)):
        made.prefixes += [
            (side, ip, length, made.row(bits)) for ip, length, bits in prefixes_of(sets, ips_of)
        ]
    for number in _numbers(sets.matches, namespaces):
        names: set[str | int] = {number, *(name for name, inode in namespaces.items() if inode == number)}
        made.facts[ABOUT_NETNS, number] = made.row(sets.of(_fits_netns(names)))
    for uid in {uid for match in sets.matches for uid in match.users}:
        made.facts[ABOUT_USER, uid] = made.row(sets.of(_fits_user(uid)))
    return made


def _local_ips(match: Match) -> tuple[Prefix, ...]:
    return match.local_ips


def _remote_ips(match: Match) -> tuple[Prefix, ...]:
    return match.remote_ips


def _fits_netns(names: set[str | int]) -> Callable[[Match], bool]:
    return lambda match: not match.netns or bool(names & {*match.netns})


def _fits_user(uid: int) -> Callable[[Match], bool]:
    return lambda match: not match.users or uid in match.users


def _ports(made: Ruleset, spans: Iterable[tuple[int, int, tuple[int, ...]]]) -> array[int]:
    ports = array("H")
    for count, bits, floor in spans:
        ports.extend([made.row(bits, floor)] * count)
    return ports


def _asked(sets: Sets, any_rows: Sequence[int]) -> int:
    _, netns, user, cgroup, inode = any_rows
    wants = (
        (ASK_ADDRESS, any(match.local_ips or match.remote_ips for match in sets.matches)),
        (ASK_NETNS, netns != sets.every),
        (ASK_USER, user != sets.every),
        (ASK_CGROUP, cgroup != sets.every),
        (ASK_INODE, inode != sets.every),
    )
    return sum(bit for bit, wanted in wants if wanted)


def _numbers(matches: Iterable[Match], namespaces: Mapping[str, int]) -> set[int]:
    wanted = {one for match in matches for one in match.netns}
    return {one for one in wanted if isinstance(one, int)} | {
        namespaces[one] for one in wanted if isinstance(one, str) and one in namespaces
    }
