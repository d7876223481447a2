# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""One look for people: the sockets of all network namespaces, or of this one where the user may not enter others."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sockbpf.kernel.look.netns import inside, namespaces
from sockbpf.kernel.look.packed import handed_rows
from sockbpf.kernel.look.row import Which
from sockbpf.kernel.look.sock_diag import LISTEN, dump_without_bytes
from sockbpf.record.event import Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from contextlib import AbstractContextManager

    from sockbpf.kernel.look.packed import Handed
    from sockbpf.kernel.look.row import Look, Row

OWN = "/proc/self/ns/net"
FAMILIES = (socket.AF_INET, socket.AF_INET6)


@dataclass(slots=True)
class Glance:
    """What a look showed, with the inode number of the network namespace of each part."""

    handed: list[tuple[int, Protocol, Handed]] = field(default_factory=list)
    """Sockets with queues of bytes; and those of TIME-WAIT and SYN-RECV, which are empty."""
    listeners: list[tuple[int, Row]] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    """A sentence for each thing that could not be looked at."""
    left_out: int = 0
    """Network namespaces of which the process or the name was gone; another process may be in them."""


def places() -> dict[int, str]:
    """Return a path for each network namespace that this user may look into, by inode number."""
    own = os.stat(OWN).st_ino
    return namespaces() | {own: OWN} if os.geteuid() == 0 else {own: OWN}


def entered(path: str, number: int) -> AbstractContextManager[int]:
    """Return what has the calling thread in that namespace meanwhile; raise OSError there."""
    return nullcontext(number) if path == OWN else inside(path)


def glance(
    look: Look,
    protocols: Collection[Protocol],
    *,
    empties: bool,
    listeners_only: bool,
    progress: bool = False,
    beat: Callable[[], None] = lambda: None,
) -> Glance:
    """Look at all sockets once: at those that hold something, and with `empties` at the others too.

    With `progress` each says what has left its queues. `beat` is called now and then.
    """
    which = Which.ALL if empties else Which.NOT_EMPTY
    seen = Glance()
    for number, path in places().items():
        with _noting(seen, "sockets", number), _leaving_out(seen), entered(path, number) as netns:
            if netns != number:  # the process has gone into another one
                seen.left_out += 1
                continue
            for protocol in () if listeners_only else protocols:
                beat()
                with _noting(seen, f"{protocol.name} sockets", netns):
                    handed = look.handed(protocol, which, progress=progress)
                    seen.handed.append((netns, protocol, handed))
            if Protocol.TCP in protocols:
                beat()
                with _noting(seen, "TCP listeners", netns):
                    _see_rest(seen, netns, empties=empties and not listeners_only)
    return seen


@contextmanager
def _noting(seen: Glance, what: str, netns: int) -> Iterator[None]:
    """Note what could not be looked at, and go on."""
    try:
        yield
    except OSError as fault:
        seen.missed.append(f"{what} of network namespace {netns} cannot be listed: {fault.strerror or fault}")


@contextmanager
def _leaving_out(seen: Glance) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, ProcessLookupError):
        seen.left_out += 1


def _see_rest(seen: Glance, netns: int, *, empties: bool) -> None:
    rows = [row for family in FAMILIES for row in dump_without_bytes(family, everything=empties)]
    seen.listeners += [(netns, row) for row in rows if row.detail and row.detail.state == LISTEN]
    rest = [row for row in rows if row.detail and row.detail.state != LISTEN]
    if rest:
        seen.handed.append((netns, Protocol.TCP, handed_rows(rest)))


def namespaces_entered() -> Iterator[int]:
    """Have the calling thread in each network namespace in turn, and yield its number; pass over what is gone."""
    for number, path in places().items():
        with suppress(OSError), entered(path, number) as netns:
            yield netns
