"""C and Python mean the same bytes: every struct that crosses between them, as this kernel's compiler laid it out."""

from __future__ import annotations

import ctypes
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import fields
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest

from sockbpf.event import FIELDS, WIRE, Direction, Mode, Protocol, What, decode
from sockbpf.kernel.probes import Levels, Probes, Tally
from tests.abi.everything import every_program

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loading programs needs root")

BPF = Path(__file__).parents[2] / "bpf"
HEADER = (BPF / "event.h").read_text()


@pytest.fixture(scope="module")
def probes() -> Iterator[Probes]:
    made = every_program()
    yield made
    made.close()


def layout(struct_type: Any) -> list[tuple[str, int, int]]:
    """Return name, offset and size of each field of one of BCC's ctypes classes."""
    places = [(name, getattr(struct_type, name)) for name, *_ in struct_type._fields_]
    return [(name, place.offset, place.size) for name, place in places]


def test_every_field_of_the_wire_lies_where_it_is_read(probes: Probes) -> None:
    expected = []
    position = 0
    for name, code in FIELDS:
        size = struct.calcsize("=" + code)
        expected.append((name, position, size))
        position += size
    leaf = probes._bpf["episodes"].Leaf
    assert layout(leaf) == expected
    assert ctypes.sizeof(leaf) == WIRE.size == position


def test_the_size_that_the_header_asserts_is_the_size_read() -> None:
    (asserted,) = re.findall(r"_Static_assert\(sizeof\(struct queue_event\) == (\d+)", HEADER)
    assert int(asserted) == WIRE.size


def test_a_record_written_by_field_is_read_by_field(probes: Probes) -> None:
    leaf = probes._bpf["episodes"].Leaf()
    numbers = {name: 1009 + i for i, (name, code) in enumerate(FIELDS) if code in "QIH"}
    for name, number in numbers.items():
        setattr(leaf, name, number)
    leaf.what, leaf.direction, leaf.protocol, leaf.family = 2, 1, 17, 10
    leaf.local_ip[:], leaf.remote_ip[:] = range(1, 17), range(17, 33)
    leaf.comm = b"reader"
    event = decode(bytes(leaf))
    who = event.socket
    told = {name: getattr(who if hasattr(who, name) else event, name) for name in numbers}
    assert told == numbers
    assert (event.what, event.direction, event.mode) == (What.BACK, Direction.RECV, Mode.EBPF)
    assert (who.protocol, event.comm) == (Protocol.UDP, "reader")
    assert who.local_ip == "102:304:506:708:90a:b0c:d0e:f10"
    assert who.remote_ip == "1112:1314:1516:1718:191a:1b1c:1d1e:1f20"


@pytest.mark.parametrize(("name", "enum"), [("what", What), ("direction", Direction)])
def test_the_enums_have_the_values_of_the_header(name: str, enum: type[IntEnum]) -> None:
    (body,) = re.findall(rf"enum {name} \{{(.*?)\}};", HEADER, re.DOTALL)
    values = {key: int(value) for key, value in re.findall(r"^\s*(\w+) = (\d+),", body, re.MULTILINE)}
    assert values == {member.name: member.value for member in enum}


def test_the_protocols_have_the_values_of_the_header() -> None:
    values = dict(re.findall(r"#define PROTOCOL_(\w+) (\d+)", (BPF / "sock.h").read_text()))
    assert {key: int(value) for key, value in values.items()} == {p.name: p.value for p in Protocol}


def test_the_key_of_an_episode_is_what_is_reaped(probes: Probes) -> None:
    table = probes._bpf["episodes"]
    assert layout(table.Key) == [("address", 0, 8), ("direction", 8, 8)]
    leaf = table.Leaf()
    leaf.address, leaf.direction = 2**63 + 17, Direction.RECV
    table[table.Key(2**63 + 17, Direction.RECV)] = leaf
    assert not probes.reap(2**63 + 17, Direction.SEND)
    assert not probes.reap(17, Direction.RECV)
    assert probes.reap(2**63 + 17, Direction.RECV)
    assert not probes.reap(2**63 + 17, Direction.RECV)
    assert len(table) == 0


def test_the_settings_are_what_the_kernel_side_reads(probes: Probes) -> None:
    table = probes._bpf["settings"]
    assert layout(table.Leaf) == [
        ("threshold", 0, 8), ("clear", 8, 8), ("reaped", 16, 4), ("own_pid", 20, 4),
    ]  # fmt: skip
    probes.set_levels(Levels(1009, 2003, clear_ratio=0.5, own_pid=4001))
    entry = table[ctypes.c_int(0)]
    assert entry.threshold[Direction.SEND] == 1009
    assert entry.threshold[Direction.RECV] == 2003
    assert entry.clear[Direction.SEND] == 504
    assert entry.clear[Direction.RECV] == 1001
    assert (entry.reaped, entry.own_pid) == (probes._reaped, 4001)


def test_the_largest_threshold_stays_whole(probes: Probes) -> None:
    probes.set_levels(Levels(2**32 - 1, 2**32 - 1, clear_ratio=1.0, own_pid=0))
    entry = probes._bpf["settings"][ctypes.c_int(0)]
    assert [*entry.threshold, *entry.clear] == [2**32 - 1] * 4


def test_the_tally_has_the_names_of_the_kernel_side(probes: Probes) -> None:
    table = probes._bpf["tally"]
    assert layout(table.Leaf) == [(field.name, 4 * i, 4) for i, field in enumerate(fields(Tally))]
    entry = table.Leaf()
    for number, field in enumerate(fields(Tally), start=1009):
        setattr(entry, field.name, number)
    before = table[ctypes.c_int(0)]
    table[ctypes.c_int(0)] = entry
    try:
        assert probes.tally() == Tally(1009, 1010, 1011, 1012, 1013, 1014)
    finally:
        table[ctypes.c_int(0)] = before
