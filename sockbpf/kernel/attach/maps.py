# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""One map in the kernel: look up, write, delete, list; keys and values are bytes."""

from __future__ import annotations

import ctypes
import errno
import struct
from typing import TYPE_CHECKING

from sockbpf.kernel.libbcc import last_fault, library

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sockbpf.kernel.attach.loading import Table

INDEX = struct.Struct("=I")
"""A key of an array."""

EXIST = 2
"""BPF_EXIST"""

WALKS = 5
"""How often a list is begun anew because the kernel lost its place."""


def look_up(table: Table, key: bytes) -> bytes | None:
    """Return the value; None if there is no such key."""
    value = ctypes.create_string_buffer(table.value_size)
    if library().bpf_lookup_elem(table.fd, key, value) == 0:
        return value.raw
    _demand_that_it_was_missing()
    return None


def write(table: Table, key: bytes, value: bytes) -> None:
    """Write an entry, old or new; raise OSError."""
    if library().bpf_update_elem(table.fd, key, value, 0) != 0:
        raise last_fault()


def rewrite(table: Table, key: bytes, value: bytes) -> bool:
    """Write an entry that is there; False if there is none. Raise OSError."""
    if library().bpf_update_elem(table.fd, key, value, EXIST) == 0:
        return True
    _demand_that_it_was_missing()
    return False


def delete(table: Table, key: bytes) -> bool:
    """Delete an entry; False if there was none."""
    if library().bpf_delete_elem(table.fd, key) == 0:
        return True
    _demand_that_it_was_missing()
    return False


def keys(table: Table) -> list[bytes]:
    """Return all keys; of those that come and go meanwhile some.

    The kernel begins anew when the key that it is asked to go on from was deleted meanwhile.
    """
    found: dict[bytes, None] = {}
    for _ in range(WALKS):
        walked: set[bytes] = set()
        for key in _walk(table):
            if key in walked:
                break
            walked.add(key)
            found[key] = None
        else:
            break
    return list(found)


def entries(table: Table) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys with their values."""
    for key in keys(table):
        value = look_up(table, key)
        if value is not None:
            yield key, value


def _walk(table: Table) -> Iterator[bytes]:
    """Yield one key after the other, without end if the kernel loses its place again and again."""
    following = ctypes.create_string_buffer(table.key_size)
    missing = library().bpf_get_first_key(table.fd, following, table.key_size)
    while not missing:
        key = following.raw
        yield key
        missing = library().bpf_get_next_key(table.fd, key, following)
    _demand_that_it_was_missing()


def _demand_that_it_was_missing() -> None:
    """Raise OSError unless the last call failed because there is no such key, or no further one."""
    if ctypes.get_errno() != errno.ENOENT:
        raise last_fault()
