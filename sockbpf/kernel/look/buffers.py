# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How large the buffers of sockets become on this host, by its sysctls; which thresholds no queue can reach."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sockbpf.record.event import Direction, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sockbpf.record.facts import Fill

SYSCTLS = Path("/proc/sys/net")
"""Those of the network namespace that the reading process is in."""

SURE = 0.8
"""The part of a buffer that a queue surely reaches. The kernel counts more than payload, and drops a datagram that
does not fit: on loopback the queue of a TCP reader that never reads stood at 0.94 of its buffer at the least, that of
a UDP one at 0.86, with datagrams of 60 000 bytes."""

NAMES = {Direction.SEND: ("wmem", "SO_SNDBUF"), Direction.RECV: ("rmem", "SO_RCVBUF")}
"""What the sysctls of a direction are called, and the option by which a program sets a buffer itself."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """The greatest sizes of one kind of buffer, bytes as the kernel counts them.

    A send queue may hold a part of one write more.
    """

    protocol: Protocol
    direction: Direction
    usual: int
    """If the program asks for nothing."""
    sysctl: str
    """What sets `usual`."""
    asked_for: int
    """If the program sets SO_SNDBUF or SO_RCVBUF: the kernel doubles what it is given."""


def buffers(folder: Path = SYSCTLS) -> Iterator[Buffer]:
    """Give the kinds of buffers whose sysctls this network namespace shows."""
    for direction, (name, _) in NAMES.items():
        with suppress(OSError, ValueError, IndexError):
            asked_for = 2 * _numbers(folder / "core" / f"{name}_max")[0]
            (by_default,) = _numbers(folder / "core" / f"{name}_default")
            yield Buffer(Protocol.UDP, direction, by_default, f"net.core.{name}_default", asked_for)
            _, at_first, at_most = _numbers(folder / "ipv4" / f"tcp_{name}")
            grows = direction is Direction.SEND or _numbers(folder / "ipv4" / "tcp_moderate_rcvbuf") != [0]
            usual = at_most if grows else at_first
            yield Buffer(Protocol.TCP, direction, usual, f"net.ipv4.tcp_{name}", asked_for)


def _numbers(sysctl: Path) -> list[int]:
    return [int(word) for word in sysctl.read_text().split()]


def out_of_reach(thresholds: Mapping[Direction, int | Fill], found: Iterable[Buffer]) -> list[str]:
    """Return a sentence for each threshold in bytes and kind of buffer that cannot hold more than the threshold."""
    return [
        _sentence(threshold, buffer)
        for buffer in found
        if isinstance(threshold := thresholds[buffer.direction], int) and threshold >= buffer.usual
    ]


def _sentence(threshold: int, buffer: Buffer) -> str:
    direction, option = buffer.direction.name, NAMES[buffer.direction][1]
    more = ""
    if threshold < buffer.asked_for:
        more = f", and up to {buffer.asked_for} only if the program sets {option}"
    elif buffer.usual < buffer.asked_for:
        more = f", and if the program sets {option} up to {buffer.asked_for}"
    return (
        f"thresholds > {direction.lower()}: {threshold} bytes is out of reach of a {buffer.protocol.name} "
        f"{direction} buffer here: it has {buffer.usual} ({buffer.sysctl}){more}; "
        f"{int(SURE * buffer.usual)} can be reached"
    )
