"""From the process that compiles to the one that watches: descriptors of programs and tables, over a Unix socket.

One packet for each answer: JSON, with the descriptors beside it in the order in which it names them.
"""

from __future__ import annotations

import array
import json
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKET = 1 << 17
"""The largest answer, bytes; one is some 2 kB, or as much as a compiler has to say."""

MOST_DESCRIPTORS = 253
"""What Linux passes in one packet: include/net/scm.h, SCM_MAX_FD."""


class NonsenseError(Exception):
    """What came is no answer."""


@dataclass(frozen=True, slots=True)
class Table:
    """A map in the kernel; sizes in bytes."""

    fd: int
    key_size: int
    value_size: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """What stands in the kernel, by name; whoever has it has to close the descriptors."""

    types: str
    """A word for where the kernel's types came from."""

    programs: Mapping[str, int]
    """Descriptors."""

    refused: Mapping[str, str]
    """Programs that the kernel would not load, and why."""

    tables: Mapping[str, Table]

    def close(self) -> None:
        """Let go of everything; what is still attached stays until it is detached."""
        for fd in (*self.programs.values(), *(table.fd for table in self.tables.values())):
            os.close(fd)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why nothing could be loaded, with the remedy."""

    reason: str


def send(door: socket.socket, answer: Loaded | Fault) -> None:
    """Hand over; the sender's own descriptors stay open."""
    if isinstance(answer, Fault):
        door.send(json.dumps({"fault": answer.reason}).encode()[:PACKET])
        return
    said = {
        "types": answer.types,
        "programs": list(answer.programs),
        "refused": dict(answer.refused),
        "tables": {name: [table.key_size, table.value_size] for name, table in answer.tables.items()},
    }
    fds = [*answer.programs.values(), *(table.fd for table in answer.tables.values())]
    socket.send_fds(door, [json.dumps(said).encode()], fds)


def receive(door: socket.socket) -> Loaded | Fault | None:
    """Return the next answer, None if the other end was closed.

    Raise NonsenseError, TimeoutError when `door` has a timeout, or OSError.
    """
    raw, fds, flags = _packet(door)
    if not raw and not fds:
        return None
    try:
        return _answer(raw, fds, is_whole=not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC))
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise


def _packet(door: socket.socket) -> tuple[bytes, list[int], int]:
    # Not socket.recv_fds: it leaves the descriptors open in every program that is started later.
    fds = array.array("i")
    raw, beside, flags, _ = door.recvmsg(
        PACKET, socket.CMSG_SPACE(MOST_DESCRIPTORS * fds.itemsize), socket.MSG_CMSG_CLOEXEC
    )
    for level, kind, data in beside:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return raw, list(fds), flags


def _answer(raw: bytes, fds: list[int], *, is_whole: bool) -> Loaded | Fault:
    if not is_whole:
        raise NonsenseError(f"more than {PACKET} bytes or {MOST_DESCRIPTORS} descriptors")
    try:
        said = json.loads(raw)
        if "fault" in said:
            if fds:
                raise NonsenseError("a fault and descriptors")
            return Fault(_text(said["fault"]))
        programs = [_text(name) for name in said["programs"]]
        sizes = {_text(name): (_size(key), _size(value)) for name, (key, value) in said["tables"].items()}
        refused = {_text(name): _text(why) for name, why in said["refused"].items()}
        types = _text(said["types"])
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise NonsenseError(f"{raw[:80]!r} ({fault!r})") from None
    if len(programs) + len(sizes) != len(fds) or len(set(programs)) != len(programs):
        raise NonsenseError(f"{len(fds)} descriptors of {len(programs)} programs and {len(sizes)} tables")
    of_tables = zip(sizes.items(), fds[len(programs) :], strict=True)
    return Loaded(
        types,
        dict(zip(programs, fds, strict=False)),
        refused,
        {name: Table(fd, key_size, value_size) for (name, (key_size, value_size)), fd in of_tables},
    )


def _text(said: Any) -> str:
    if not isinstance(said, str):
        raise TypeError(f"no text: {said!r}")
    return said


def _size(said: Any) -> int:
    if not isinstance(said, int):
        raise TypeError(f"no size: {said!r}")
    return said
