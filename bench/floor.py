"""`python -m bench.floor`: empty programs on the hooks that the monitor takes on this kernel, until killed.

Prints `armed` once they are attached.
"""

from __future__ import annotations

import signal
from pathlib import Path

import bcc

from sockbpf.kernel.choice import WANTED_SYMBOLS, choose, lacking
from sockbpf.kernel.hooks import KPROBES, TRACEPOINTS, Hook, Kind
from sockbpf.kernel.legacy import has_kprobes
from sockbpf.kernel.source import kernel_symbols, type_source

SOURCE = Path(__file__).with_suffix(".c")


def hooks() -> list[Hook]:
    """Return the hooks that the monitor has attached while nothing is over."""
    kinds = TRACEPOINTS | (KPROBES if has_kprobes() else frozenset())
    symbols = kernel_symbols(WANTED_SYMBOLS)
    candidates = [sight.candidate for sight in choose(kinds, symbols, lacking(symbols))]
    wanted = [hook for each in candidates if each and not each.on_demand for hook in each.hooks]
    return sorted(set(wanted), key=str)


def main() -> None:
    type_source("auto")  # where BCC finds what it always includes
    bpf = bcc.BPF(src_file=str(SOURCE))
    for hook in hooks():
        if hook.kind is Kind.TRACEPOINT:
            bpf.attach_raw_tracepoint(hook.target.encode(), b"empty")
        elif hook.kind is Kind.KPROBE:
            bpf.attach_kprobe(event=hook.target.encode(), fn_name=b"empty")
        else:
            bpf.attach_kretprobe(event=hook.target.encode(), fn_name=b"empty")
    print("armed", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
