/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
#pragma once

#include <net/inet_sock.h>

struct tcp_sock {
	struct inet_sock inet;
	u64 bytes_received;
	u32 rcv_nxt, copied_seq, rcv_wup, snd_nxt;
	u64 bytes_acked;
	u32 snd_una;
	u32 pushed_seq, write_seq;
};

struct tcp_skb_cb {
	__u32 seq, end_seq, tcp_tw_isn;
	__u8 tcp_flags, sacked, ip_dsfield, unused;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(4, 10, 0)
	__u32 options;
#endif
	__u32 ack_seq;
};
