# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Counters of a whole network namespace, such as UdpRcvbufErrors: their rates, and what a look at them saw."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sockbpf.record.event import Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockbpf.record.event import Socket

NAME = re.compile(
    r"(?:Ip|IpExt|Icmp|IcmpMsg|Tcp|TcpExt|MPTcpExt|Udp|UdpLite|Ip6|Icmp6|Udp6|UdpLite6)[A-Z][A-Za-z0-9]{1,60}"
)
"""The form of a counter's name as `nstat` prints it: the group of the kernel's table, then the name in that group."""

NO_COUNTERS = frozenset(
    {
        "IpForwarding",
        "IpDefaultTTL",
        "TcpRtoAlgorithm",
        "TcpRtoMin",
        "TcpRtoMax",
        "TcpMaxConn",
        "TcpCurrEstab",
    }
)
"""Names in the same tables whose values are settings or present numbers, which have no rate."""

SECOND_NS = 10**9
PER = {1: "second", 60: "minute"}
"""The seconds that a rate can be written for, and the word for each."""

Droppers = tuple[tuple["Socket", int], ...]
"""Sockets, and how many datagrams each dropped."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so many seconds, 1 or 60."""

    number: int
    seconds: int

    @property
    def window_ns(self) -> int:
        return self.seconds * SECOND_NS

    def __str__(self) -> str:
        return f"{self.number}/{PER[self.seconds][0]}"


@dataclass(frozen=True, slots=True)
class HostCounter:
    """A counter, by `nstat`'s name, of one network namespace, by its inode number."""

    name: str
    netns: int

    @property
    def protocol(self) -> Protocol | None:
        """The protocol that it counts; None if that is neither TCP nor UDP."""
        if self.name.startswith("Udp"):
            return Protocol.UDP
        return Protocol.TCP if self.name.startswith("Tcp") else None


@dataclass(frozen=True, slots=True)
class Counts:
    """The counters of one network namespace as they were read at the instant `ns`, CLOCK_MONOTONIC.

    `droppers` are the UDP sockets whose own counts of dropped datagrams rose since the look before, each with how
    many it dropped.
    """

    netns: int
    ns: int
    values: Mapping[str, int]
    droppers: Droppers = ()
