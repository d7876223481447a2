# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The path of a cgroup by its id, at once: open_by_handle_at(2), from Linux 5.5 on and with CAP_DAC_READ_SEARCH."""

from __future__ import annotations

import ctypes
import os
import struct
from contextlib import suppress

FILEID_KERNFS = 0xFE
"""include/linux/exportfs.h: the handle is the id (40430452fd5d, "kernfs: use 64bit inos if ino_t is 64bit")."""

HANDLE = struct.Struct("=IiQ")
"""struct file_handle: the length of the handle, its type, the handle."""

DELETED = " (deleted)"


def path_by_handle(root: str, number: int) -> str | None:
    """Return the path below `root`, where cgroup2 is mounted; None if it is gone, or that is not possible."""
    descriptors: list[int] = []
    try:
        descriptors.append(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        handle = ctypes.create_string_buffer(HANDLE.pack(8, FILEID_KERNFS, number), HANDLE.size)
        found = ctypes.CDLL(None).open_by_handle_at(descriptors[0], handle, os.O_PATH | os.O_CLOEXEC)
        if found < 0:
            return None
        descriptors.append(found)
        path = os.readlink(f"/proc/self/fd/{found}")
        if path == root:
            return "/"
        return path[len(root) :] if path.startswith(f"{root}/") and not path.endswith(DELETED) else None
    except (OSError, AttributeError):  # a C library without it
        return None
    finally:
        for descriptor in descriptors:
            with suppress(OSError):
                os.close(descriptor)


def handles_work(root: str) -> bool:
    """Tell whether this kernel, and this user's rights, let a path be found so: tried with the root's own id."""
    with suppress(OSError):
        return path_by_handle(root, os.stat(root).st_ino) == "/"
    return False
