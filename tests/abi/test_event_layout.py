# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""C and Python mean the same bytes: every struct that crosses between them, as this kernel's compiler laid it out."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from dataclasses import fields, replace
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest

from sockbpf.kernel.attach.maps import entries, keys, look_up, write
from sockbpf.kernel.attach.tables import (
    FIRST,
    KEY,
    KEY_FIELDS,
    NUMBER,
    SETTINGS_FIELDS,
    SIZES,
    TALLY,
    KernelLevels,
    Tally,
)
from sockbpf.monitor import own
from sockbpf.record.event import FIELDS, WIRE, Direction, Mode, Protocol, Socket, What, decode
from sockbpf.record.facts import Condition
from tests.abi.everything import Everything, every_program
from tests.abi.layouts import layout, packed

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loading programs needs root")

BPF = Path(__file__).parents[2] / "bpf"
HEADER = (BPF / "event.h").read_text()


@pytest.fixture(scope="module")
def everything() -> Iterator[Everything]:
    with every_program() as made:
        yield made


def test_every_field_of_the_wire_lies_where_it_is_read(everything: Everything) -> None:
    leaf = everything.bpf["episodes"].Leaf
    assert layout(leaf) == packed(FIELDS)
    assert ctypes.sizeof(leaf) == WIRE.size


@pytest.mark.parametrize(
    ("table", "part", "table_fields"),
    [
        ("settings", "Leaf", SETTINGS_FIELDS),
        ("tally", "Leaf", tuple((field.name, "I") for field in fields(Tally))),
        ("episodes", "Key", KEY_FIELDS),
    ],
)
def test_every_field_of_a_table_lies_where_it_is_read(
    everything: Everything, table: str, part: str, table_fields: tuple[tuple[str, str], ...]
) -> None:
    assert layout(getattr(everything.bpf[table], part)) == packed(table_fields)


@pytest.mark.parametrize("name", SIZES)
def test_a_table_has_the_sizes_that_are_read(everything: Everything, name: str) -> None:
    table = everything.bpf[name]
    assert (ctypes.sizeof(table.Key), ctypes.sizeof(table.Leaf)) == SIZES[name]


def test_the_size_that_the_header_asserts_is_the_size_read() -> None:
    (asserted,) = re.findall(r"_Static_assert\(sizeof\(struct queue_event\) == (\d+)", HEADER)
    assert int(asserted) == WIRE.size


def test_a_record_written_by_field_is_read_by_field(everything: Everything) -> None:
    leaf = everything.bpf["episodes"].Leaf()
    unused = {"filled_to"}
    numbers = {
        name: 1009 + i for i, (name, code) in enumerate(FIELDS) if code in "QIH" and name not in unused
    }
    for name, number in numbers.items():
        setattr(leaf, name, number)
    leaf.what, leaf.direction, leaf.protocol, leaf.family = 2, 1, 17, 10
    leaf.local_ip[:], leaf.remote_ip[:] = range(1, 17), range(17, 33)
    leaf.state, leaf.of_buffer = 8, 1
    leaf.comm = b"reader"
    event = decode(bytes(leaf))
    who = event.socket
    dropped = numbers.pop("drops") - numbers.pop("drops_before")
    places = (who, event.facts, event)
    told = {name: next(getattr(at, name) for at in places if hasattr(at, name)) for name in numbers}
    assert told == numbers
    assert (event.facts.state, event.condition, event.facts.drops) == (8, Condition.FILL, dropped % 2**32)
    assert (event.what, event.direction, event.mode) == (What.BACK, Direction.RECV, Mode.EBPF)
    assert (who.protocol, event.comm) == (Protocol.UDP, "reader")
    assert who.local_ip == "102:304:506:708:90a:b0c:d0e:f10"
    assert who.remote_ip == "1112:1314:1516:1718:191a:1b1c:1d1e:1f20"


OF_NO_HOOK = {"ACCEPT", "RATE"}
"""The directions that no hook reports."""


@pytest.mark.parametrize(("name", "enum"), [("what", What), ("direction", Direction)])
def test_the_enums_have_the_values_of_the_header(name: str, enum: type[IntEnum]) -> None:
    (body,) = re.findall(rf"enum {name} \{{(.*?)\}};", HEADER, re.DOTALL)
    values = {key: int(value) for key, value in re.findall(r"^\s*(\w+) = (\d+),", body, re.MULTILINE)}
    assert values == {member.name: member.value for member in enum if member.name not in OF_NO_HOOK}


def test_the_protocols_have_the_values_of_the_header() -> None:
    values = dict(re.findall(r"#define PROTOCOL_(\w+) (\d+)", (BPF / "sock.h").read_text()))
    assert {key: int(value) for key, value in values.items()} == {p.name: p.value for p in Protocol}


def test_an_episode_that_bcc_wrote_is_reaped(everything: Everything) -> None:
    table, tables = everything.bpf["episodes"], everything.probes.tables
    leaf = table.Leaf()
    leaf.address, leaf.direction = 2**63 + 17, Direction.RECV
    table[table.Key(2**63 + 17, Direction.RECV)] = leaf
    assert not tables.reap(2**63 + 17, Direction.SEND)
    assert not tables.reap(17, Direction.RECV)
    assert tables.reap(2**63 + 17, Direction.RECV)
    assert not tables.reap(2**63 + 17, Direction.RECV)
    assert len(table) == 0
    assert everything.bpf["settings"][ctypes.c_int(0)].reaped == 1


def test_all_keys_are_found_and_no_others(everything: Everything) -> None:
    table = everything.loaded.tables["episodes"]
    wanted = {KEY.pack(1009 * number, Direction.SEND): bytes([number]) * WIRE.size for number in range(13)}
    for key, value in wanted.items():
        write(table, key, value)
    assert sorted(keys(table)) == sorted(wanted)
    assert dict(entries(table)) == wanted
    for number in range(13):
        assert everything.probes.tables.reap(1009 * number, Direction.SEND)
    assert keys(table) == []


def test_what_is_not_there_is_none_and_what_is_no_table_is_an_error(everything: Everything) -> None:
    table = everything.loaded.tables["own"]
    assert look_up(table, NUMBER.pack(17)) is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        look_up(replace(table, fd=2**20), NUMBER.pack(17))
    with pytest.raises(OSError, match="Bad file descriptor"):
        write(replace(table, fd=2**20), NUMBER.pack(17), NUMBER.pack(17))


def mark(everything: Everything, *inodes: int) -> None:
    for inode in inodes:
        everything.bpf["own"][ctypes.c_uint64(inode)] = ctypes.c_uint64(1)


def test_own_sockets_are_known_by_their_marks(everything: Everything) -> None:
    tables = everything.probes.tables
    mark(everything, 1009, 2003, 3001)
    assert tables.own_inodes() == {1009, 2003, 3001}
    tables.forget_own([1009, 3001])
    assert [tables.is_own(inode) for inode in (1009, 2003, 3001)] == [False, True, False]
    tables.forget_own([2003])
    assert not everything.bpf["own"]


def test_own_sockets_are_forgotten_once_they_are_closed_and_read(
    everything: Everything, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one that was opened and marked while the open ones are listed, nor what may have said something yet."""
    tables = everything.probes.tables
    lives, closed, new = 1009, 2003, 3001

    def listed() -> set[int]:
        mark(everything, new)
        return {lives}

    mark(everything, lives, closed)
    monkeypatch.setattr(own, "open_inodes", listed)
    ours = own.Own(tables, lambda: None)
    ours.forget_closed()
    assert tables.own_inodes() == {lives, closed, new}
    monkeypatch.setattr(own, "open_inodes", lambda: {lives, new})
    ours.forget_closed()
    assert tables.own_inodes() == {lives, new}
    assert all((named(inode) in ours) == (inode != closed) for inode in (lives, closed, new))
    monkeypatch.setattr(own, "open_inodes", set)
    ours.forget_closed()
    ours.forget_closed()
    assert not tables.own_inodes()


def named(inode: int, **more: Any) -> Socket:
    whose: dict[str, Any] = {
        "local_ip": "192.0.2.1",
        "local_port": 443,
        "remote_ip": "192.0.2.2",
        "remote_port": 40009,
    }
    netns = os.stat("/proc/self/ns/net").st_ino
    return Socket(**({"protocol": Protocol.TCP, "netns": netns, "inode": inode} | whose | more))


def test_what_is_accepted_here_is_own_before_it_is_accepted(everything: Everything) -> None:
    serving = own.Own(everything.probes.tables, lambda: ("192.0.2.1", 443))
    everywhere = own.Own(None, lambda: ("0.0.0.0", 443))
    assert named(0) in serving
    assert named(0, local_ip="::ffff:192.0.2.1") in serving
    assert named(0, local_ip="192.0.2.7") in everywhere
    for other in ({"local_ip": "192.0.2.7"}, {"local_port": 80}, {"netns": 1}, {"protocol": Protocol.UDP}):
        assert named(0, **other) not in serving


def test_the_settings_are_what_the_kernel_side_reads(everything: Everything) -> None:
    tables = everything.probes.tables
    levels = KernelLevels((1009, 2003), clear=(504, 1001), fill=(80, 90), clear_fill=(64, 72), own_pid=4001)
    tables.set_levels(levels)
    tables.set_lookers(4007, 4013)
    entry = everything.bpf["settings"][ctypes.c_int(0)]
    assert entry.threshold[Direction.SEND] == 1009
    assert entry.threshold[Direction.RECV] == 2003
    assert entry.clear[Direction.SEND] == 504
    assert entry.clear[Direction.RECV] == 1001
    assert (*entry.fill, *entry.clear_fill) == (80, 90, 64, 72)
    assert (entry.reaped, entry.own_pid, *entry.lookers) == (tables._reaped, 4001, 4007, 4013)


def test_the_largest_threshold_stays_whole(everything: Everything) -> None:
    everything.probes.tables.set_levels(KernelLevels(2 * (2**32 - 1,), clear=2 * (2**32 - 1,)))
    entry = everything.bpf["settings"][ctypes.c_int(0)]
    assert [*entry.threshold, *entry.clear] == [2**32 - 1] * 4


def test_the_tally_has_the_names_of_the_kernel_side(everything: Everything) -> None:
    table = everything.loaded.tables["tally"]
    counts = range(1009, 1009 + len(fields(Tally)))
    write(table, FIRST, TALLY.pack(*counts))
    try:
        entry = everything.bpf["tally"][ctypes.c_int(0)]
        read = {field.name: getattr(entry, field.name) for field in fields(Tally)}
        assert everything.probes.tables.tally() == Tally(*counts) == Tally(**read)
    finally:
        write(table, FIRST, bytes(TALLY.size))
