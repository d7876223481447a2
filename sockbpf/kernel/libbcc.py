# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""BCC's runtime half, libbcc_bpf, without LLVM: the functions that are used of it, the same from BCC 0.18 to 0.37.

The prototypes are those of BCC's src/cc/libbpf.h and src/cc/perf_reader.h. Those that
attach kprobes and open event buffers say on stderr what goes wrong; for two others that do so there is bpf.py.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

from sockbpf.errors import UnsupportedError

LIBRARY = "libbcc_bpf.so.0"
MISSING_RUNTIME = (
    f"BCC's runtime library {LIBRARY} is missing or not known: apt-get install libbpfcc "
    "(python3-bpfcc brings it along)"
)

TAKE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
"""void take(void *cookie, void *record, int size)"""
LOSE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64)
"""void lose(void *cookie, uint64_t count)"""

_INT, _POINTER, _TEXT = ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p

PROTOTYPES = {
    # program, entry or return, name of the event, function, offset, most calls at once (0: the kernel's default)
    "bpf_attach_kprobe": (_INT, [_INT, _INT, _TEXT, _TEXT, ctypes.c_uint64, _INT]),
    "bpf_detach_kprobe": (_INT, [_TEXT]),
    "bpf_close_perf_event_fd": (_INT, [_INT]),
    # type, name, key's size, value's size, entries, flags
    "bcc_create_map": (_INT, [_INT, _TEXT, _INT, _INT, _INT, _INT]),
    # map, key, value
    "bpf_lookup_elem": (_INT, [_INT, _TEXT, _POINTER]),
    "bpf_update_elem": (_INT, [_INT, _TEXT, _TEXT, ctypes.c_ulonglong]),
    "bpf_delete_elem": (_INT, [_INT, _TEXT]),
    "bpf_get_first_key": (_INT, [_INT, _POINTER, ctypes.c_size_t]),
    "bpf_get_next_key": (_INT, [_INT, _TEXT, _POINTER]),
    # take, lose, cookie, process, CPU, pages
    "bpf_open_perf_buffer": (_POINTER, [TAKE, LOSE, _POINTER, _INT, _INT, _INT]),
    "perf_reader_fd": (_INT, [_POINTER]),
    "perf_reader_event_read": (None, [_POINTER]),
    "perf_reader_free": (None, [_POINTER]),
}


@cache
def library(name: str = LIBRARY) -> ctypes.CDLL:
    """Return the library; raise UnsupportedError, with the remedy, when it or a function of it is missing."""
    try:
        found = ctypes.CDLL(name, use_errno=True)
        for function, (result, arguments) in PROTOTYPES.items():
            entry = getattr(found, function)
            entry.restype, entry.argtypes = result, arguments
    except (OSError, AttributeError) as fault:
        raise UnsupportedError(f"{MISSING_RUNTIME}: {fault}") from None
    return found


def library_file() -> Path:
    """Return the file that the library is, with its version in the name."""
    library()
    maps = Path("/proc/self/maps").read_text()
    return next(Path(line.split(maxsplit=5)[5]) for line in maps.splitlines() if LIBRARY in line)


def last_fault() -> OSError:
    """Return why the last call failed, as far as the library left it in errno."""
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number) if number else "refused")
