# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A rule: which sockets it is for, and what it decides of their queues. Records alone, no logic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sockbpf.record.event import Protocol

ACCEPT = "ACCEPT"
"""The type of a listener's queue of connections, besides the names of Direction."""

TYPES = ("SEND", "RECV", ACCEPT)


@dataclass(frozen=True, slots=True)
class Prefix:
    """Addresses that begin alike; `version` is 4 or 6, `first` the lowest address as a number, `length` in bits.

    IPv4 in IPv6 (::ffff:192.0.2.1) is IPv4 here.
    """

    version: int
    first: int
    length: int


@dataclass(frozen=True, slots=True)
class Match:
    """The conditions of a rule: all must hold. Of each, one of its values must fit; an empty one always holds."""

    protocols: tuple[Protocol, ...] = ()
    types: tuple[str, ...] = ()
    local_ports: tuple[tuple[int, int], ...] = ()
    """First and last port of each range."""
    remote_ports: tuple[tuple[int, int], ...] = ()
    local_ips: tuple[Prefix, ...] = ()
    remote_ips: tuple[Prefix, ...] = ()
    processes: tuple[str, ...] = ()
    """Patterns of the shell, as `units`, `containers` and `cgroups` are."""
    users: tuple[int, ...] = ()
    """Ids of users."""
    units: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()
    cgroups: tuple[str, ...] = ()
    netns: tuple[str | int, ...] = ()
    """Names, and inode numbers, of network namespaces."""
    listener: bool | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """What of the rule that applies goes with its alerts; None where the rule does not say it."""

    rule: str = ""
    """Its name; empty where no rule applies."""
    ignores: bool = False
    severity: str | None = None
    """Of all its alerts."""
    severities: tuple[tuple[str, str], ...] = ()
    """Condition and severity, of those conditions that have one of their own."""
    events: frozenset[str] | None = None
    destinations: frozenset[str] | None = None
    flapping_above: int | None = None
    flapping_window_ns: int | None = None
    repeat_ns: int | None = None


NO_RULE = Applied()


@dataclass(frozen=True, slots=True)
class StallSettings:
    """When a queue is stalled. `after_ns` 0: never; `above` is bytes."""

    after_ns: int
    above: int
    repeat_ns: int


NEVER_STALLED = StallSettings(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Decision:
    """What a rule decides; thresholds and clear levels are bytes, for SEND and for RECV."""

    threshold: tuple[int, int]
    clear: tuple[int, int]
    hold_ns: int
    repeat_ns: int
    applied: Applied = NO_RULE
    fill: tuple[int, int] = (0, 0)
    """Where not 0, the threshold is this share of the buffer, percent, and `threshold` is 0."""
    clear_fill: tuple[int, int] = (0, 0)
    stalled: StallSettings = NEVER_STALLED


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, with all that it decides: what it does not say is taken from the settings for all sockets."""

    match: Match
    decision: Decision


@dataclass(frozen=True, slots=True)
class Who:
    """Whose a socket is, as far as it is known; empty where it is not."""

    process: str = ""
    """The process's name, as the kernel keeps it: 15 bytes at most."""
    cgroup: str = ""
    """The path of the socket's cgroup."""
