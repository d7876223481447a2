# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The programs, and the kind of each."""

from __future__ import annotations

import re
from pathlib import Path

from sockbpf.kernel.build.hooks import HookKind
from sockbpf.kernel.build.shortcuts import Shortcut

BPF = Path(__file__).parents[2] / "bpf"
KINDS = {"TRACEPOINT": {HookKind.TRACEPOINT}, "KPROBE": {HookKind.KPROBE, HookKind.KRETPROBE}}
PROGRAMS = {
    name: KINDS[macro]
    for file in ("tracepoints.h", "kprobes.h")
    for macro, name in re.findall(r"^(TRACEPOINT|KPROBE)\((\w+)\)$", (BPF / file).read_text(), re.MULTILINE)
}
"""Each program of bpf/ and how it may be attached."""

SWITCHES = {
    "both": frozenset(Shortcut),
    "casts": frozenset({Shortcut.CASTS}),
    "direct values": frozenset({Shortcut.DIRECT_VALUES}),
    "plain": frozenset[Shortcut](),
}
"""Every choice of shortcuts: as from 6.2 on, as nowhere yet, as from 5.2 on, as before."""
