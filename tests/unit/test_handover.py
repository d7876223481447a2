"""What the compiling process hands over arrives whole, and nothing else is taken for it."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator

import pytest

from sockbpf.kernel.handover import PACKET, Fault, Loaded, NonsenseError, Table, receive, send

Doors = tuple[socket.socket, socket.socket]
EMPTY = {"types": "BTF", "programs": [], "refused": {}, "tables": {}}


@pytest.fixture
def doors() -> Iterator[Doors]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def file_of(text: bytes) -> int:
    """Return a descriptor that is told from others by what it holds."""
    descriptor = os.memfd_create("test")
    os.write(descriptor, text)
    return descriptor


def test_descriptors_arrive_under_their_names(doors: Doors) -> None:
    ours, theirs = doors
    names = [b"tp_a", b"tp_b", b"settings", b"tally"]
    sent = [file_of(name) for name in names]
    tables = {"settings": Table(sent[2], 4, 24), "tally": Table(sent[3], 4, 25)}
    send(theirs, Loaded("BTF", {"tp_a": sent[0], "tp_b": sent[1]}, {"tp_c": "too long"}, tables))
    for descriptor in sent:
        os.close(descriptor)
    taken = receive(ours)
    assert isinstance(taken, Loaded)
    assert (taken.types, taken.refused) == ("BTF", {"tp_c": "too long"})
    found = {name: os.pread(descriptor, 99, 0) for name, descriptor in taken.programs.items()}
    found |= {name: os.pread(table.fd, 99, 0) for name, table in taken.tables.items()}
    assert found == {name.decode(): name for name in names}
    assert [(t.key_size, t.value_size) for t in taken.tables.values()] == [(4, 24), (4, 25)]
    assert all(fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for fd in taken.programs.values())
    before = open_descriptors()
    taken.close()
    assert len(before) - len(open_descriptors()) == 4


def test_a_fault_arrives(doors: Doors) -> None:
    send(doors[1], Fault("no BCC: install it"))
    assert receive(doors[0]) == Fault("no BCC: install it")


def test_an_end_is_none(doors: Doors) -> None:
    doors[1].close()
    assert receive(doors[0]) is None


def test_silence_is_a_timeout(doors: Doors) -> None:
    doors[0].settimeout(0.01)
    with pytest.raises(TimeoutError):
        receive(doors[0])


NONSENSE: dict[str, tuple[bytes, int]] = {
    "no text": (b"\xff\xfe", 0),
    "no JSON": (b"Traceback", 0),
    "descriptors alone": (b"x", 3),
    "no object": (b"[1, 2]", 0),
    "a number": (b"7", 1),
    "nothing in it": (b"{}", 0),
    "a fault that is no text": (b'{"fault": 7}', 0),
    "a fault and a descriptor": (b'{"fault": "none"}', 1),
    "a descriptor too many": (json.dumps(EMPTY).encode(), 1),
    "a descriptor too few": (json.dumps(EMPTY | {"programs": ["a", "b"]}).encode(), 1),
    "a program twice": (json.dumps(EMPTY | {"programs": ["a", "a"]}).encode(), 2),
    "a program without a name": (json.dumps(EMPTY | {"programs": [None]}).encode(), 1),
    "a table without a size": (json.dumps(EMPTY | {"tables": {"own": [8]}}).encode(), 1),
    "a size in words": (json.dumps(EMPTY | {"tables": {"own": [8, "8"]}}).encode(), 1),
    "a refusal without a reason": (json.dumps(EMPTY | {"refused": {"a": None}}).encode(), 0),
    "refusals in a list": (json.dumps(EMPTY | {"refused": ["a"]}).encode(), 0),
    "more than there is room for": (json.dumps(EMPTY | {"programs": ["a"]}).encode().ljust(PACKET + 1), 1),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_is_an_error_and_leaves_no_descriptor_open(doors: Doors, what: str) -> None:
    raw, descriptors = NONSENSE[what]
    before = open_descriptors()
    socket.send_fds(doors[1], [raw], [2] * descriptors)
    with pytest.raises(NonsenseError):
        receive(doors[0])
    assert open_descriptors() == before
