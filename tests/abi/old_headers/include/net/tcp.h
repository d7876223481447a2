/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
#pragma once

#include <net/inet_sock.h>

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	__u8 icsk_ca_state : 6, icsk_ca_setsockopt : 1, icsk_ca_dst_locked : 1;
	__u8 icsk_retransmits, icsk_pending, icsk_backoff;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	u64 bytes_received;
	u32 rcv_nxt, copied_seq, rcv_wup, snd_nxt;
	u64 bytes_acked;
	u32 snd_una;
	u32 snd_wl1, snd_wnd, max_window, mss_cache;
	u32 srtt_us, packets_out, retrans_out, snd_cwnd;
	u32 pushed_seq, write_seq, lost_out, sacked_out, total_retrans;
};

struct tcp_skb_cb {
	__u32 seq, end_seq, tcp_tw_isn;
	__u8 tcp_flags, sacked, ip_dsfield, unused;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(4, 10, 0)
	__u32 options;
#endif
	__u32 ack_seq;
};
