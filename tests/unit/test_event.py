# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The decoder: every record the kernel can send is read as it was meant, and garbage is refused in one way."""

from __future__ import annotations

import ipaddress
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockbpf.record.event import FIELDS, WIRE, Direction, Event, Mode, Protocol, What, decode, ip_text

CODES = {"Q": 64, "I": 32, "H": 16, "B": 8}
NUMBERS = {name: st.integers(0, 2 ** CODES[code] - 1) for name, code in FIELDS if code in CODES}
RECORD: dict[str, st.SearchStrategy[int | bytes]] = {
    **NUMBERS,
    "what": st.sampled_from([int(what) for what in What]),
    "direction": st.sampled_from([int(Direction.SEND), int(Direction.RECV)]),
    "protocol": st.sampled_from([int(protocol) for protocol in Protocol]),
    "family": st.sampled_from([int(socket.AF_INET), int(socket.AF_INET6)]),
    "local_ip": st.binary(min_size=16, max_size=16),
    "remote_ip": st.binary(min_size=16, max_size=16),
    "comm": st.binary(max_size=15).map(lambda comm: comm.ljust(16, b"\0")),
}


def packed(record: dict[str, int | bytes]) -> bytes:
    return WIRE.pack(*(record[name] for name, _ in FIELDS))


def assert_reads(record: dict[str, int | bytes], event: Event) -> None:
    same = (
        "what", "direction", "address", "ns", "since_ns", "size", "since_size", "peak", "threshold", "pid",
    )  # fmt: skip
    assert [getattr(event, name) for name in same] == [record[name] for name in same]
    who = ("protocol", "local_port", "remote_port", "netns", "inode")
    assert [getattr(event.socket, name) for name in who] == [record[name] for name in who]
    length = 4 if record["family"] == socket.AF_INET else 16
    for side in ("local_ip", "remote_ip"):
        raw = record[side]
        assert isinstance(raw, bytes)
        assert ipaddress.ip_address(getattr(event.socket, side)).packed == raw[:length]
    assert event.mode is Mode.EBPF
    assert type(event.what) is What
    assert type(event.direction) is Direction
    assert type(event.socket.protocol) is Protocol


@given(st.fixed_dictionaries(RECORD))
def test_every_record_is_read_as_it_was_meant(record: dict[str, int | bytes]) -> None:
    event = decode(packed(record))
    assert_reads(record, event)
    comm = record["comm"]
    assert isinstance(comm, bytes)
    assert event.comm == comm.split(b"\0")[0].decode("utf-8", "replace")


@given(st.fixed_dictionaries(RECORD), st.binary(max_size=8))
def test_the_padding_of_the_perf_buffer_is_ignored(record: dict[str, int | bytes], padding: bytes) -> None:
    assert decode(packed(record) + padding) == decode(packed(record))


@given(st.one_of(st.binary(max_size=WIRE.size + 8), st.binary(min_size=WIRE.size, max_size=WIRE.size)))
def test_garbage_is_a_value_error(raw: bytes) -> None:
    try:
        event = decode(raw)
    except (ValueError, struct.error):
        return
    values = dict(zip((name for name, _ in FIELDS), WIRE.unpack_from(raw), strict=True))
    assert_reads(values, event)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("what", 0), ("what", 6), ("direction", 2), ("direction", 255), ("protocol", 0), ("protocol", 132),
        ("family", 0), ("family", 1), ("family", 255),
    ],
)  # fmt: skip
def test_a_number_out_of_its_range_is_a_value_error(name: str, value: int) -> None:
    good: dict[str, int | bytes] = {n: 0 if code in CODES else bytes(16) for n, code in FIELDS}
    good |= {"what": 1, "direction": 1, "protocol": 6, "family": 2}
    decode(packed(good))
    with pytest.raises(ValueError, match=str(value)):
        decode(packed(good | {name: value}))


@pytest.mark.parametrize("length", [0, 1, WIRE.size - 1])
def test_too_few_bytes_are_refused(length: int) -> None:
    with pytest.raises((ValueError, struct.error)):
        decode(bytes(length))


def test_a_comm_that_fills_its_field_has_no_end() -> None:
    record: dict[str, int | bytes] = {n: 0 if code in CODES else bytes(16) for n, code in FIELDS}
    record |= {"what": 1, "direction": 1, "protocol": 6, "family": 2, "comm": b"0123456789abcdef"}
    assert decode(packed(record)).comm == "0123456789abcdef"


@pytest.mark.parametrize(
    ("family", "raw", "text"),
    [
        (socket.AF_INET, bytes([192, 0, 2, 1]) + b"\xff" * 12, "192.0.2.1"),
        (socket.AF_INET, bytes(16), "0.0.0.0"),
        (socket.AF_INET6, bytes(16), "::"),
        (socket.AF_INET6, bytes(15) + b"\1", "::1"),
        (socket.AF_INET6, bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 1]), "::ffff:192.0.2.1"),
    ],
)
def test_addresses_are_shown_as_ss_shows_them(family: int, raw: bytes, text: str) -> None:
    assert ip_text(family, raw) == text
