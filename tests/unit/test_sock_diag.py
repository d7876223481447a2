# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Dumps of sock_diag are read message by message, padded, unknown and failed ones too, from buffers made by hand."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockbpf.kernel.look import sock_diag
from sockbpf.kernel.look.row import Row
from sockbpf.kernel.look.sock_diag import NLMSG_DONE, NLMSG_ERROR, SOCK_DIAG_BY_FAMILY, dump
from sockbpf.record.event import Direction, Protocol

NLMSG_NOOP = 1


def message(kind: int, payload: bytes) -> bytes:
    """Return a netlink message, padded to the next multiple of 4."""
    whole = struct.pack("=IHHII", 16 + len(payload), kind, 2, 1, 4001) + payload
    return whole + bytes(-len(whole) % 4)


def inet_diag_msg(
    *, recv: int, send: int, inode: int, family: int = socket.AF_INET, more: bytes = b""
) -> bytes:
    local, remote = bytes([192, 0, 2, 1]) + bytes(12), bytes([192, 0, 2, 2]) + bytes(12)
    if family == socket.AF_INET6:
        local, remote = socket.inet_pton(family, "2001:db8::1"), socket.inet_pton(family, "2001:db8::2")
    return (
        struct.pack("=BBBB", family, 1, 2, 3)
        + struct.pack("!HH", 443, 40009)
        + local
        + remote
        + struct.pack("=III", 7, 11, 13)  # interface, cookie
        + struct.pack("=IIIII", 17, recv, send, 1000, inode)
        + more
    )


def row(payload: bytes) -> bytes:
    return message(SOCK_DIAG_BY_FAMILY, payload)


def done(code: int = 0) -> bytes:
    return message(NLMSG_DONE, struct.pack("=i", code))


class Netlink:
    """Stands for the socket: gives these buffers, keeps what was asked."""

    def __init__(self, *buffers: bytes) -> None:
        self.buffers = list(buffers)
        self.sent = b""
        self.closed = False

    def __call__(self, *_: object) -> Netlink:
        return self

    def __enter__(self) -> object:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def settimeout(self, _seconds: float) -> None:
        """Do nothing: what is to come is there."""

    def send(self, raw: bytes) -> None:
        self.sent += raw

    def recv(self, _most: int) -> bytes:
        return self.buffers.pop(0)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a function that makes the kernel answer with these buffers."""

    def answers(*buffers: bytes) -> Netlink:
        netlink = Netlink(*buffers)
        monkeypatch.setattr(socket, "socket", netlink)
        return netlink

    yield answers
    monkeypatch.undo()


def inodes(rows: Iterator[Row]) -> list[int]:
    return [each.inode for each in rows]


def test_a_row_says_who_and_how_long(kernel: Any) -> None:
    kernel(row(inet_diag_msg(recv=2003, send=4001, inode=8191)) + done())
    assert list(dump(socket.AF_INET, Protocol.TCP)) == [
        Row(
            family=socket.AF_INET,
            local_port=(443).to_bytes(2, "big"),
            remote_port=(40009).to_bytes(2, "big"),
            local_ip=bytes([192, 0, 2, 1]) + bytes(12),
            remote_ip=bytes([192, 0, 2, 2]) + bytes(12),
            recv=2003,
            send=4001,
            inode=8191,
            uid=1000,
        )
    ]


def test_addresses_of_ipv6_are_whole(kernel: Any) -> None:
    kernel(row(inet_diag_msg(recv=1, send=2, inode=3, family=socket.AF_INET6)) + done())
    (read,) = dump(socket.AF_INET6, Protocol.UDP)
    assert socket.inet_ntop(socket.AF_INET6, read.local_ip) == "2001:db8::1"
    assert socket.inet_ntop(socket.AF_INET6, read.remote_ip) == "2001:db8::2"


def test_the_largest_numbers_stay_whole(kernel: Any) -> None:
    kernel(row(inet_diag_msg(recv=2**32 - 1, send=2**32 - 1, inode=2**32 - 1)) + done())
    (read,) = dump(socket.AF_INET, Protocol.TCP)
    assert (read.recv, read.send, read.inode) == (2**32 - 1,) * 3


@given(
    st.lists(st.lists(st.tuples(st.integers(1, 2**32 - 1), st.binary(max_size=9)), max_size=5), max_size=4)
)
def test_every_message_of_every_buffer_is_read(parts: list[list[tuple[int, bytes]]]) -> None:
    """With attributes of any length behind, so with any padding between."""
    buffers = [
        b"".join(row(inet_diag_msg(recv=1, send=2, inode=n, more=m)) for n, m in part) for part in parts
    ]
    with pytest.MonkeyPatch.context() as patch:
        netlink = Netlink(*buffers, done())
        patch.setattr(socket, "socket", netlink)
        read = inodes(dump(socket.AF_INET, Protocol.TCP))
    assert read == [n for part in parts for n, _ in part]
    assert netlink.closed
    assert not netlink.buffers


def memory(rcvbuf: int) -> bytes:
    """Return INET_DIAG_SKMEMINFO, behind an attribute of an odd length."""
    numbers = struct.pack("=9I", 4002, rcvbuf, 2003, 46080, 0, 2304, 0, 0, 17)
    return struct.pack("=HHBxxx", 5, 1, 0) + struct.pack("=HH", 4 + len(numbers), 7) + numbers


@pytest.mark.parametrize(
    ("more", "kept"),
    [
        (memory(8000), 2000),
        (memory(212992), 4001),  # not more than there is
        (b"", 0),
        (struct.pack("=HHI", 8, 2, 7), 0),
        (struct.pack("=HHI", 0, 2, 7), 0),
    ],
)
def test_what_may_have_been_read_is_a_quarter_of_the_buffer(kernel: Any, more: bytes, kept: int) -> None:
    netlink = kernel(row(inet_diag_msg(recv=4001, send=2, inode=3, more=more)) + done())
    (read,) = dump(socket.AF_INET, Protocol.UDP, unsure=True)
    assert (read.recv, read.unsure) == (4001, kept)
    assert netlink.sent[18] == 1 << 6


@pytest.mark.parametrize(("protocol", "charged"), [(Protocol.TCP, 2304), (Protocol.UDP, 2003)])
def test_it_says_how_full_the_buffers_are(kernel: Any, protocol: Protocol, charged: int) -> None:
    """TCP blocks a writer by sk_wmem_queued, UDP by sk_wmem_alloc."""
    kernel(row(inet_diag_msg(recv=4001, send=2, inode=3, more=memory(8000))) + done())
    (read,) = dump(socket.AF_INET, protocol)
    assert read.detail
    assert (read.detail.rcv_charged, read.detail.rcvbuf, read.detail.drops) == (4002, 8000, 17)
    assert (read.detail.snd_charged, read.detail.sndbuf) == (charged, 46080)


def test_of_what_is_not_taken_no_more_is_read(kernel: Any) -> None:
    kernel(row(inet_diag_msg(recv=1, send=2, inode=3)) + row(inet_diag_msg(recv=7, send=8, inode=9)) + done())
    asked: list[tuple[int, ...]] = []

    def take(*queues: int) -> bool:
        asked.append(queues)
        return queues[2] == 9

    assert inodes(dump(socket.AF_INET, Protocol.TCP, take=take)) == [9]
    assert asked == [(2, 1, 3), (8, 7, 9)]


def test_elsewhere_all_is_sure(kernel: Any) -> None:
    kernel(row(inet_diag_msg(recv=4001, send=2, inode=3, more=memory(8000))) + done())
    (read,) = dump(socket.AF_INET, Protocol.UDP)
    assert read.unsure == 0


@pytest.mark.parametrize(("shown", "unsure"), [((1536, 768), False), ((1536, 1536), True), ((0, 0), False)])
def test_the_kernel_is_asked(monkeypatch: pytest.MonkeyPatch, shown: tuple[int, ...], unsure: bool) -> None:
    answers = iter(shown)
    monkeypatch.setattr(sock_diag, "_unread", lambda _inode: next(answers))
    assert sock_diag.shows_what_was_read() is unsure


def test_a_kernel_that_cannot_be_asked_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_inode: int) -> int:
        raise OSError(errno.ENOENT, "no udp_diag")

    monkeypatch.setattr(sock_diag, "_unread", refused)
    assert sock_diag.shows_what_was_read() is False


def test_what_follows_the_end_is_not_read(kernel: Any) -> None:
    kernel(row(inet_diag_msg(recv=1, send=2, inode=3)) + done() + row(inet_diag_msg(recv=1, send=2, inode=5)))
    assert inodes(dump(socket.AF_INET, Protocol.TCP)) == [3]


def test_an_unknown_message_is_passed_over(kernel: Any) -> None:
    kernel(
        message(NLMSG_NOOP, b"")
        + row(inet_diag_msg(recv=1, send=2, inode=3))
        + message(99, b"12345")
        + done()
    )
    assert inodes(dump(socket.AF_INET, Protocol.TCP)) == [3]


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EINVAL, errno.EPERM])
def test_a_refusal_is_an_os_error(kernel: Any, code: int) -> None:
    netlink = kernel(message(NLMSG_ERROR, struct.pack("=i", -code) + bytes(20)))
    with pytest.raises(OSError, match=errno.errorcode[code]) as raised:
        list(dump(socket.AF_INET, Protocol.TCP))
    assert raised.value.errno == code
    assert netlink.closed


@pytest.mark.parametrize("rows", [0, 1])
def test_a_dump_that_fails_on_its_way_is_an_os_error(kernel: Any, rows: int) -> None:
    """A dump tells its failure in its last message (net/netlink/af_netlink.c: netlink_dump_done)."""
    kernel(row(inet_diag_msg(recv=1, send=2, inode=3)) * rows + done(-errno.ENOENT))
    with pytest.raises(FileNotFoundError):
        list(dump(socket.AF_INET, Protocol.UDP))


@pytest.mark.parametrize("length", [0, 1, 15])
def test_a_length_too_short_for_its_own_header_does_not_hang(kernel: Any, length: int) -> None:
    kernel(struct.pack("=IHHII", length, NLMSG_NOOP, 0, 1, 0), done())
    assert inodes(dump(socket.AF_INET, Protocol.TCP)) == []


@pytest.mark.parametrize(
    ("family", "protocol", "states"),
    [
        (socket.AF_INET, Protocol.TCP, {1, 2, 4, 5, 8, 9, 11}),
        (socket.AF_INET6, Protocol.TCP, {1, 2, 4, 5, 8, 9, 11}),
        (socket.AF_INET, Protocol.UDP, {1, 7}),
        (socket.AF_INET6, Protocol.UDP, {1, 7}),
    ],
)
def test_what_is_asked_for(kernel: Any, family: int, protocol: Protocol, states: set[int]) -> None:
    """TCP without the states that have no queues; an unconnected UDP socket is in CLOSE."""
    netlink = kernel(done())
    list(dump(family, protocol))
    length, kind, flags, _, _ = struct.unpack_from("=IHHII", netlink.sent)
    assert (length, kind, flags) == (len(netlink.sent), 20, 0x301) == (72, 20, 0x301)
    asked_family, asked_protocol, extensions, _, asked_states = struct.unpack_from("=BBBBI", netlink.sent, 16)
    assert (asked_family, asked_protocol, extensions) == (family, protocol, 1 << 6)
    asked = {state for state in range(32) if asked_states >> state & 1}
    assert asked & {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11} >= states
    if protocol is Protocol.TCP:
        assert not asked & {3, 6, 7, 10}
    assert netlink.sent[24:] == bytes(48)  # any address


@pytest.mark.parametrize(
    ("length", "left"),
    [
        (136, {Direction.SEND: 5003, Direction.RECV: 7001 - 2003}),
        (192, {Direction.SEND: 5003, Direction.RECV: 4998}),
        (128, None),
    ],
)
def test_with_progress_a_row_says_how_much_has_left_its_queues(
    kernel: Any, length: int, left: dict[Direction, int] | None
) -> None:
    """Before 4.1 the message does not say; an attribute before it, whose padding follows it, is passed over."""
    info = (bytes(120) + struct.pack("=QQ", 5003, 7001)).ljust(length, b"\xff")[:length]
    more = struct.pack("=HHB3x", 5, 8, 0) + struct.pack("=HH", 4 + length, 2) + info
    kernel(row(inet_diag_msg(recv=2003, send=4001, inode=8191, more=more)) + done())
    (found,) = dump(socket.AF_INET, Protocol.TCP, progress=True)
    assert found.left == left
