"""What the compiler is given besides the C: where this kernel's types come from, and what it has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sockbpf.errors import UnsupportedError
from sockbpf.kernel.btf import Btf
from sockbpf.kernel.layout import definitions

if TYPE_CHECKING:
    from collections.abc import Collection

PACKAGE = Path(__file__).parents[1]
INSTALLED = PACKAGE / "bpf"
SOURCE = INSTALLED if INSTALLED.is_dir() else PACKAGE.parent / "bpf"
"""The C: within the package where that was installed, beside it in a checkout."""

BTF = Path("/sys/kernel/btf/vmlinux")
HEADERS = Path("/lib/modules") / os.uname().release / "build"


def kernel_symbols(names: Collection[str]) -> dict[str, int]:
    """Return the addresses of those of these symbols that the kernel has; 0 where /proc/kallsyms hides them."""
    found = {}
    with Path("/proc/kallsyms").open() as lines:
        for line in lines:
            address, _, symbol = line.split(maxsplit=3)[:3]
            if symbol in names:
                found[symbol] = int(address, 16)
    return found


def type_source(types: str) -> tuple[str, list[str]]:
    """Return a word for where the kernel's types come from, and the compiler's arguments for it.

    Raise UnsupportedError, with the remedy, when there is neither BTF nor a header package.
    """
    if types in ("auto", "btf") and BTF.exists():
        os.environ["BCC_KERNEL_SOURCE"] = str(SOURCE / "shim")
        return "BTF", definitions(Btf.of(BTF))
    os.environ.pop("BCC_KERNEL_SOURCE", None)
    if types in ("auto", "headers") and HEADERS.exists():
        return "kernel headers", ["-DLAYOUT_FROM_HEADERS"]
    wanted = {"btf": f"no {BTF}", "headers": f"no {HEADERS}"}.get(types, f"neither {BTF} nor {HEADERS}")
    raise UnsupportedError(
        f"this kernel's types are not to be had: {wanted}. "
        f"Remedy: apt-get install linux-headers-{os.uname().release}, or a kernel with CONFIG_DEBUG_INFO_BTF"
    )
