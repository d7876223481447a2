# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is asked of a kernel, old ones above all, before kprobes are loaded into it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sockbpf.errors import UnsupportedError

SIGNATURE = Path("/proc/version_signature")
TRACING = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
UNIT = Path("/sys/bus/event_source/devices/kprobe")
PROC = Path("/proc")
JIT = Path("/proc/sys/net/core/bpf_jit_enable")
MPTCP = Path("/proc/sys/net/mptcp/enabled")
PANICS = range(114, 128)
"""Ubuntu's 4.4.0 builds based on these 4.4.x can panic when a kprobe's program accesses a map
(github.com/DataDog/datadog-agent/issues/4269, github.com/iovisor/bcc/issues/1678)."""

STALE = re.compile(r"^[pr]\d*:(kprobes/[pr]_\w+_bcc_(\d+)) ", re.MULTILINE)
"""A line that BCC writes before 4.17 for each kprobe: `p:kprobes/p_tcp_ack_bcc_4711 tcp_ack`."""


def has_kprobes() -> bool:
    """Whether this kernel was built with kprobe events: the performance unit of 4.17, or the file before it."""
    return UNIT.exists() or any((folder / "kprobe_events").exists() for folder in TRACING)


def has_raw_tracepoints() -> bool:
    """Whether this kernel may have them: they came with 4.17, as did the performance unit of kprobes."""
    return UNIT.exists() or not has_kprobes()


def what_costs() -> str:
    """Return why programs cost more here than they need to, with the remedy; nothing if they do not."""
    if _setting(JIT) != "0":
        return ""
    return (
        "the kernel interprets programs, which about doubles what a message costs. "
        "Remedy: sysctl net.core.bpf_jit_enable=1"
    )


def what_is_left_out() -> str:
    """Return which sockets of this kernel are not looked at though `ss` shows them; nothing if it has none."""
    if _setting(MPTCP) != "1":
        return ""
    return "MPTCP connections (net.mptcp.enabled=1): their queue is not the one of the TCP sockets that hooks see"


def _setting(path: Path) -> str:
    """Return what it is set to; nothing where this kernel, or this network namespace, has no such setting."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def refuse_if_it_can_panic(signature: Path = SIGNATURE) -> None:
    """Raise UnsupportedError on a kernel that kprobes with maps can bring down.

    The file holds, on Ubuntu alone, `Ubuntu 4.4.0-116.140-generic 4.4.98`: the build and what it is based on.
    """
    try:
        text = signature.read_text()
    except OSError:
        return
    based_on = re.fullmatch(r"Ubuntu 4\.4\.0-\S+ 4\.4\.(\d+)\s*", text)
    if based_on and int(based_on[1]) in PANICS:
        raise UnsupportedError(
            f"this kernel ({text.strip()}) can panic when a kprobe is loaded into it. Remedy: a newer 4.4.0 build "
            "(apt-get install linux-generic, reboot), or kernel > risk_panic: true in the configuration"
        )


def sweep_stale_kprobes(
    targets: set[str], tracing: tuple[Path, ...] = TRACING, proc: Path = PROC
) -> list[str]:
    """Remove what a killed process left in kprobe_events, of these kernel functions; return what was removed.

    They are disabled and harm nothing, but stay until somebody does. Lines of a process that lives are not touched.
    """
    for folder in tracing:
        events = folder / "kprobe_events"
        try:
            lines = events.read_text()
        except OSError:
            continue
        removed = []
        for line in STALE.finditer(lines):
            name, pid = line.groups()
            function = lines[line.end() :].split(maxsplit=1)[0].partition("+")[0]
            if function in targets and not (proc / pid).exists() and _remove(events, name):
                removed.append(name)
        return removed
    return []


def _remove(events: Path, name: str) -> bool:
    """Remove one line; False if it is in use after all (EBUSY), by a process that this /proc does not show."""
    # Appending, else all lines would go; and not by Path.open("a"): Python then looks for the end of the file,
    # which this one refuses (fs/seq_file.c: seq_lseek).
    descriptor = os.open(events, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, f"-:{name}\n".encode())
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
