# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which programs are attached to which hooks, and how that is done and undone."""

from __future__ import annotations

import ctypes
import logging
import os
from typing import TYPE_CHECKING

from sockbpf.kernel.attach.bpf import open_raw_tracepoint
from sockbpf.kernel.build.hooks import Hook, HookKind
from sockbpf.kernel.libbcc import last_fault, library

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

log = logging.getLogger(__name__)

ENTRY, RETURN = 0, 1
"""enum bpf_probe_attach_type of BCC's src/cc/libbpf.h"""


def _event(hook: Hook) -> bytes:
    """Return what the library makes a name of in kprobe_events before 4.17; legacy.py knows it too."""
    return f"{'p' if hook.kind is HookKind.KPROBE else 'r'}_{hook.target}".encode()


class Attachments:
    """Hooks with a program; each is a descriptor, so that the kernel detaches all when the process dies."""

    def __init__(self, programs: Mapping[str, int], refused: Mapping[str, str]) -> None:
        """`programs` are descriptors by name; `refused` are those that could not be loaded, and why."""
        self._programs, self._refused = programs, refused
        self._lib = library()
        self._attached: dict[Hook, int] = {}

    def __contains__(self, hook: Hook) -> bool:
        return hook in self._attached

    def attach(self, hooks: Iterable[Hook]) -> dict[Hook, str]:
        """Attach those that are not yet; return those that could not be, and why."""
        refused = {}
        for hook in hooks:
            if hook in self._attached:
                continue
            if hook.program in self._refused:
                refused[hook] = f"{hook}: {self._refused[hook.program]}"
                continue
            try:
                self._attached[hook] = self._attach(hook)
            except OSError as fault:
                refused[hook] = f"{hook}: {fault.strerror}"
        for reason in refused.values():
            log.debug("%s", reason)
        return refused

    def _attach(self, hook: Hook) -> int:
        program = self._programs[hook.program]
        if hook.kind is HookKind.TRACEPOINT:
            return open_raw_tracepoint(hook.target, program)
        way = ENTRY if hook.kind is HookKind.KPROBE else RETURN
        ctypes.set_errno(0)
        descriptor: int = self._lib.bpf_attach_kprobe(program, way, _event(hook), hook.target.encode(), 0, 0)
        if descriptor < 0:
            raise last_fault()
        return descriptor

    def detach(self, hooks: Iterable[Hook]) -> None:
        """Detach those that are attached; what stays in kprobe_events before 4.17 is logged and harms nothing."""
        for hook in hooks:
            descriptor = self._attached.pop(hook, None)
            if descriptor is None:
                continue
            if hook.kind is HookKind.TRACEPOINT:
                os.close(descriptor)
                continue
            failed = self._lib.bpf_close_perf_event_fd(descriptor) < 0
            failed |= self._lib.bpf_detach_kprobe(_event(hook)) < 0
            if failed:
                log.warning("%s: not detached: %s", hook, last_fault().strerror)

    def close(self) -> None:
        """Detach everything."""
        self.detach(list(self._attached))
