# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`python -m bench.floor`: an empty program on each hook that the monitor takes on this kernel, until killed.

It is the least that any program there can cost. Prints `armed` once they are attached.
"""

from __future__ import annotations

import signal

import bcc

from sockbpf.kernel.attach.legacy import has_kprobes
from sockbpf.kernel.build.choice import WANTED_SYMBOLS, choose, lacking, on_demand
from sockbpf.kernel.build.hooks import KPROBES, TRACEPOINTS, Hook, HookKind
from sockbpf.kernel.build.source import kernel_symbols, type_source

EMPTY = "int empty_{number}(void *context) {{ return 0; }}"


def hooks() -> list[Hook]:
    """Return the hooks that the monitor has attached while nothing is over."""
    kinds = TRACEPOINTS | (KPROBES if has_kprobes() else frozenset())
    symbols = kernel_symbols(WANTED_SYMBOLS)
    sights = choose(kinds, symbols, lacking(symbols))
    wanted = {hook for sight in sights if sight.candidate for hook in sight.candidate.hooks}
    return sorted(wanted.difference(*on_demand(sights, can_look=True).values()), key=str)


def main() -> None:
    wanted = hooks()
    type_source("auto")  # where BCC finds what it always includes
    bpf = bcc.BPF(text="\n".join(EMPTY.format(number=number) for number in range(len(wanted))))
    for number, hook in enumerate(wanted):
        program = f"empty_{number}".encode()
        if hook.kind is HookKind.TRACEPOINT:
            bpf.attach_raw_tracepoint(hook.target.encode(), program)
        elif hook.kind is HookKind.KPROBE:
            bpf.attach_kprobe(event=hook.target.encode(), fn_name=program)
        else:
            bpf.attach_kretprobe(event=hook.target.encode(), fn_name=program)
    print("armed", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
