# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What iterators hand over is divided into what holds something and what is empty, each socket once."""

from __future__ import annotations

import socket
import struct

import pytest

from sockbpf.kernel.look.packed import handed, handed_rows
from sockbpf.kernel.look.record import FIELDS, RECORD

ESTABLISHED, CLOSE_WAIT = 1, 8


def record(address: int, port: int, *, recv: int = 0, send: int = 0, state: int = ESTABLISHED) -> bytes:
    known = {
        "address": address, "inode": address + 1, "recv": recv, "send": send, "state": state,
        "local_port": port, "remote_port": 9, "family": socket.AF_INET,
        "local_ip": bytes([192, 0, 2, 1]) + bytes(12), "remote_ip": bytes([192, 0, 2, 2]) + bytes(12),
    }  # fmt: skip
    return RECORD.pack(*(known.get(name, 0) for name, _ in FIELDS))


CHUNKS = [
    record(1001, 443) + record(1009, 80, recv=5),
    record(1013, 22, state=CLOSE_WAIT) + record(1001, 443) + record(1019, 443, send=7),
]


def test_each_socket_is_there_once_and_the_empty_ones_by_their_ports() -> None:
    found = handed(CHUNKS)
    assert [(row.inode, row.recv, row.send) for row in found.full_rows()] == [(1010, 5, 0), (1020, 0, 7)]
    assert [(ports, row.inode) for ports, row in found.empty_rows()] == [
        (22 << 16 | 9, 1014), (443 << 16 | 9, 1002),
    ]  # fmt: skip
    assert found.states == {ESTABLISHED: 3, CLOSE_WAIT: 1}


def test_rows_are_divided_alike() -> None:
    packed = handed(CHUNKS)
    rows = [*packed.full_rows(), *(row for _, row in packed.empty_rows())]
    found = handed_rows(rows)
    assert list(found.full_rows()) == list(packed.full_rows())
    assert list(found.empty_rows()) == list(packed.empty_rows())
    assert found.states == packed.states


def test_a_part_of_a_record_is_an_error() -> None:
    with pytest.raises(struct.error):
        handed([CHUNKS[0][:-1]])


def test_of_no_socket_there_is_none() -> None:
    found = handed([])
    assert (found.full, list(found.empty_rows()), sum(found.states.values())) == ([], [], 0)
