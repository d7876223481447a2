# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A file of bytecode that is kept until the next boot, so that a restart compiles nothing.

It is read only if no other user can write it: its content is loaded into the kernel. Its key is a digest of all that
the bytecode depends on. Addresses of kernel functions are among that, and they change with every boot: so the file
lies in /run.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from sockbpf import __version__
from sockbpf.kernel.build.bytecode import Bytecode, NonsenseError, bytecode_from
from sockbpf.kernel.build.order import MONITOR
from sockbpf.kernel.build.source import SOURCE, types_in_short
from sockbpf.kernel.libbcc import library_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockbpf.kernel.build.order import Order

log = logging.getLogger(__name__)

NAME = "bytecode"
"""Where that of the hooks is kept."""
DIGEST = hashlib.sha256().digest_size


def folder() -> Path:
    """Return the folder of the file: that which systemd names, see RuntimeDirectory= in the unit."""
    return Path(os.environ.get("RUNTIME_DIRECTORY", "/run/sockbpf"))


def name_of(order: Order) -> str:
    """Return where what this order makes is kept: one for each source."""
    return NAME if order.source == MONITOR else f"{NAME}.{order.source}"


def key_of(order: Order, types: str) -> bytes | None:
    """Return a digest of all that the bytecode for this order depends on; None where there are no types."""
    kernel = types_in_short(types)
    if kernel is None:
        return None
    file = library_file()
    sources = sorted(path for path in SOURCE.rglob("*.[ch]") if path.is_file())
    parts = [
        __version__.encode(),
        repr(os.uname()).encode(),
        repr((str(file), file.stat().st_size, file.stat().st_mtime_ns)).encode(),
        order.to_bytes(),
        kernel,
        *(path.read_bytes() for path in sources),
    ]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()


def is_there(name: str = NAME) -> bool:
    """Tell whether there is a file; whether it can be used `read` finds out."""
    return (folder() / name).exists()


def read(key: bytes, name: str = NAME) -> Bytecode | None:
    """Return the bytecode that was kept with this key; None if there is none, or none that can be trusted."""
    try:
        raw = _read_own(folder(), name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as fault:
        log.warning("the bytecode in %s is not used: %s", folder(), fault)
        return None
    found, digest, rest = raw[:DIGEST], raw[DIGEST : 2 * DIGEST], raw[2 * DIGEST :]
    if found != key or digest != hashlib.sha256(rest).digest():
        return None
    try:
        return bytecode_from(rest)
    except NonsenseError:
        return None


def write(key: bytes, bytecode: Bytecode, name: str = NAME) -> None:
    """Keep bytecode in place of what was kept before; if it cannot be written, the next start compiles."""
    raw = bytecode.to_bytes()
    try:
        folder().mkdir(mode=0o700, exist_ok=True)
        _write_own(folder(), name, key + hashlib.sha256(raw).digest() + raw)
    except OSError as fault:
        log.debug("the bytecode is not kept: %s", fault)


def _read_own(place: Path, name: str) -> bytes:
    _demand(stat.S_ISDIR, os.stat(place, follow_symlinks=False))
    descriptor = os.open(place / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        _demand(stat.S_ISREG, os.fstat(descriptor))
        return file.read()


def _write_own(place: Path, name: str, raw: bytes) -> None:
    _demand(stat.S_ISDIR, os.stat(place, follow_symlinks=False))
    new = place / f"{name}.{os.getpid()}"
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(raw)
        new.rename(place / name)
    finally:
        new.unlink(missing_ok=True)


def _demand(is_kind: Callable[[int], bool], found: os.stat_result) -> None:
    """Raise PermissionError unless the file is of this kind, this user's, and no other user can change it."""
    if not is_kind(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError("others can change it")
