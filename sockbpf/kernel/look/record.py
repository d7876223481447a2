# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What goes to the iterators and comes from them, as bytes: the structs of bpf/look.h.

tests/abi checks this file against them field by field.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from sockbpf.kernel.look.row import Detail, Row
from sockbpf.record.event import Direction

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from sockbpf.kernel.look.row import Terms

FIELDS = (
    ("address", "Q"),
    ("inode", "Q"),
    ("cookie", "Q"),
    ("cgroup", "Q"),
    ("recv", "I"),
    ("send", "I"),
    ("rcvbuf", "I"),
    ("rcv_charged", "I"),
    ("sndbuf", "I"),
    ("snd_charged", "I"),
    ("drops", "I"),
    ("uid", "I"),
    ("netns", "I"),
    ("rcv_nxt", "I"),
    ("copied_seq", "I"),
    ("write_seq", "I"),
    ("snd_una", "I"),
    ("snd_nxt", "I"),
    ("local_port", "H"),
    ("remote_port", "H"),
    ("protocol", "B"),
    ("family", "B"),
    ("state", "B"),
    ("over", "B"),
    ("local_ip", "16s"),
    ("remote_ip", "16s"),
)
"""`struct look_record`: names and `struct` codes; native byte order, no hole."""

RECORD = struct.Struct("=" + "".join(code for _, code in FIELDS))

WANTED_BITS = 65536
TERMS_FIELDS = (
    ("wanted", f"{WANTED_BITS // 8}s"),
    ("threshold", "2I"),
    ("which", "I"),
    ("besides", "I"),
)
"""`struct look_terms`."""

TERMS = struct.Struct("=" + "".join(code for _, code in TERMS_FIELDS))

MOST = 2**32 - 1


def packed(terms: Terms) -> bytes:
    """Return the bytes of these terms for the iterators' table, `struct look_terms` of bpf/look.h."""
    threshold = [0, 0]
    threshold[Direction.SEND], threshold[Direction.RECV] = min(terms.send, MOST), min(terms.recv, MOST)
    return TERMS.pack(_bits(terms.inodes), *threshold, terms.which, bool(terms.inodes) or terms.orphans)


def _bits(inodes: Collection[int]) -> bytes:
    """Return a field of bits, in words of 64 of this machine's byte order, with one set for each inode."""
    words = [0] * (WANTED_BITS // 64)
    for inode in inodes:
        bit = inode % WANTED_BITS
        words[bit // 64] |= 1 << bit % 64
    return struct.pack(f"={len(words)}Q", *words)


def rows_of(raw: bytes) -> Iterator[tuple[int, Row]]:
    """Yield the sockets in what was read, each with its address in the kernel; raise struct.error."""
    for (
        address, inode, cookie, cgroup,
        recv, send, rcvbuf, rcv_charged, sndbuf, snd_charged, drops, uid, netns,
        rcv_nxt, copied_seq, write_seq, snd_una, snd_nxt,
        local_port, remote_port, _, family, state, _,
        local_ip, remote_ip,
    ) in RECORD.iter_unpack(raw):  # fmt: skip
        detail = Detail(
            address, cookie, cgroup, state, rcvbuf, rcv_charged, sndbuf, snd_charged, drops, netns,
            rcv_nxt, copied_seq, write_seq, snd_una, snd_nxt,
        )  # fmt: skip
        ports = local_port.to_bytes(2, "big"), remote_port.to_bytes(2, "big")
        yield address, Row(family, *ports, local_ip, remote_ip, recv, send, inode, uid, detail=detail)
