# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The offsets, on this kernel, of the fields that the C reads, as -D definitions for the compiler.

The names are those of bpf/layout.h, which takes the same offsets from kernel headers where there is no BTF.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockbpf.errors import UnsupportedError

if TYPE_CHECKING:
    from sockbpf.kernel.build.btf import Btf

FIELDS = {
    "skc_daddr": "sock_common.skc_daddr",
    "skc_rcv_saddr": "sock_common.skc_rcv_saddr",
    "skc_dport": "sock_common.skc_dport",
    "skc_num": "sock_common.skc_num",
    "skc_family": "sock_common.skc_family",
    "skc_state": "sock_common.skc_state",
    "sk_rmem_alloc": "sock.sk_backlog.rmem_alloc",
    "sk_wmem_alloc": "sock.sk_wmem_alloc",
    "sk_rcvbuf": "sock.sk_rcvbuf",
    "sk_sndbuf": "sock.sk_sndbuf",
    "sk_wmem_queued": "sock.sk_wmem_queued",
    "sk_drops": "sock.sk_drops",
    "sk_receive_queue": "sock.sk_receive_queue",
    "sk_protocol": "sock.sk_protocol",
    "sk_type": "sock.sk_type",
    "sk_socket": "sock.sk_socket",
    "sk_uid": "sock.sk_uid",
    "socket_inode": "socket_alloc.vfs_inode.i_ino",
    "tcp_copied_seq": "tcp_sock.copied_seq",
    "tcp_rcv_nxt": "tcp_sock.rcv_nxt",
    "tcp_write_seq": "tcp_sock.write_seq",
    "tcp_snd_una": "tcp_sock.snd_una",
    "tcp_snd_nxt": "tcp_sock.snd_nxt",
    "skb_sk": "sk_buff.sk",
    "skb_destructor": "sk_buff.destructor",
    "skb_truesize": "sk_buff.truesize",
}
"""Fields that every supported kernel has; `struct sock` begins with its `struct sock_common`."""

OPTIONAL = {
    "skc_net": "sock_common.skc_net",  # CONFIG_NET_NS
    "net_ns_inum": "net.ns.inum",
    "skc_v6_daddr": "sock_common.skc_v6_daddr",  # CONFIG_IPV6
    "skc_v6_rcv_saddr": "sock_common.skc_v6_rcv_saddr",
    "sk_ino": "sock.sk_ino",  # 6.18: the inode number in the sock itself
    "tcp_is_mptcp": "tcp_sock.is_mptcp",  # 5.6, CONFIG_MPTCP
    "udp_forward_deficit": "udp_sock.forward_deficit",  # 4.10
    "udp_reader_queue": "udp_sock.reader_queue",  # 4.12 (2276f58ac589)
    "sk_drop_counters": "sock.sk_drop_counters",  # 6.18
    "drops0": "numa_drop_counters.drops0",
    "drops1": "numa_drop_counters.drops1",
}

AT_CROSSING = {
    "tcp_snd_wnd": "tcp_sock.snd_wnd",
    "tcp_packets_out": "tcp_sock.packets_out",
    "tcp_sacked_out": "tcp_sock.sacked_out",
    "tcp_lost_out": "tcp_sock.lost_out",
    "tcp_retrans_out": "tcp_sock.retrans_out",
    "tcp_total_retrans": "tcp_sock.total_retrans",
    "tcp_snd_cwnd": "tcp_sock.snd_cwnd",
    "tcp_mss_cache": "tcp_sock.mss_cache",
    "tcp_srtt_us": "tcp_sock.srtt_us",
    "icsk_retransmits": "inet_connection_sock.icsk_retransmits",
    "icsk_backoff": "inet_connection_sock.icsk_backoff",
    "icsk_pending": "inet_connection_sock.icsk_pending",
}
"""What bpf/crossing.h reads: where one of them is not there, none is."""

LOOKED_AT = {
    "skc_cookie": "sock_common.skc_cookie",
    "sk_cgroup": "sock.sk_cgrp_data.cgroup",  # 5.15, CONFIG_SOCK_CGROUP_DATA
    "sk_cgroup_word": "sock.sk_cgrp_data.val",  # before
    "cgroup_kn": "cgroup.kn",
    "kernfs_id": "kernfs_node.id",
    "skb_data": "sk_buff.data",
}
"""What only bpf/look.c reads, which needs BTF, so that layout.h has none of it; those with a number are optional."""


def definitions(btf: Btf) -> list[str]:
    """Return the compiler's arguments, `-DOFF_<field>=<bytes>`.

    Raise UnsupportedError when the kernel has no such field.
    """
    found = {name: btf.field(path) for name, path in (FIELDS | OPTIONAL | AT_CROSSING | LOOKED_AT).items()}
    missing = [FIELDS[name] for name in FIELDS if found[name] is None]
    callback, ack = btf.field("sk_buff.cb"), btf.field("tcp_skb_cb.ack_seq")
    protocol = found["sk_protocol"]
    if missing or callback is None or ack is None or protocol is None:
        raise UnsupportedError(f"this kernel's BTF has no {', '.join(missing) or 'tcp_skb_cb.ack_seq'}")
    offsets = {name: field.offset for name, field in found.items() if field}
    offsets["skb_ack_seq"] = callback.offset + ack.offset
    return [
        f"-DSIZE_sk_protocol={protocol.size}",
        *(["-DWITH_CROSSING"] if all(found[name] for name in AT_CROSSING) else []),
        *(f"-DOFF_{name}={offset}" for name, offset in offsets.items()),
    ]
