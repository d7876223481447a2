# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a look asks for and how what it finds is read, from bytes made by hand."""

from __future__ import annotations

import socket
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockbpf.kernel.look.iterators import gathered
from sockbpf.kernel.look.record import FIELDS, RECORD, TERMS, WANTED_BITS, packed, rows_of
from sockbpf.kernel.look.row import Terms, Which
from sockbpf.kernel.look.sweep import Wanted, wanted_of
from sockbpf.record.event import Protocol, Socket

ZERO = {name: bytes(16) if code == "16s" else 0 for name, code in FIELDS}


def record(**values: int | bytes) -> bytes:
    return RECORD.pack(*(ZERO | values).values())


def test_a_record_is_read_field_by_field() -> None:
    numbers = {name: 1009 + i for i, (name, code) in enumerate(FIELDS) if code in "QI"}
    raw = record(
        **numbers, local_port=443, remote_port=40009, protocol=6, family=socket.AF_INET, state=8, over=2,
        local_ip=bytes([192, 0, 2, 1]) + bytes(12), remote_ip=bytes([192, 0, 2, 2]) + bytes(12),
    )  # fmt: skip
    ((address, row),) = rows_of(raw)
    assert row.detail
    shown = {name: getattr(row.detail if hasattr(row.detail, name) else row, name) for name in numbers}
    assert shown == numbers
    assert address == numbers["address"]
    assert (row.family, row.detail.state, row.unsure) == (socket.AF_INET, 8, 0)
    assert row.ends == (
        bytes([192, 0, 2, 1]) + bytes(12), (443).to_bytes(2, "big"),
        bytes([192, 0, 2, 2]) + bytes(12), (40009).to_bytes(2, "big"),
    )  # fmt: skip


@given(st.lists(st.lists(st.integers(1, 31), max_size=9), max_size=5))
def test_a_socket_that_is_shown_again_is_there_once_as_it_was_shown_last(shown: list[list[int]]) -> None:
    last: dict[int, int] = {}
    chunks = []
    for number, addresses in enumerate(shown):
        chunks.append(b"".join(record(address=each, recv=number) for each in addresses))
        last |= dict.fromkeys(addresses, number)
    assert {row.detail.address: row.recv for row in gathered(chunks) if row.detail} == last


def test_a_chunk_that_is_no_whole_number_of_records_is_an_error() -> None:
    with pytest.raises(OSError, match="129 bytes are no whole number of sockets"):
        gathered([record(), record() + b"x"])


@given(st.sets(st.integers(1, 2**32 - 1), max_size=40))
def test_each_wanted_inode_has_its_bit_and_no_other_is_set(inodes: set[int]) -> None:
    bits, *_ = TERMS.unpack(packed(Terms(inodes=frozenset(inodes))))
    words = struct.unpack(f"={WANTED_BITS // 64}Q", bits)
    found = {word * 64 + bit for word in range(len(words)) for bit in range(64) if words[word] >> bit & 1}
    assert found == {inode % WANTED_BITS for inode in inodes}


@pytest.mark.parametrize(
    ("terms", "numbers"),
    [
        (Terms(), (0, 0, 1, 0)),
        (Terms(Which.OVER_ONLY, send=1009, recv=2003), (1009, 2003, 2, 0)),
        (Terms(Which.OVER_ONLY, send=2**40, recv=2**32), (2**32 - 1, 2**32 - 1, 2, 0)),
        (Terms(Which.ALL, inodes=frozenset({7})), (0, 0, 0, 1)),
        (Terms(orphans=True), (0, 0, 1, 1)),
    ],
)
def test_the_numbers_that_the_iterators_are_told(terms: Terms, numbers: tuple[int, ...]) -> None:
    assert TERMS.unpack(packed(terms))[1:] == numbers


OVER = Terms(Which.OVER_ONLY, send=1009, recv=2003)


@pytest.mark.parametrize(
    ("terms", "send", "recv", "inode", "taken"),
    [
        (Terms(Which.ALL), 0, 0, 5, True),
        (Terms(), 0, 0, 5, False),
        (Terms(), 1, 0, 5, True),
        (Terms(), 0, 1, 5, True),
        (OVER, 1009, 2003, 5, False),
        (OVER, 1010, 0, 5, True),
        (OVER, 0, 2004, 5, True),
        (replace(OVER, inodes=frozenset({5})), 0, 0, 5, True),
        (replace(OVER, inodes=frozenset({5})), 0, 0, 5 + WANTED_BITS, False),
        (replace(OVER, inodes=frozenset({5})), 1, 1, 0, False),
        (replace(OVER, orphans=True), 1, 0, 0, True),
        (replace(OVER, orphans=True), 0, 0, 0, False),
        (replace(OVER, orphans=True), 1, 0, 5, False),
    ],
)
def test_what_is_taken(terms: Terms, send: int, recv: int, inode: int, taken: bool) -> None:
    assert terms.take(send, recv, inode) is taken


def sock(inode: int, netns: int) -> Socket:
    return Socket(Protocol.TCP, "127.0.0.1", 80, "127.0.0.1", 40009, netns, inode)


def test_a_sweep_looks_for_what_is_over_and_for_what_is_open() -> None:
    assert wanted_of([], (1009, 2003), everywhere=True) == Wanted(None, OVER)
    terms = replace(OVER, inodes=frozenset({5}), orphans=True)
    assert wanted_of([sock(5, 71), sock(0, 73)], (1009, 2003), everywhere=False) == Wanted(
        frozenset({71, 73}), terms
    )
