# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Sets of rules: which rules of a list may apply to sockets of a kind, of a port, of an address."""

from __future__ import annotations

from ipaddress import IPv6Address
from itertools import pairwise
from typing import TYPE_CHECKING

from sockbpf.record.event import OF_BYTES, Direction, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from sockbpf.record.rule import Decision, Match, Prefix, Rule

KINDS = tuple((protocol, direction) for protocol in Protocol for direction in OF_BYTES)
"""The kinds of queues, as kind_of of bpf/rules.h numbers them."""

PORTS = 65536
LOCAL, REMOTE = 0, 1
V4_BEGINS, V4_LENGTH = 0xFFFF << 32, 96
"""IPv4 within IPv6: ::ffff:0:0/96."""

MOST_BYTES = 2**32 - 1

ABOUT_SOCKETS = (
    *("local_ports", "remote_ports", "local_ips", "remote_ips", "processes", "users", "units", "containers"),
    *("cgroups", "netns"),
)
"""The conditions besides those that make the kind of a queue."""


class Sets:
    """A list of rules, of which sets are asked for: numbers whose bit 0 is the first rule."""

    def __init__(self, rules: Sequence[Rule], otherwise: Decision) -> None:
        """`otherwise` is decided where no rule applies."""
        self.matches = [rule.match for rule in rules]
        self.decisions = [otherwise, *(rule.decision for rule in rules)]
        """Of no rule the first."""
        self.every = (1 << len(rules)) - 1
        self.kinds = [self.of(_of_kind(*kind)) for kind in KINDS]

    def of(self, holds: Callable[[Match], bool]) -> int:
        """Return the set of the rules of which this holds."""
        return sum(1 << place for place, match in enumerate(self.matches) if holds(match))

    def gate(self) -> tuple[int, ...]:
        """Return the least threshold of any queue, by kind."""
        return self.floor(self.every, "")

    def gate_fill(self) -> tuple[int, ...]:
        """Return the least share of a buffer that is a threshold, percent, by kind; 0 where not all have one."""
        found = []
        for number, (_, direction) in enumerate(KINDS):
            places = (0, *(place + 1 for place in _places(self.kinds[number])))
            decisions = [self.decisions[place] for place in places]
            shares = [one.fill[direction] for one in decisions if one.threshold[direction] != MOST_BYTES]
            found.append(min(shares, default=0))
        return tuple(found)

    def floor(self, rules: int, condition: str) -> tuple[int, ...]:
        """Return, by kind, the least threshold that one of these rules, or no rule, gives.

        A rule with no other condition than this one applies in any case: those after it do not.
        """
        floor = []
        for number, (_, direction) in enumerate(KINDS):
            least = MOST_BYTES
            for place in _places(rules & self.kinds[number]):
                least = min(least, self.decisions[place + 1].threshold[direction])
                if _has_no_other(self.matches[place], condition):
                    break
            else:
                least = min(least, self.decisions[0].threshold[direction])
            floor.append(least)
        return tuple(floor)


def asks_cgroup(match: Match) -> bool:
    """Tell whether a condition is about the cgroup: its path, the unit, the container."""
    return bool(match.cgroups or match.units or match.containers)


def _of_kind(protocol: Protocol, direction: Direction) -> Callable[[Match], bool]:
    """Return what tells whether queues of bytes of this kind are meant: a listener's of connections is none."""
    return lambda match: (
        (not match.protocols or protocol in match.protocols)
        and (not match.types or direction.name in match.types)
        and not match.listener
    )


def _has_no_other(match: Match, condition: str) -> bool:
    return not any(getattr(match, name) for name in ABOUT_SOCKETS if name != condition)


def _places(rules: int) -> Iterator[int]:
    while rules:
        lowest = rules & -rules
        yield lowest.bit_length() - 1
        rules ^= lowest


def sets_by_port(
    sets: Sets, ranges_of: Callable[[Match], Collection[tuple[int, int]]], condition: str
) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Yield for ports from 0 on: how many have the same set of rules, the set, the floor of a socket's queues."""
    always = sets.of(lambda match: not ranges_of(match))
    spans = [
        (1 << place, first, last)
        for place, match in enumerate(sets.matches)
        for first, last in ranges_of(match)
    ]
    edges = sorted({0, PORTS, *(first for _, first, _ in spans), *(last + 1 for _, _, last in spans)})
    found = dict.fromkeys(edges, always)
    at = {edge: place for place, edge in enumerate(edges)}
    for rule, first, last in spans:
        for edge in edges[at[first] : at[last + 1]]:
            found[edge] |= rule
    for first, following in pairwise(edges):
        yield following - first, found[first], sets.floor(found[first], condition)


def _as_v6(prefix: Prefix) -> tuple[int, int]:
    """Return the lowest address and the length of a prefix, of IPv4 as IPv6 has it."""
    if prefix.version == 4:  # noqa: PLR2004  IPv4
        return V4_BEGINS | prefix.first, V4_LENGTH + prefix.length
    return prefix.first, prefix.length


def prefixes_of(
    sets: Sets, ips_of: Callable[[Match], Collection[Prefix]]
) -> Iterator[tuple[bytes, int, int]]:
    """Yield each prefix, as address and length, with the rules that fit an address of which it is the longest."""
    always = sets.of(lambda match: not ips_of(match))
    meant: dict[tuple[int, int], int] = {(0, 0): 0, (V4_BEGINS, V4_LENGTH): 0}
    for place, match in enumerate(sets.matches):
        for prefix in ips_of(match):
            key = _as_v6(prefix)
            meant[key] = meant.get(key, 0) | 1 << place
    for first, length in meant:
        is_v4 = length >= V4_LENGTH and first >> 32 == V4_BEGINS >> 32
        rules = always
        for shorter in range(V4_LENGTH if is_v4 else 0, length + 1):
            rules |= meant.get((first >> (128 - shorter) << (128 - shorter), shorter), 0)
        yield IPv6Address(first).packed, length, rules
