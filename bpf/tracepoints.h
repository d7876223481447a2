/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Seeing by raw tracepoints: which socket was hit, which queue to judge. sockbpf/kernel/build/hooks.py says
 * which of these are used on which kernel and what each leaves unseen.
 */
#ifndef SOCKBPF_TRACEPOINTS_H
#define SOCKBPF_TRACEPOINTS_H

#include "hook.h"

#define TRACEPOINT(name) HOOK(name)(struct bpf_raw_tracepoint_args * ctx)
#define SK(argument) ((const struct sock *)ctx->args[argument])
#define SKB(argument) ((const struct sk_buff *)ctx->args[argument])

/* sock:sk_data_ready(sk): something was queued for the reader. */
TRACEPOINT(tp_sk_data_ready)
{
	return judge_received(ctx, SK(0));
}

/* tcp:tcp_rcv_space_adjust(sk): the reader has copied something out; the socket is locked. */
TRACEPOINT(tp_tcp_rcv_space_adjust)
{
	return judge_tcp(ctx, SK(0), RECV, false);
}

/* sock:sock_recv_length(sk, ret, flags): a receiving call returns. */
TRACEPOINT(tp_sock_recv_length)
{
	struct queue q = {.sk = SK(0), .protocol = PROTOCOL_UDP, .direction = RECV, .caller_owns = true};

	/* What is quiet need not be asked for its kind: this field every socket has. */
	if (is_quiet(&q) || sock_kind(q.sk) != KIND_UDP)
		return 0;
	judge(ctx, &q);
	return 0;
}

/*
 * tcp:tcp_sendmsg_locked(sk, msg, skb, size_goal): ahead of each chunk, so also before the sender blocks.
 * What was acknowledged since the chunk before is off the queue, and nothing was added: its size is the least
 * it held.
 */
TRACEPOINT(tp_tcp_sendmsg_locked)
{
	return mark_if_own(SK(0)) ? 0 : judge_tcp(ctx, SK(0), SEND, true);
}

/* sock:sock_send_length(sk, ret, flags): a sending call returns. */
TRACEPOINT(tp_sock_send_length)
{
	return judge_sent(ctx, SK(0));
}

/* tcp:tcp_probe(sk, skb): a segment arrives at an established socket. */
TRACEPOINT(tp_tcp_probe)
{
	return judge_ack(ctx, SK(0), SKB(1));
}

/*
 * A sender is about to be relieved of a packet. Other destructors than sock_wfree charge other things.
 *
 * Each tracepoint has a program of its own: the kernel skips a program that interrupts itself on its CPU
 * (kernel/trace/bpf_trace.c: __bpf_trace_run), and a device is handed packets by an interrupt that may come
 * while one of any process is freed.
 */
static __always_inline int judge_leaving(void *ctx, const struct sk_buff *skb)
{
	if (HOT_FIELD(u64, AS(sk_buff, skb), OFF_skb_destructor) != SYM_sock_wfree)
		return 0;
	return judge_freed(ctx, skb, SEND);
}

/* net:net_dev_start_xmit(skb, dev): ahead of a driver that lets the sender go. */
TRACEPOINT(tp_net_dev_start_xmit)
{
	return judge_leaving(ctx, SKB(0));
}

/*
 * net:netif_receive_skb(skb): it has come through a veth with its sender, which ip_rcv lets go, a softirq
 * later than the driver has had it (net/ipv4/ip_input.c: ip_rcv_core): all that the driver has meanwhile is
 * counted. Of one that a bridge hands on instead this is early: its last device lets the sender go.
 */
TRACEPOINT(tp_netif_receive_skb)
{
	return judge_leaving(ctx, SKB(0));
}

/* skb:consume_skb(skb, …): a driver frees it after transmission. */
TRACEPOINT(tp_consume_skb)
{
	return judge_leaving(ctx, SKB(0));
}

/* skb:kfree_skb(skb, …): it is dropped on its way. */
TRACEPOINT(tp_kfree_skb)
{
	return judge_leaving(ctx, SKB(0));
}

/* sock:inet_sock_set_state(sk, old, new) */
TRACEPOINT(tp_inet_sock_set_state)
{
	if (ctx->args[2] == STATE_CLOSE && sock_kind(SK(0)) == KIND_TCP)
		end_both(ctx, SK(0));
	return 0;
}

/* tcp:tcp_destroy_sock(sk): the last of a TCP socket; its memory may be another's next. */
TRACEPOINT(tp_tcp_destroy_sock)
{
	end_both(ctx, SK(0));
	return 0;
}

#endif
