/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the hooks are made of: from "which socket was hit" to a queue to judge. */
#ifndef SOCKBPF_HOOK_H
#define SOCKBPF_HOOK_H

#include "episode.h"

/*
 * A program is compiled where the loader defines WANT_<its name> as 1, and is nothing otherwise: the trick of
 * the kernel's IS_ENABLED (include/linux/kconfig.h). BCC finds programs by this section; in an included file
 * it does not put them there itself.
 */
#define HOOK(name) HOOK_IF(WANT_##name, name)
#define HOOK_IF(want, name) HOOK_IF_(want, name)
#define HOOK_IF_(want, name) HOOK_IF__(COMMA_IF_##want, name)
#define HOOK_IF__(comma, name) SECOND(comma PROGRAM(name), UNUSED(name))
#define COMMA_IF_1 0,
#define SECOND(first, second, ...) second
#define PROGRAM(name) __attribute__((section(".bpf.fn." #name))) int name
#define UNUSED(name) static __attribute__((unused)) int name

static __always_inline int judge_tcp(void *ctx, const struct sock *sk, u8 direction, bool caller_owns)
{
	struct queue q = {
		.sk = sk, .protocol = PROTOCOL_TCP, .direction = direction, .caller_owns = caller_owns};

	judge(ctx, &q);
	return 0;
}

static __always_inline int judge_udp(void *ctx, const struct sock *sk, u8 direction, bool caller_owns)
{
	struct queue q = {
		.sk = sk, .protocol = PROTOCOL_UDP, .direction = direction, .caller_owns = caller_owns};

	judge(ctx, &q);
	return 0;
}

/* A queue to which something was added, by a hook that misses no addition to it. */
static __always_inline int judge_grown(void *ctx, const struct sock *sk, u8 protocol, u8 direction,
				       bool caller_owns)
{
	struct queue q = {.sk = sk,
			  .protocol = protocol,
			  .direction = direction,
			  .caller_owns = caller_owns,
			  .just_grown = true};

	judge(ctx, &q);
	return 0;
}

static __always_inline int judge_received(void *ctx, const struct sock *sk)
{
	u32 kind = sock_kind(sk);

	if (kind == KIND_TCP)
		return judge_grown(ctx, sk, PROTOCOL_TCP, RECV, false);
	if (kind == KIND_UDP)
		return judge_grown(ctx, sk, PROTOCOL_UDP, RECV, false);
	return 0;
}

static __always_inline int judge_sent(void *ctx, const struct sock *sk)
{
	u32 kind = sock_kind(sk);

	if ((kind != KIND_TCP && kind != KIND_UDP) || mark_if_own(sk))
		return 0;
	return kind == KIND_TCP ? judge_tcp(ctx, sk, SEND, true) : judge_udp(ctx, sk, SEND, true);
}

/*
 * A segment is about to be taken in. What sees an ACK sees it before snd_una moves, and nothing follows the
 * last one, so what it acknowledges is subtracted here.
 */
static __always_inline int judge_ack(void *ctx, const struct sock *sk, const struct sk_buff *skb)
{
	struct queue q = {.sk = sk, .protocol = PROTOCOL_TCP, .direction = SEND};

	if (is_quiet(&q))
		return 0;
	q.leaving = tcp_acked(sk, skb);
	judge(ctx, &q);
	return 0;
}

/* An skb that a UDP socket is charged for is about to be freed: it is still counted. */
static __always_inline int judge_freed(void *ctx, const struct sk_buff *skb, u8 direction)
{
	struct queue q = {.protocol = PROTOCOL_UDP, .direction = direction};
	const void *buffer = AS(sk_buff, skb);

	q.sk = (const struct sock *)HOT_FIELD(u64, buffer, OFF_skb_sk);
	if (!q.sk || sock_kind(q.sk) != KIND_UDP)
		return 0;
	q.leaving = HOT_FIELD(u32, buffer, OFF_skb_truesize);
	judge(ctx, &q);
	return 0;
}

#endif
