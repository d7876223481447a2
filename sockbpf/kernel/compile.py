"""The process that compiles: BCC makes programs of the C and loads them, and hands their descriptors over.

It is run by compiler.py, answers orders until its socket is closed, and takes LLVM's 90 MB with it when it ends.
This is the only room that knows BCC's compiling half. Nothing is attached here.
"""

from __future__ import annotations

import ctypes
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

from sockbpf.errors import UnsupportedError
from sockbpf.kernel.handover import Fault, Loaded, Table, send
from sockbpf.kernel.hooks import Kind
from sockbpf.kernel.order import Order, order_from
from sockbpf.kernel.source import SOURCE, type_source

if TYPE_CHECKING:
    from collections.abc import Collection
    from types import ModuleType

MISSING_BCC = (
    "BCC's Python module is missing: apt-get install python3-bpfcc, and a virtual environment "
    "made from /usr/bin/python3 with --system-site-packages (make setup does both)"
)
TABLES = ("settings", "tally", "episodes", "own", "events")
"""The maps that user space reads or writes."""

LONGEST_ORDER = 1 << 17
PR_SET_PDEATHSIG = 1


def import_bcc() -> ModuleType:
    """Return BCC; raise UnsupportedError, with the remedy."""
    try:
        import bcc
    except ImportError:
        raise UnsupportedError(MISSING_BCC) from None
    except Exception as fault:  # noqa: BLE001, of another Python, of another LLVM: anything
        raise UnsupportedError(f"BCC's Python module does not work here: {fault!r}") from None
    bcc_module: ModuleType = bcc
    return bcc_module


def compiled(order: Order, layout: Collection[str]) -> Any:
    """Compile and make the maps; return BCC's object. `layout` are the compiler's arguments for the types.

    Raise UnsupportedError when BCC or the right to make maps is missing.
    """
    bcc = import_bcc()
    # Without debug information, which nobody reads: a fifth of the time.
    flags = [f"-I{SOURCE}", "-g0", *order.flags, *layout]
    try:
        return bcc.BPF(src_file=str(SOURCE / "monitor.c"), cflags=flags)
    except Exception as fault:  # noqa: BLE001, BCC raises nothing narrower
        raise UnsupportedError(f"BCC cannot compile the probes: {fault}") from None


def load(bpf: Any, order: Order, types: str) -> Loaded:
    """Load the programs that were asked for; the descriptors are those of BCC's object."""
    programs, refused = {}, {}
    for name, kind in order.programs.items():
        kind_of_program = bpf.RAW_TRACEPOINT if Kind(kind) is Kind.TRACEPOINT else bpf.KPROBE
        try:
            programs[name] = bpf.load_func(name.encode(), kind_of_program).fd
        except Exception as fault:  # noqa: BLE001, BCC raises nothing narrower
            refused[name] = str(fault)
    tables = {name: bpf[name] for name in TABLES}
    return Loaded(
        types,
        programs,
        refused,
        {
            name: Table(table.map_fd, ctypes.sizeof(table.Key), ctypes.sizeof(table.Leaf))
            for name, table in tables.items()
        },
    )


def prepare(types: str) -> tuple[str, list[str]] | Fault:
    """Do what needs no order: return a word for where the types come from and the compiler's arguments for them."""
    try:
        import_bcc()
        return type_source(types)
    except UnsupportedError as fault:
        return Fault(str(fault))


def answer(order: Order, prepared: tuple[str, list[str]] | Fault, door: socket.socket) -> None:
    """Do what is asked and hand it over, or say why not."""
    if isinstance(prepared, Fault):
        send(door, prepared)
        return
    types, layout = prepared
    try:
        bpf = compiled(order, layout)
    except UnsupportedError as fault:
        send(door, Fault(str(fault)))
        return
    send(door, load(bpf, order, types))
    bpf.cleanup()


def main(types: str, number: int) -> None:
    """Answer the orders that come over the socket of this descriptor, until it is closed.

    `types` is where the kernel's types come from: auto, btf or headers.
    """
    # The monitor can be killed while this compiles: it would go on, for nobody.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    with socket.socket(fileno=number) as door:
        prepared = prepare(types)
        while raw := door.recv(LONGEST_ORDER):
            answer(order_from(raw), prepared, door)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
