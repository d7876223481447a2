# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The event buffers that the programs write to, one for each CPU, read by BCC's runtime half."""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from sockbpf.errors import UnsupportedError
from sockbpf.kernel.attach.maps import write
from sockbpf.kernel.libbcc import LOSE, TAKE, last_fault, library

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockbpf.kernel.attach.loading import Table

ONLINE = Path("/sys/devices/system/cpu/online")
CELL = struct.Struct("=I")
"""A key of the table, a CPU, and its value, a descriptor."""
ANY_PROCESS = -1


def cpus(text: str) -> list[int]:
    """Return the CPUs of a list as the kernel writes it: `0-3,8`."""
    numbers: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


class Rings:
    """What the kernel side says, record by record."""

    def __init__(self, table: Table, pages: int, lose: Callable[[int], None]) -> None:
        """Open a buffer of so many pages for each CPU; `lose` is called with the number of records that had no room.

        Raise UnsupportedError, with the remedy.
        """
        self._taken: list[bytes] = []
        self._lib = library()
        # Kept: the library calls them as long as there are readers.
        self._take = TAKE(lambda _, record, size: self._taken.append(ctypes.string_at(record, size)))
        self._lose = LOSE(lambda _, count: lose(count))
        self._readers: list[int] = []
        try:
            for cpu in cpus(ONLINE.read_text()):
                self._open(table, cpu, pages)
        except OSError as fault:
            self.close()
            raise UnsupportedError(
                f"no event buffers of {pages} pages for each CPU: {fault}. "
                "Remedy: more locked memory (ulimit -l unlimited), or a smaller kernel > perf_pages"
            ) from None

    def _open(self, table: Table, cpu: int, pages: int) -> None:
        reader = self._lib.bpf_open_perf_buffer(self._take, self._lose, None, ANY_PROCESS, cpu, pages)
        if not reader:
            raise last_fault()
        self._readers.append(reader)
        descriptor = self._lib.perf_reader_fd(reader)
        write(table, CELL.pack(cpu), CELL.pack(descriptor))

    def fds(self) -> list[int]:
        """Return the descriptors that become readable when there are records."""
        return [self._lib.perf_reader_fd(reader) for reader in self._readers]

    def read(self) -> list[bytes]:
        """Return the records that have come, without waiting."""
        for reader in self._readers:
            # Not perf_reader_poll: whoever waits on `fds` has used up the readiness that it would wait for
            # (kernel/events/core.c: perf_poll), and perf_reader_consume came only with BCC 0.24.
            self._lib.perf_reader_event_read(reader)
        taken, self._taken = self._taken, []
        return taken

    def close(self) -> None:
        while self._readers:
            self._lib.perf_reader_free(self._readers.pop())
