# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The compiler's input besides the C: this kernel's types, and the addresses of its symbols."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sockbpf.errors import UnsupportedError
from sockbpf.kernel.build.btf import Btf
from sockbpf.kernel.build.layout import definitions
from sockbpf.kernel.build.shortcuts import type_ids

if TYPE_CHECKING:
    from collections.abc import Collection

PACKAGE = Path(__file__).parents[2]
INSTALLED = PACKAGE / "bpf"
SOURCE = INSTALLED if INSTALLED.is_dir() else PACKAGE.parent / "bpf"
"""The folder of the C: within an installed package, beside the package in a checkout."""

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


def types_in_short(types: str) -> bytes | None:
    """Return a digest of the types that `type_source` would use; None if there are none."""
    if types in ("auto", "btf") and BTF.exists():
        return hashlib.sha256(BTF.read_bytes()).digest()
    if types in ("auto", "headers") and HEADERS.exists():
        return _headers_in_short()
    return None


def _headers_in_short() -> bytes:
    """Return a digest of name, size and time of every header: 20 ms, where reading all would take a second.

    Some folders are links to a package that several builds share, on Debian in a second tree beside `build`.
    """
    digest, seen = hashlib.sha256(), set()
    trees = (tree / part for tree in (HEADERS, HEADERS.with_name("source")) for part in ("include", "arch"))
    for tree in trees:
        for folder, inner, names in os.walk(tree, followlinks=True):
            inner.sort()
            where = os.stat(folder)
            if (where.st_dev, where.st_ino) in seen:  # a link back
                inner.clear()
                continue
            seen.add((where.st_dev, where.st_ino))
            for name in sorted(names):
                with suppress(FileNotFoundError):  # a link to nothing
                    found = os.stat(os.path.join(folder, name))
                    digest.update(repr((folder, name, found.st_size, found.st_mtime_ns)).encode())
    return digest.digest()


@cache
def kernel_types(path: Path) -> Btf:
    """Return the types in a file, read once."""
    return Btf.of(path)


def type_source(types: str) -> tuple[str, list[str]]:
    """Return where the kernel's types come from, in a word or two, and the compiler's arguments for them.

    Raise UnsupportedError, with the remedy, when there is neither BTF nor a header package.
    """
    if types in ("auto", "btf") and BTF.exists():
        os.environ["BCC_KERNEL_SOURCE"] = str(SOURCE / "shim")
        btf = kernel_types(BTF)
        return "BTF", definitions(btf) + type_ids(btf)
    os.environ.pop("BCC_KERNEL_SOURCE", None)
    if types in ("auto", "headers") and HEADERS.exists():
        return "kernel headers", ["-DLAYOUT_FROM_HEADERS"]
    wanted = {"btf": f"no {BTF}", "headers": f"no {HEADERS}"}.get(types, f"neither {BTF} nor {HEADERS}")
    raise UnsupportedError(
        f"this kernel's types cannot be found: {wanted}. "
        f"Remedy: apt-get install linux-headers-{os.uname().release}, or a kernel with CONFIG_DEBUG_INFO_BTF"
    )
