/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Seeing by kprobes, on kernels from 4.4 on: which socket was hit, which queue to judge. Only leading
 * arguments that kept their place from 4.4 to 7.x are used.
 */
#ifndef SOCKBPF_KPROBES_H
#define SOCKBPF_KPROBES_H

#include <uapi/linux/ptrace.h>

#include "hook.h"

#define KPROBE(name) HOOK(name)(struct pt_regs * ctx)
#define SK_PARM1 ((const struct sock *)PT_REGS_PARM1(ctx))
#define SKB_PARM1 ((const struct sk_buff *)PT_REGS_PARM1(ctx))
#define SKB_PARM2 ((const struct sk_buff *)PT_REGS_PARM2(ctx))

/*
 * release_sock(sk): ends every socket call, and is passed before a sender falls asleep for want of memory,
 * which a return probe of tcp_sendmsg would see only when it wakes.
 */
KPROBE(kp_release_sock)
{
	if (sock_kind(SK_PARM1) != KIND_TCP || mark_if_own(SK_PARM1))
		return 0;
	judge_grown(ctx, SK_PARM1, PROTOCOL_TCP, SEND, true);
	return judge_tcp(ctx, SK_PARM1, RECV, true);
}

/* sock_def_readable(sk): something was queued for the reader. */
KPROBE(kp_sock_def_readable)
{
	return judge_received(ctx, SK_PARM1);
}

/* tcp_ack(sk, skb, …): an acceptable segment, in any state. */
KPROBE(kp_tcp_ack)
{
	return judge_ack(ctx, SK_PARM1, SKB_PARM2);
}

/* tcp_rate_gen(sk, …): at the end of an acknowledgement that took something off, in any state. */
KPROBE(kp_tcp_rate_gen)
{
	return judge_tcp(ctx, SK_PARM1, SEND, false);
}

/* tcp_rcv_space_adjust(sk): something was copied out, also by readers inside the kernel. */
KPROBE(kp_tcp_rcv_space_adjust)
{
	return judge_tcp(ctx, SK_PARM1, RECV, false);
}

/* skb_consume_udp(sk, …), from 4.10: a datagram was read and is no longer counted. */
KPROBE(kp_skb_consume_udp)
{
	return judge_udp(ctx, SK_PARM1, RECV, true);
}

/* sock_rfree(skb), the destructor of what was received, for UDP before 4.10. */
KPROBE(kp_sock_rfree)
{
	return judge_freed(ctx, SKB_PARM1, RECV);
}

/*
 * udp_sendmsg(sk, …) and udpv6_sendmsg(sk, …). The kernel has few places to remember a return in, and a
 * sender that waits for room holds one: returns that were missed are counted.
 */
static __always_inline int sending_begins(u64 family, const struct sock *sk)
{
	if (mark_if_own(sk)) /* before an answer can come */
		return 0;
	if (!remember_sending(family, (u64)sk))
		COUNT(unreturned);
	return 0;
}

static __always_inline int sending_returns(void *ctx, u64 family)
{
	const struct sock *sk = (const struct sock *)forget_sending(family);

	return sk ? judge_udp(ctx, sk, SEND, true) : 0;
}

KPROBE(kp_udp_sendmsg)
{
	return sending_begins(FAMILY_INET, SK_PARM1);
}

KPROBE(kp_udp_sendmsg_returns)
{
	return sending_returns(ctx, FAMILY_INET);
}

KPROBE(kp_udpv6_sendmsg)
{
	return sending_begins(FAMILY_INET6, SK_PARM1);
}

KPROBE(kp_udpv6_sendmsg_returns)
{
	return sending_returns(ctx, FAMILY_INET6);
}

/* sock_wfree(skb), the destructor of what was sent. */
KPROBE(kp_sock_wfree)
{
	return judge_freed(ctx, SKB_PARM1, SEND);
}

/* tcp_set_state(sk, state) */
KPROBE(kp_tcp_set_state)
{
	if ((int)PT_REGS_PARM2(ctx) == STATE_CLOSE)
		end_both(ctx, SK_PARM1);
	return 0;
}

/* sk_common_release(sk): a UDP socket is closed. */
KPROBE(kp_sk_common_release)
{
	end_both(ctx, SK_PARM1);
	return 0;
}

/* inet_sock_destruct(sk): the last of a TCP or UDP socket; its memory may be another's next. */
KPROBE(kp_inet_sock_destruct)
{
	end_both(ctx, SK_PARM1);
	return 0;
}

#endif
