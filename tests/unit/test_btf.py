# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The reader of BTF finds fields where they lie, in a small description built by hand, and refuses what is none."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockbpf.kernel.build import btf
from sockbpf.kernel.build.btf import Btf, Member

POINTER = struct.calcsize("P")


@dataclass
class Writer:
    """Writes BTF as Documentation/bpf/btf.rst of the kernel says; each method returns the new type's id."""

    strings: bytearray = field(default_factory=lambda: bytearray(b"\0"))
    types: bytearray = field(default_factory=bytearray)
    count: int = 0

    def name(self, text: str) -> int:
        if not text:
            return 0
        at = self.strings.find(b"\0" + text.encode() + b"\0")
        if at >= 0:
            return at + 1
        self.strings += text.encode() + b"\0"
        return len(self.strings) - len(text) - 1

    def type(
        self,
        kind: int,
        name: str,
        size_or_type: int = 0,
        behind: bytes = b"",
        count: int = 0,
        *,
        flag: bool = False,
    ) -> int:
        info = flag << 31 | kind << 24 | count
        self.types += struct.pack("=III", self.name(name), info, size_or_type) + behind
        self.count += 1
        return self.count

    def integer(self, name: str, size: int) -> int:
        return self.type(btf.INT, name, size, struct.pack("=I", size * 8))

    def array(self, element: int, index: int, count: int) -> int:
        return self.type(btf.ARRAY, "", 0, struct.pack("=III", element, index, count))

    def struct(
        self, name: str, size: int, *members: tuple[str, int, int], kind: int = btf.STRUCT, bits: bool = False
    ) -> int:
        """Write a struct of members (name, type, place); `bits`: the top 8 of the 32 bits of place are the width."""
        behind = b"".join(struct.pack("=III", self.name(n), t, place) for n, t, place in members)
        return self.type(kind, name, size, behind, len(members), flag=bits)

    def blob(self) -> bytes:
        header = btf.HEADER.pack(
            btf.MAGIC, 1, 0, btf.HEADER.size, 0, len(self.types), len(self.types), len(self.strings)
        )
        return header + bytes(self.types) + bytes(self.strings)


def example() -> bytes:
    w = Writer()
    u8, u16, u32, u64 = (
        w.integer(name, size) for name, size in (("u8", 1), ("u16", 2), ("u32", 4), ("u64", 8))
    )
    # what lies between: every kind has its own length
    w.type(btf.ENUM, "colour", 4, struct.pack("=Ii", w.name("RED"), 0) * 3, 3)
    w.type(btf.ENUM64, "wide", 8, struct.pack("=III", w.name("BIG"), 0, 1) * 2, 2)
    w.type(btf.FWD, "outer")
    proto = w.type(btf.FUNC_PROTO, "", u32, struct.pack("=II", w.name("sk"), u32) * 2, 2)
    w.type(btf.FUNC, "outer", proto)
    variable = w.type(btf.VAR, "outer", u32, struct.pack("=I", 1))
    w.type(btf.DATASEC, ".data", 4, struct.pack("=III", variable, 0, 4), 1)
    w.type(btf.FLOAT, "double", 8)
    w.type(btf.DECL_TAG, "tag", u32, struct.pack("=i", -1))
    # what is looked into
    be32 = w.type(btf.TYPEDEF, "be32", u32)
    constant = w.type(btf.CONST, "", w.type(btf.VOLATILE, "", w.type(btf.TYPE_TAG, "rcu", be32)))
    counter = w.type(btf.TYPEDEF, "atomic_t", w.struct("", 4, ("counter", u32, 0)))
    ports = w.struct("", 4, ("dport", u16, 0), ("num", u16, 16))
    pair = w.struct("", 4, ("portpair", u32, 0), ("", ports, 0), kind=btf.UNION)
    address = w.struct(
        "", 8, ("addrpair", u64, 0), ("", w.struct("", 8, ("daddr", constant, 0), ("saddr", be32, 32)), 0)
    )
    inner = w.struct("inner", 8, ("x", u32, 0), ("y", counter, 32))
    pointer = w.type(btf.PTR, "", inner)
    callback = w.array(u8, u32, 48)
    matrix = w.array(w.array(u16, u32, 3), u32, 5)
    w.struct(
        "outer", 128,
        ("first", u8, 0), ("", address, 64), ("", pair, 128), ("in", inner, 160),
        ("rest", w.type(btf.RESTRICT, "", pointer), 256), ("cb", callback, 320),
        ("matrix", matrix, 704), ("last", counter, 960),
    )  # fmt: skip
    w.struct(
        "bits", 8,
        ("flag", u32, 1 << 24 | 0), ("protocol", u32, 8 << 24 | 8), ("kind", u32, 16 << 24 | 16), ("whole", u32, 32),
        ("late", u32, 9 << 24 | 35),
        bits=True,
    )  # fmt: skip
    return w.blob()


EXAMPLE = example()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("outer.first", Member(0, 1)),
        ("outer.daddr", Member(8, 4)),  # through an unnamed struct, typedef and qualifiers
        ("outer.saddr", Member(12, 4)),
        ("outer.addrpair", Member(8, 8)),
        ("outer.dport", Member(16, 2)),  # through an unnamed union and a struct in it
        ("outer.num", Member(18, 2)),
        ("outer.portpair", Member(16, 4)),
        ("outer.in", Member(20, 8)),
        ("outer.in.x", Member(20, 4)),
        ("outer.in.y", Member(24, 4)),
        ("outer.in.y.counter", Member(24, 4)),  # into a typedef of an unnamed struct
        ("outer.rest", Member(32, POINTER)),
        ("outer.cb", Member(40, 48)),
        ("outer.matrix", Member(88, 30)),
        ("outer.last.counter", Member(120, 4)),
        ("inner.y", Member(4, 4)),
        ("bits.flag", Member(0, 1)),
        ("bits.protocol", Member(1, 1)),
        ("bits.kind", Member(2, 2)),
        ("bits.whole", Member(4, 4)),
        ("bits.late", Member(4, 2)),
    ],
)
def test_a_field_is_found_where_it_lies(path: str, expected: Member) -> None:
    assert Btf(EXAMPLE).field(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "outer.nothing",
        "outer.in.nothing",
        "outer.first.x",  # into a number
        "outer.rest.x",  # into what a pointer points to
        "atomic_t.counter",  # a typedef, not a struct
        "colour.RED",
        "nothing.x",
        "nothing.counter",  # a member of the first unnamed struct of all
    ],
)
def test_what_is_not_there_is_none(path: str) -> None:
    assert Btf(EXAMPLE).field(path) is None


def test_the_first_of_two_structs_of_one_name_is_taken() -> None:
    w = Writer()
    u32 = w.integer("u32", 4)
    w.struct("twice", 8, ("x", u32, 32))
    w.struct("twice", 8, ("x", u32, 0))
    assert Btf(w.blob()).field("twice.x") == Member(4, 4)


def test_structs_and_functions_have_ids() -> None:
    w = Writer()
    u32 = w.integer("u32", 4)
    prototype = w.type(btf.FUNC_PROTO, "", u32)
    function = w.type(btf.FUNC, "sock", prototype)
    other = w.type(btf.FUNC, "bpf_rdonly_cast", prototype)
    struct_id = w.struct("sock", 8, ("x", u32, 32))
    read = Btf(w.blob())
    assert (read.struct("sock"), read.function("sock")) == (struct_id, function)
    assert (read.struct("bpf_rdonly_cast"), read.function("bpf_rdonly_cast")) == (0, other)
    assert (read.struct("soc"), read.function("u32")) == (0, 0)


def test_a_name_is_whole() -> None:
    w = Writer()
    u32 = w.integer("u32", 4)
    w.struct("tcp_sock", 4, ("snd_una_and_more", u32, 0), ("snd_una", u32, 32))
    w.struct("sock", 4, ("x", u32, 0))
    read = Btf(w.blob())
    assert read.field("tcp_sock.snd_una") == Member(4, 4)
    assert read.field("sock.x") == Member(0, 4)
    assert read.field("sock.snd_una") is None


@pytest.mark.parametrize(
    "raw",
    [b"", EXAMPLE[: btf.HEADER.size - 1], b"\x7fELF" + bytes(60), EXAMPLE[1::-1] + EXAMPLE[2:]],
    ids=len,
)
def test_what_is_not_btf_is_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match="BTF"):
        Btf(raw)


@pytest.mark.parametrize("length", range(btf.HEADER.size, len(EXAMPLE) - 1, 61))
def test_what_was_cut_short_is_refused_or_read_in_part(length: int) -> None:
    try:
        Btf(EXAMPLE[:length]).field("outer.daddr")
    except (ValueError, struct.error):
        return


@given(st.binary(max_size=200), st.integers(0, 2**32 - 1))
def test_garbage_behind_the_header_ends(garbage: bytes, length: int) -> None:
    header = btf.HEADER.pack(btf.MAGIC, 1, 0, btf.HEADER.size, 0, length, 0, len(garbage))
    try:
        Btf(header + garbage)
    except (ValueError, struct.error):
        return
