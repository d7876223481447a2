# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The iterators: C and Python mean the same bytes, the verifier takes them, and what is read of a socket is true."""

from __future__ import annotations

import ctypes
import os
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from sockbpf.counters import Counters
from sockbpf.errors import UnsupportedError
from sockbpf.kernel.attach.loading import load
from sockbpf.kernel.build.making import bytecode_of
from sockbpf.kernel.build.order import ITERATED, order_of_look
from sockbpf.kernel.build.shortcuts import Shortcut, taken_by
from sockbpf.kernel.build.source import BTF, SOURCE, type_source
from sockbpf.kernel.look import iterators
from sockbpf.kernel.look.choice import CASTS, look_of
from sockbpf.kernel.look.iterators import Iterators
from sockbpf.kernel.look.record import FIELDS, RECORD, TERMS, TERMS_FIELDS, rows_of
from sockbpf.kernel.look.row import Detail, Row, Terms, Which
from sockbpf.record.event import Direction, Protocol
from tests.abi.layouts import layout, packed
from tests.live.sockets import FAMILIES, fill, inode, tcp_pair, udp_socket
from tests.live.waiting import until

HEADER = (Path(SOURCE) / "look.h").read_text()
SO_MEMINFO, SO_COOKIE = 55, 57
MEMINFO = (
    "rmem_alloc",
    "rcvbuf",
    "wmem_alloc",
    "sndbuf",
    "forward",
    "wmem_queued",
    "optmem",
    "backlog",
    "drops",
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="loading programs needs root")
needs_btf = pytest.mark.skipif(not BTF.exists(), reason="iterators need BTF")
pytestmark = [needs_root, needs_btf]


@pytest.fixture(scope="module", params=[CASTS, frozenset()], ids=["casts", "plain"])
def look(request: pytest.FixtureRequest) -> Iterator[Iterators]:
    bytecode = bytecode_of(order_of_look(request.param), "auto")
    assert taken_by(bytecode) <= request.param
    with closing(Iterators(bytecode)) as made:
        yield made


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.mark.parametrize(
    ("name", "fields", "size"),
    [("look_record", FIELDS, RECORD.size), ("look_terms", TERMS_FIELDS, TERMS.size)],
)
def test_every_field_lies_where_it_is_read(name: str, fields: tuple[tuple[str, str], ...], size: int) -> None:
    import bcc

    _, flags = type_source("auto")
    text = f'#include "look.h"\nBPF_ARRAY(shown, struct {name}, 1);\n'
    bpf = bcc.BPF(text=text, cflags=[f"-I{SOURCE}", "-g0", *flags])
    leaf = bpf["shown"].Leaf
    assert layout(leaf) == packed(fields)
    assert ctypes.sizeof(leaf) == size
    bpf.cleanup()


def test_the_size_that_the_header_asserts_is_the_size_read() -> None:
    (asserted,) = re.findall(r"_Static_assert\(sizeof\(struct look_record\) == (\d+)", HEADER)
    assert int(asserted) == RECORD.size


def test_which_has_the_values_of_the_header() -> None:
    (body,) = re.findall(r"enum which \{(.*?)\};", HEADER, re.DOTALL)
    values = {name: int(value) for name, value in re.findall(r"^\s*(\w+) = (\d+),", body, re.MULTILINE)}
    assert values == {member.name: member.value for member in Which}


@pytest.mark.parametrize("shortcuts", [CASTS, frozenset[Shortcut]()], ids=["casts", "plain"])
def test_the_verifier_takes_them(shortcuts: frozenset[Shortcut]) -> None:
    loaded = load(bytecode_of(order_of_look(shortcuts), "auto"))
    assert (set(loaded.programs), loaded.refused) == (set(ITERATED), {})
    loaded.close()


def row_of(look: Iterators, protocol: Protocol, sock: socket.socket) -> tuple[Row, Detail]:
    """Return what the look says of a socket, whatever its queues hold."""
    (row,) = [row for row in look.rows(protocol, Terms(Which.ALL)) if row.inode == inode(sock)]
    assert row.detail
    return row, row.detail


def meminfo(sock: socket.socket) -> dict[str, int]:
    """Return what the socket says of its own memory."""
    raw = sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 4 * len(MEMINFO))
    return dict(zip(MEMINFO, struct.unpack(f"={len(MEMINFO)}I", raw), strict=True))


def check(look: Iterators, protocol: Protocol, sock: socket.socket) -> tuple[Row, Detail]:
    """Compare all that a socket tells of itself, and return what was found of it."""

    def at_rest() -> tuple[dict[str, int], Row, Detail] | None:
        before, (row, detail) = meminfo(sock), row_of(look, protocol, sock)
        return (before, row, detail) if before == meminfo(sock) else None

    memory, row, detail = until(at_rest, "the same before and after")
    charged = "wmem_queued" if protocol is Protocol.TCP else "wmem_alloc"
    extra = 0 if protocol is Protocol.TCP else int(memory[charged] == 1)  # the socket's reference to itself
    assert (detail.rcvbuf, detail.rcv_charged) == (memory["rcvbuf"], memory["rmem_alloc"])
    assert (detail.sndbuf, detail.snd_charged) == (memory["sndbuf"], memory[charged] - extra)
    assert detail.drops == memory["drops"]
    cookie = struct.unpack("=Q", sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))[0]
    assert row_of(look, protocol, sock)[1].cookie == cookie > 0
    assert detail.netns == os.stat("/proc/self/ns/net").st_ino
    assert row.uid == os.geteuid()
    local, remote = sock.getsockname(), (b"", 0)
    assert int.from_bytes(row.local_port, "big") == local[1]
    if protocol is Protocol.TCP:
        remote = sock.getpeername()
    assert int.from_bytes(row.remote_port, "big") == remote[1]
    assert detail.cgroup in cgroups()
    return row, detail


def cgroups() -> set[int]:
    """Return the ids that this process's cgroup can have: 0 and the root's, where it has no place in version 2."""
    path = next(
        (
            line.split(":", 2)[2]
            for line in Path("/proc/self/cgroup").read_text().splitlines()
            if line[0] == "0"
        ),
        "/",
    )
    place = Path("/sys/fs/cgroup") / path.lstrip("/")
    return {0, 1, *((place.stat().st_ino,) if place.exists() else ())}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tcp_socket_is_read_as_it_tells_of_itself(look: Iterators, stack: ExitStack, family: str) -> None:
    client, server = tcp_pair(stack, family)
    sent = fill(client)
    row, detail = check(look, Protocol.TCP, client)
    assert row.send == (detail.write_seq - detail.snd_una) % 2**32 > 0
    assert (detail.snd_nxt - detail.snd_una) % 2**32 <= row.send
    there, far = check(look, Protocol.TCP, server)
    assert there.recv == (far.rcv_nxt - far.copied_seq) % 2**32 > 0
    assert there.recv + row.send >= sent
    assert (far.state, detail.state) == (1, 1)
    assert far.rcv_nxt == detail.snd_nxt
    server.recv(1009, socket.MSG_WAITALL)
    _, later = check(look, Protocol.TCP, server)
    assert (later.copied_seq - far.copied_seq) % 2**32 == 1009


@pytest.mark.parametrize("family", FAMILIES)
def test_a_udp_socket_is_read_as_it_tells_of_itself(look: Iterators, stack: ExitStack, family: str) -> None:
    """With datagrams that did not fit."""
    reader, writer = udp_socket(stack, family), udp_socket(stack, family)
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20_011)
    for _ in range(61):
        writer.sendto(bytes(1009), reader.getsockname()[:2])
    row, detail = check(look, Protocol.UDP, reader)
    assert row.recv == detail.rcv_charged > detail.rcvbuf // 2
    assert detail.drops > 0
    check(look, Protocol.UDP, writer)


def test_more_sockets_than_one_read_takes_are_each_found_once(look: Iterators, stack: ExitStack) -> None:
    made = {inode(udp_socket(stack)) for _ in range(509)}
    rows = look.rows(Protocol.UDP, Terms(Which.ALL))
    found = [row.inode for row in rows if row.inode in made]
    assert len(found) == len(set(found)) == 509


def test_what_is_over_is_marked_in_the_kernel(look: Iterators, stack: ExitStack) -> None:
    """The last byte of the numbers, which Python does not read: it judges again by what it knows."""
    reader, writer = udp_socket(stack), udp_socket(stack)
    writer.sendto(bytes(1009), reader.getsockname())
    marks: dict[int, int] = {}
    held = row_of(look, Protocol.UDP, reader)[0].recv

    def spy(raw: bytes) -> Iterator[tuple[int, Row]]:
        for fields, row in zip(RECORD.iter_unpack(raw), rows_of(raw), strict=True):
            marks[row[1].inode] = dict(zip((name for name, _ in FIELDS), fields, strict=True))["over"]
            yield row

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(iterators, "rows_of", spy)
        for recv, mark in ((held, 0), (held - 1, 1 << Direction.RECV)):
            look.rows(Protocol.UDP, Terms(Which.ALL, send=0, recv=recv))
            assert (marks[inode(reader)], marks[inode(writer)]) == (mark, 0)


def test_iterators_that_cannot_be_attached_give_way_to_sock_diag(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(_program: int) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(iterators, "link_iterator", refused)
    caplog.set_level("INFO")
    before, counters = len(os.listdir("/proc/self/fd")), Counters()
    look, reason = look_of("auto", "auto", counters)
    assert look.name == "sock_diag"
    assert reason == "look_tcp: not attached: Operation not permitted"
    assert f"sockets are looked at by sock_diag, no BPF iterators: {reason}" in caplog.text
    assert counters.snapshot()["look_refused"] == 1
    assert len(os.listdir("/proc/self/fd")) == before


def test_casts_that_are_refused_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    class Picky(Iterators):
        def __init__(self, bytecode: object) -> None:
            tried.append(taken_by(bytecode))  # type: ignore[arg-type]
            if tried[-1]:
                raise UnsupportedError("no casts")
            super().__init__(bytecode)  # type: ignore[arg-type]

    monkeypatch.setattr("sockbpf.kernel.look.choice.Iterators", Picky)
    look, reason = look_of("auto", "auto", Counters())
    with closing(look):
        assert (look.name, reason) == ("BPF iterators", "")
    assert tried[-1] == frozenset()


@pytest.mark.parametrize(
    ("wanted", "types", "reason"),
    [
        ("sock_diag", "auto", "the configuration says so: kernel > look: sock_diag"),
        ("auto", "headers", f"they need the kernel's types from {BTF}"),
    ],
)
def test_where_they_are_not_wanted_or_have_no_types(wanted: str, types: str, reason: str) -> None:
    look, why = look_of(wanted, types, Counters())
    assert (look.name, why) == ("sock_diag", reason)
