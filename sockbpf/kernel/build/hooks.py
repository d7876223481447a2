# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What must be seen, and by which hooks: for each thing the candidates, best first, and what each does not see.

At start each thing takes the first candidate whose hooks all attach on this kernel, found by trying. The
programs are in bpf/tracepoints.h and bpf/kprobes.h. To add a hook: a program there, a row here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class HookKind(Enum):
    """How a program is attached."""

    TRACEPOINT = "raw tracepoint"
    KPROBE = "kprobe"
    KRETPROBE = "kretprobe"
    ITERATOR = "iterator"
    """No hook: it runs when all sockets are looked at."""


TRACEPOINTS = frozenset({HookKind.TRACEPOINT})
KPROBES = frozenset({HookKind.KPROBE, HookKind.KRETPROBE})


class Attached(Enum):
    """When the hooks of a candidate are attached."""

    ALWAYS = "always"
    WHILE_OVER = "while an episode of such a queue is open, and for a while after"
    WHILE_OVER_IF_PROVED = "so too, where no earlier drain is missed: see on_demand of choice.py; else always"


@dataclass(frozen=True, slots=True)
class Hook:
    """One program on one place of the kernel: `target` is the tracepoint's or the function's name."""

    kind: HookKind
    target: str
    program: str

    def __str__(self) -> str:
        return f"{self.kind.value} {self.target}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """Hooks that together see one thing.

    `unseen` is what they miss, and until when; `symbol` is a kernel function whose address the
    programs compare with. Where `proves_drains`, these hooks see a queue grow and know at each growth the least that
    it has held since the one before: what drained and filled again before they ran is no secret to them.
    """

    hooks: tuple[Hook, ...]
    unseen: str = ""
    symbol: str = ""
    attached: Attached = Attached.ALWAYS
    proves_drains: bool = False


def _tp(target: str) -> Hook:
    return Hook(HookKind.TRACEPOINT, target, f"tp_{target}")


def _kp(target: str, program: str = "") -> Hook:
    return Hook(HookKind.KPROBE, target, program or f"kp_{target}")


def _call(target: str) -> tuple[Hook, Hook]:
    """Return the hooks on a function's entry, where its arguments are, and on its return, where the work is done."""
    return _kp(target), Hook(HookKind.KRETPROBE, target, f"kp_{target}_returns")


_SKB_LEAVES = tuple(
    _tp(target) for target in ("net_dev_start_xmit", "netif_receive_skb", "consume_skb", "kfree_skb")
)

# A number in a comment is the first kernel with the hook; a hook without one is in every kernel from 4.4 on.
SEEN: dict[str, tuple[Candidate, ...]] = {
    "TCP send grows": (
        # 6.16: before each chunk, and 6.3: as the call returns.
        Candidate((_tp("tcp_sendmsg_locked"), _tp("sock_send_length")), proves_drains=True),
        # Every call on a socket ends with it, and calls it before it sleeps.
        Candidate((_kp("release_sock"),), proves_drains=True),
        # It runs after acknowledgements that may have come within the call: what it held in between is not known.
        Candidate(
            (_tp("sock_send_length"),),
            unseen="a sender blocked inside one call, until the next acknowledgement or sweep",
        ),
    ),
    "TCP send shrinks": (
        # Handles all acknowledgements, in every state; a static function, so a compiler might rename it.
        Candidate((_kp("tcp_ack"),), attached=Attached.WHILE_OVER_IF_PROVED),
        # 4.9: the last step of tcp_ack, when data was acknowledged.
        Candidate((_kp("tcp_rate_gen"),), attached=Attached.WHILE_OVER_IF_PROVED),
        # 4.16
        Candidate(
            (_tp("tcp_probe"),),
            unseen="acknowledgements once either side has closed, until the next look",
            attached=Attached.WHILE_OVER_IF_PROVED,
        ),
    ),
    "TCP receive grows": (
        # 6.3: before the socket's data_ready is called, also where that was replaced.
        Candidate((_tp("sk_data_ready"),), proves_drains=True),
        # The data_ready that sockets have by default.
        Candidate(
            (_kp("sock_def_readable"),),
            unseen="sockets with a data_ready of their own (kTLS, sockmap)",
            proves_drains=True,
        ),
    ),
    "TCP receive shrinks": (
        # 4.18, in the function of that name: after each copy to a reader, the kernel's own readers included.
        Candidate((_tp("tcp_rcv_space_adjust"),), attached=Attached.WHILE_OVER_IF_PROVED),
        Candidate((_kp("tcp_rcv_space_adjust"),), attached=Attached.WHILE_OVER_IF_PROVED),
    ),
    "UDP receive grows": (
        Candidate((_tp("sk_data_ready"),), proves_drains=True),
        Candidate((_kp("sock_def_readable"),), proves_drains=True),
    ),
    "UDP receive shrinks": (
        # 6.3: as a receiving call returns.
        Candidate((_tp("sock_recv_length"),), attached=Attached.WHILE_OVER_IF_PROVED),
        # 4.10: frees a datagram that was read (7c13f97ffde6, "udp: do fwd memory scheduling on dequeue").
        Candidate((_kp("skb_consume_udp"),), attached=Attached.WHILE_OVER_IF_PROVED),
        # Before 4.10: the destructor of a received datagram, which UDP does not call any more.
        Candidate((_kp("sock_rfree"),)),
    ),
    "UDP send grows": (
        # 6.3: as the call returns.
        Candidate((_tp("sock_send_length"),)),
        # Two functions, one for each family; a kernel without IPv6, or before that module is loaded, has one.
        Candidate(_call("udp_sendmsg") + _call("udpv6_sendmsg")),
        Candidate(_call("udp_sendmsg"), unseen="IPv6, which this kernel did not have when sockbpf started"),
    ),
    "UDP send shrinks": (
        # The destructor of a sent datagram.
        Candidate((_kp("sock_wfree"),)),
        # Where drivers hand over or free a sent datagram, and where one that came through a veth is taken in.
        Candidate(_SKB_LEAVES, symbol="sock_wfree", attached=Attached.WHILE_OVER),
    ),
    "TCP socket ends": (
        # 4.16
        Candidate((_tp("inet_sock_set_state"),)),
        Candidate((_kp("tcp_set_state"),)),
    ),
    "UDP socket ends": (
        Candidate((_kp("sk_common_release"),)),
        Candidate((), unseen="the close of a UDP socket, until the next look"),
    ),
    "socket memory freed": (
        # The destructor of TCP and UDP sockets, also of those that were cloned from a listener.
        Candidate((_kp("inet_sock_destruct"),)),
        # 4.16
        Candidate(
            (_tp("tcp_destroy_sock"),),
            unseen="UDP sockets; a new one at the same address is known by its inode",
        ),
    ),
}
