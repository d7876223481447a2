# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The process that compiles: BCC makes bytecode of the C, for another process to load.

compiler.py runs it: an order comes on stdin, the bytecode or the fault goes out on stdout, and LLVM's 90 MB are freed
as the process ends. No other module uses the compiling half of BCC.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from sockbpf.errors import UnsupportedError
from sockbpf.kernel.build.bytecode import Bytecode, MapKind
from sockbpf.kernel.build.order import ITERATED, Order, order_from
from sockbpf.kernel.build.shortcuts import compiled_program
from sockbpf.kernel.build.source import BTF, SOURCE, kernel_types, type_source

if TYPE_CHECKING:
    from collections.abc import Collection
    from types import ModuleType

MISSING_BCC = (
    "BCC's Python module is missing: apt-get install python3-bpfcc, and a virtual environment "
    "made from /usr/bin/python3 with --system-site-packages (make setup does both)"
)
PR_SET_PDEATHSIG = 1


def import_bcc() -> ModuleType:
    """Return BCC; raise UnsupportedError, with the remedy."""
    try:
        import bcc
    except ImportError:
        raise UnsupportedError(MISSING_BCC) from None
    except Exception as fault:  # noqa: BLE001, made for another Python or LLVM it raises anything
        raise UnsupportedError(f"BCC's Python module does not work here: {fault!r}") from None
    bcc_module: ModuleType = bcc
    return bcc_module


def compiled(order: Order, layout: Collection[str]) -> Any:
    """Compile; return BCC's object. `layout` are the compiler's arguments for the types.

    Raise UnsupportedError when BCC is missing, or the right to make maps: BCC makes them as it compiles.
    """
    bcc = import_bcc()
    # Without debug information, which nobody reads: a fifth of the time.
    flags = [f"-I{SOURCE}", "-g0", *order.flags, *layout]
    try:
        return bcc.BPF(src_file=str(SOURCE / order.source), cflags=flags)
    except Exception as fault:  # noqa: BLE001, BCC raises nothing narrower
        raise UnsupportedError(f"BCC cannot compile the probes: {fault}") from None


def bytecode_of(bpf: Any, order: Order, types: str) -> Bytecode:
    """Return the programs of the order and all maps."""
    from bcc import lib

    module, tables = bpf.module, {name: bpf[name] for name in order.maps}
    names = {table.map_fd: name for name, table in tables.items()}
    maps = {
        name: MapKind(
            int(lib.bpf_table_type_id(module, table.map_id)),
            ctypes.sizeof(table.Key),
            ctypes.sizeof(table.Leaf),
            int(lib.bpf_table_max_entries_id(module, table.map_id)),
            int(lib.bpf_table_flags_id(module, table.map_id)),
        )
        for name, table in tables.items()
    }
    programs = {
        name: compiled_program(kind, bpf.dump_func(name.encode()), names, _target(name))
        for name, kind in order.programs.items()
    }
    licence = lib.bpf_module_license(module).decode()
    return Bytecode(types, licence, int(lib.bpf_module_kern_version(module)), maps, programs)


def _target(program: str) -> int:
    """Return what an iterator goes through, as the kernel's types number it; 0 for a hook's program."""
    return kernel_types(BTF).function(ITERATED[program]) if program in ITERATED else 0


def main(types: str) -> bytes:
    """Return the answer to the order on stdin.

    `types` is where the kernel's types come from: auto, btf or headers.
    """
    # If the monitor is killed while this process compiles, the kernel ends it too.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    try:
        import_bcc()
        word, layout = type_source(types)
        order = order_from(sys.stdin.buffer.read())
        return bytecode_of(compiled(order, layout), order, word).to_bytes()
    except UnsupportedError as fault:
        return json.dumps({"fault": str(fault)}).encode()


if __name__ == "__main__":
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what BCC may print must not be taken for the answer
    answer.write(main(sys.argv[1]))
    answer.flush()
    os._exit(0)  # without LLVM's own end, which takes time
