/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What of a TCP sender is gone a moment after its queue has exceeded a threshold. That is rare. */
#ifndef SOCKBPF_CROSSING_H
#define SOCKBPF_CROSSING_H

#include "sock.h"

#ifdef WITH_CROSSING /* whether this kernel has all the fields */
#define TCP_FIELD(name) READ_FIELD(u32, sk, OFF_tcp_##name)

/* net/ipv4/tcp.c: tcp_get_info, and net/ipv4/inet_diag.c: inet_sk_diag_fill */
static __always_inline void read_crossing(const struct sock *sk, struct crossing *at)
{
	at->snd_wnd = TCP_FIELD(snd_wnd);
	at->unacked = TCP_FIELD(packets_out);
	at->sacked = TCP_FIELD(sacked_out);
	at->lost = TCP_FIELD(lost_out);
	at->retrans = TCP_FIELD(retrans_out);
	at->total_retrans = TCP_FIELD(total_retrans);
	at->cwnd = TCP_FIELD(snd_cwnd);
	at->mss = TCP_FIELD(mss_cache);
	at->rtt_us8 = TCP_FIELD(srtt_us);
	at->notsent = TCP_FIELD(write_seq) - TCP_FIELD(snd_nxt);
	at->wmem = READ_FIELD(u32, sk, OFF_sk_wmem_alloc);
	at->retransmits = READ_FIELD(u8, sk, OFF_icsk_retransmits);
	at->backoff = READ_FIELD(u8, sk, OFF_icsk_backoff);
	at->pending = READ_FIELD(u8, sk, OFF_icsk_pending);
}
#endif

#endif
