# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A look by BPF iterators: the kernel goes through its sockets, bpf/look.c hands over those that are asked for."""

from __future__ import annotations

import errno
import os
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from sockbpf.errors import UnsupportedError
from sockbpf.kernel.attach.bpf import link_iterator, open_iterator
from sockbpf.kernel.attach.loading import load
from sockbpf.kernel.attach.maps import write
from sockbpf.kernel.look.packed import handed
from sockbpf.kernel.look.record import RECORD, packed, rows_of
from sockbpf.kernel.look.row import Terms, Which
from sockbpf.record.event import Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sockbpf.kernel.build.bytecode import Bytecode
    from sockbpf.kernel.look.packed import Handed
    from sockbpf.kernel.look.row import Row

READ_BYTES = 1 << 18
"""More than the kernel gathers for one read, which is 8 pages."""

PATIENCE_S = 10.0
"""How long one look may take: a socket that the kernel shows again and again must not keep it going."""

FIRST = struct.pack("=I", 0)


class Iterators:
    """The loaded iterators."""

    name = "BPF iterators"

    def __init__(self, bytecode: Bytecode) -> None:
        """Load the iterators and open each once, to see that it works; raise UnsupportedError."""
        self._loaded = load(bytecode)
        self._links: dict[Protocol, int] = {}
        self._terms = b""
        try:
            for protocol in Protocol:
                self._link(protocol, f"look_{protocol.name.lower()}")
        except BaseException:
            self.close()
            raise

    def _link(self, protocol: Protocol, program: str) -> None:
        if program in self._loaded.refused:
            raise UnsupportedError(f"{program}: {self._loaded.refused[program]}")
        try:
            self._links[protocol] = link_iterator(self._loaded.programs[program])
            os.close(open_iterator(self._links[protocol]))
        except OSError as fault:
            raise UnsupportedError(f"{program}: not attached: {fault.strerror}") from None

    def rows(self, protocol: Protocol, terms: Terms) -> list[Row]:
        """Return the sockets of the calling thread's network namespace that are asked for; raise OSError."""
        self._write(terms)
        descriptor = open_iterator(self._links[protocol])
        try:
            rows = gathered(_chunks(descriptor))
        finally:
            os.close(descriptor)
        return [row for row in rows if terms.take(row.send, row.recv, row.inode)]

    def handed(self, protocol: Protocol, which: Which, *, progress: bool = False) -> Handed:  # noqa: ARG002
        """Return such sockets of the calling thread's network namespace; raise OSError."""
        self._write(Terms(which))
        descriptor = open_iterator(self._links[protocol])
        try:
            return handed(map(whole, _chunks(descriptor)))
        finally:
            os.close(descriptor)

    def _write(self, terms: Terms) -> None:
        value = packed(terms)
        if value != self._terms:
            write(self._loaded.tables["terms"], FIRST, value)
            self._terms = value

    def close(self) -> None:
        """Unload them."""
        for link in self._links.values():
            os.close(link)
        self._links.clear()
        self._loaded.close()


def gathered(chunks: Iterable[bytes]) -> list[Row]:
    """Return each socket once: where its neighbours change meanwhile the kernel may show it again.

    Raise OSError if a chunk is no whole number of sockets.
    """
    found: dict[int, Row] = {}
    for chunk in chunks:
        found.update(rows_of(whole(chunk)))
    return list(found.values())


def whole(chunk: bytes) -> bytes:
    """Return a chunk; raise OSError if it is no whole number of sockets."""
    if len(chunk) % RECORD.size:
        raise OSError(errno.EBADMSG, f"{len(chunk)} bytes are no whole number of sockets")
    return chunk


def _chunks(descriptor: int) -> Iterator[bytes]:
    """Yield what the kernel hands over; raise OSError."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        with suppress(BlockingIOError):  # a million sockets were passed over, and there are more
            chunk = os.read(descriptor, READ_BYTES)
            if not chunk:
                return
            yield chunk
    raise TimeoutError(errno.ETIMEDOUT, "the look does not come to an end")
