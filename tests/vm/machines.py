# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The machines that are emulated: to add one, add a row.

What differs between processors is here alone: which emulator, which packages, what their serial lines are called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.vm.vmlinux import as_it_is, extract


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine of one architecture, as qemu makes it, and what of Debian and PyPI is made for it."""

    debian: str
    """The architecture as Debian calls it."""

    wheels: tuple[str, ...]
    """The platforms that PyPI's wheels may be made for."""

    package: str
    emulator: str
    options: tuple[str, ...]
    serial: str
    """What the kernel calls its serial lines, but for their number."""

    parameters: str
    """What the kernel is told besides."""

    kernel: Callable[[bytes], bytes]
    """From the kernel's file, as it is packaged, to what the emulator boots."""


AMD64 = Machine(
    "amd64",
    ("manylinux_2_28_x86_64", "manylinux2014_x86_64"),
    "qemu-system-x86",
    "bin/qemu-system-x86_64",
    ("-cpu", "max"),
    "ttyS",
    "mitigations=off no_timer_check",
    extract,
)
ARM64 = Machine(
    "arm64",
    ("manylinux_2_28_aarch64", "manylinux2014_aarch64"),
    "qemu-system-arm",
    "bin/qemu-system-aarch64",
    ("-machine", "virt", "-cpu", "max,pauth=off,sve=off,sme=off"),
    "ttyAMA",
    "mitigations=off",
    as_it_is,
)
MACHINES = (AMD64, ARM64)

HERE = AMD64.debian
"""What runs on this machine: the emulators do, and other programs that tests need."""
