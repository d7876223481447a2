# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""bpf(2) itself, for the commands that BCC lacks or of which BCC's functions say on stderr why they failed.

Whoever catches stderr takes descriptor 2 from every thread of the process. Here the reason is returned.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from sockbpf.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "s390x": 351, "ppc64le": 361}
"""The number of bpf(2) by machine: __NR_bpf of asm/unistd.h, which neither Python nor libc knows."""

PROG_LOAD, PROG_TEST_RUN, INFO_BY_FD, RAW_TRACEPOINT_OPEN, LINK_CREATE, ITER_CREATE = 5, 10, 15, 17, 28, 33
"""enum bpf_cmd of include/uapi/linux/bpf.h"""

TRACE_ITER = 28
"""enum bpf_attach_type"""

PROGRAM = struct.Struct("=IIQQIIQII")
"""union bpf_attr: type, count and address of instructions, address of the licence, the log's level, size and address,
the kernel's version, flags; that is all that 4.4 knows."""
NAME = struct.Struct("=15sx")
"""And the program's name, from 4.15 on."""
ITERATES = struct.Struct("=4xI36xI")
"""And of an iterator, from 5.9 on: how it is attached; the id of the function that says what it goes through."""
LINK = struct.Struct("=I4xI4x")
"""union bpf_attr: the program's descriptor, how it is attached."""
ITERATOR = struct.Struct("=I4x")
"""union bpf_attr: the link's descriptor."""
TRACEPOINT = struct.Struct("=QI4x")
"""union bpf_attr: address of the tracepoint's name, the program's descriptor."""
NUMBER = struct.Struct("=Q")
RUN = struct.Struct("=I36xI4xQ16x")
"""union bpf_attr: the program's descriptor, size and address of its arguments; what else there is must be 0."""

INFO = struct.Struct("=IIQ")
"""union bpf_attr: the descriptor, size and address of where to write what it is."""
SKIPPED_AT = 208
"""Offset of recursion_misses in struct bpf_prog_info, the last that is read of it."""

TRIES = 5
"""How often the verifier may be interrupted by a signal: EAGAIN."""

LOG_BYTES = (1 << 16, 1 << 20, (1 << 24) - 1)
"""Room for the verifier's log, more if it was not enough. Its last lines say why; 4.4 takes no more than the last."""

LINES = 3
"""As many of them are shown."""


def load_program(
    kind: int, name: str, code: bytes, licence: str, kernel_version: int, *, iterates: int = 0
) -> int:
    """Return the descriptor of a loaded program; raise OSError with the verifier's last words.

    `kind` is of enum bpf_prog_type; 4.4 compares `kernel_version` with its own. `iterates` is of an iterator.
    """
    what = NAME.pack(name.encode()) + (ITERATES.pack(TRACE_ITER, iterates) if iterates else b"")
    instructions = ctypes.create_string_buffer(code, len(code))
    terms = ctypes.create_string_buffer(licence.encode())

    def load(log: ctypes.Array[ctypes.c_char] | None = None) -> int:
        about_log = (1, len(log), ctypes.addressof(log)) if log else (0, 0, 0)
        places = ctypes.addressof(instructions), ctypes.addressof(terms)
        attributes = PROGRAM.pack(kind, len(code) // 8, *places, *about_log, kernel_version, 0)
        try:
            return _bpf(PROG_LOAD, attributes + what)
        except OSError as fault:
            if iterates or fault.errno not in (errno.E2BIG, errno.EINVAL):
                raise
            return _bpf(PROG_LOAD, attributes)

    try:
        return load()
    except OSError as fault:
        reason = os.strerror(fault.errno or 0)
    for size in LOG_BYTES:
        log = ctypes.create_string_buffer(size)
        try:
            return load(log)
        except OSError as fault:
            if fault.errno != errno.ENOSPC:
                break
    words = log.value.decode(errors="replace").splitlines()
    raise OSError("; ".join([reason, *words[-LINES:]]))


def open_raw_tracepoint(name: str, program: int) -> int:
    """Attach a program; return the descriptor that keeps it attached, or raise OSError."""
    text = ctypes.create_string_buffer(name.encode())
    return _bpf(RAW_TRACEPOINT_OPEN, TRACEPOINT.pack(ctypes.addressof(text), program))


def run_raw_tracepoint(program: int, *arguments: int) -> None:
    """Run a program of raw tracepoints once, here and now, as if its tracepoint had been passed; raise OSError.

    The kernel takes it from 5.10 on (1b4d60ec162f, "bpf: Enable BPF_PROG_TEST_RUN for raw_tracepoint").
    """
    given = struct.pack(f"={len(arguments)}Q", *arguments)
    held = ctypes.create_string_buffer(given, len(given))
    _bpf(PROG_TEST_RUN, RUN.pack(program, len(given), ctypes.addressof(held)))


def skipped_runs(program: int) -> int:
    """Return how often the kernel skipped a program as it interrupted itself on its CPU; raise OSError.

    It is 0 before 5.12 (9ed9e9ba2337, "bpf: Count the number of times recursion was prevented"), and of some kinds
    of hooks in later kernels too.
    """
    info = ctypes.create_string_buffer(SKIPPED_AT + NUMBER.size)
    _bpf(INFO_BY_FD, INFO.pack(program, len(info), ctypes.addressof(info)))
    return int(NUMBER.unpack_from(info, SKIPPED_AT)[0])


def link_iterator(program: int) -> int:
    """Return a descriptor by which an iterator can be opened again and again; raise OSError."""
    return _bpf(LINK_CREATE, LINK.pack(program, TRACE_ITER))


def open_iterator(link: int) -> int:
    """Return a descriptor to read, once through what this thread's network namespace has; raise OSError."""
    return _bpf(ITER_CREATE, ITERATOR.pack(link))


def _bpf(command: int, attributes: bytes) -> int:
    """Return what the system call returns; raise OSError."""
    union = ctypes.create_string_buffer(attributes, len(attributes))
    interrupted, locked = 0, True
    while True:
        result = _system_call()(command, union, len(attributes))
        if result >= 0:
            return result
        number = ctypes.get_errno()
        if number == errno.EAGAIN and interrupted < TRIES:
            interrupted += 1
        elif number == errno.EPERM and locked:  # before 5.11 programs are counted as locked memory
            locked = False
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        else:
            raise OSError(number, os.strerror(number))


@cache
def _system_call() -> Callable[[int, ctypes.Array[ctypes.c_char], int], int]:
    machine = os.uname().machine
    if machine not in NUMBERS:
        raise UnsupportedError(f"the number of bpf(2) is not known for this machine: {machine}")
    system_call = ctypes.CDLL(None, use_errno=True).syscall
    system_call.restype = ctypes.c_long
    system_call.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    return lambda command, union, size: int(system_call(NUMBERS[machine], command, union, size))
