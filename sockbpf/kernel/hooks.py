"""What must be seen, and by which hooks: for each thing the candidates, best first, with what each leaves unseen.

At start each thing takes the first candidate whose hooks all attach on this kernel, found by trying. The
programs are in bpf/tracepoints.h and bpf/kprobes.h. To add a hook: a program there, a row here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """How a program is attached."""

    TRACEPOINT = "raw tracepoint"
    KPROBE = "kprobe"
    KRETPROBE = "kretprobe"


TRACEPOINTS = frozenset({Kind.TRACEPOINT})
KPROBES = frozenset({Kind.KPROBE, Kind.KRETPROBE})


@dataclass(frozen=True, slots=True)
class Hook:
    """One program on one place of the kernel: `target` is the tracepoint's or the function's name."""

    kind: Kind
    target: str
    program: str

    def __str__(self) -> str:
        return f"{self.kind.value} {self.target}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """Hooks that together see one thing.

    `unseen` is what they miss and who makes up for it; `symbol` is a kernel function whose address the
    programs compare with; `on_demand` hooks are hot and attached only while a UDP send episode is open.
    """

    hooks: tuple[Hook, ...]
    unseen: str = ""
    symbol: str = ""
    on_demand: bool = False


def _tp(target: str, program: str = "") -> Hook:
    return Hook(Kind.TRACEPOINT, target, program or f"tp_{target}")


def _kp(target: str, program: str = "") -> Hook:
    return Hook(Kind.KPROBE, target, program or f"kp_{target}")


_UDP_SENDMSG = (
    _kp("udp_sendmsg"),
    Hook(Kind.KRETPROBE, "udp_sendmsg", "kp_udp_sendmsg_returns"),
)
_UDPV6_SENDMSG = (
    _kp("udpv6_sendmsg", "kp_udp_sendmsg"),
    Hook(Kind.KRETPROBE, "udpv6_sendmsg", "kp_udp_sendmsg_returns"),
)
_SKB_LEAVES = tuple(
    _tp(target, "tp_skb_leaves") for target in ("net_dev_start_xmit", "consume_skb", "kfree_skb")
)

SEEN: dict[str, tuple[Candidate, ...]] = {
    "TCP send grows": (
        Candidate((_tp("tcp_sendmsg_locked"), _tp("sock_send_length"))),  # 6.16
        Candidate((_kp("release_sock"),)),
        Candidate(
            (_tp("sock_send_length"),), unseen="a sender blocked inside one call, until the next sweep"
        ),  # 6.3
    ),
    "TCP send shrinks": (
        Candidate((_kp("tcp_ack"),)),
        Candidate(
            (_tp("tcp_probe"),), unseen="acknowledgements once either side has closed, until the next look"
        ),  # 4.16
    ),
    "TCP receive grows": (
        Candidate((_tp("sk_data_ready"),)),  # 6.3
        Candidate(
            (_kp("sock_def_readable"),), unseen="sockets with a data_ready of their own (kTLS, sockmap)"
        ),
    ),
    "TCP receive shrinks": (
        Candidate((_tp("tcp_rcv_space_adjust"),)),  # 4.18
        Candidate((_kp("tcp_rcv_space_adjust"),)),
    ),
    "UDP receive grows": (
        Candidate((_tp("sk_data_ready"),)),  # 6.3
        Candidate((_kp("sock_def_readable"),)),
    ),
    "UDP receive shrinks": (
        Candidate((_tp("sock_recv_length"),)),  # 6.3
        Candidate((_kp("skb_consume_udp"),)),  # 4.10
        Candidate((_kp("sock_rfree"),)),  # UDP passes it only before 4.10
    ),
    "UDP send grows": (
        Candidate((_tp("sock_send_length"),)),  # 6.3
        Candidate(_UDP_SENDMSG + _UDPV6_SENDMSG),
        Candidate(_UDP_SENDMSG, unseen="IPv6, which this kernel has not"),
    ),
    "UDP send shrinks": (
        Candidate((_kp("sock_wfree"),)),
        Candidate(_SKB_LEAVES, symbol="sock_wfree", on_demand=True),
    ),
    "TCP socket ends": (
        Candidate((_tp("inet_sock_set_state"),)),  # 4.16
        Candidate((_kp("tcp_set_state"),)),
    ),
    "UDP socket ends": (
        Candidate((_kp("sk_common_release"),)),
        Candidate((), unseen="the close of a UDP socket, until the next look"),
    ),
    "socket memory freed": (
        Candidate((_kp("inet_sock_destruct"),)),
        Candidate(
            (_tp("tcp_destroy_sock"),), unseen="UDP sockets; a new one in the place is told by its inode"
        ),  # 4.16
    ),
}
