/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * A look at one queue whose episode is open, run by user space as soon as hooks on demand are attached: what
 * drained before they were and has not grown since ends here. From then on they see it.
 */
#ifndef SOCKBPF_DRAINED_H
#define SOCKBPF_DRAINED_H

#include "hook.h"

/* A queue that a hook has just judged is left to the hooks: they may be at it at this moment. */
#define SETTLED_NS 2000000ULL

/*
 * The size, read without the socket's lock: its beginning before its end, so that an addition in between
 * makes it larger, never smaller.
 */
static __always_inline u32 unlocked_size(const struct queue *q)
{
	u32 from;
	s32 size;

	if (q->protocol != PROTOCOL_TCP)
		return size_of(q);
	from = tcp_drained_to(q->sk, q->direction);
	size = tcp_filled_to(q->sk, q->direction) - from;
	return size > 0 ? size : 0;
}

/* End the episode that began at `since_ns` if the queue is back; true if it was. */
static __always_inline bool ends_here(void *ctx, const struct queue *q, u64 since_ns,
				      struct settings *settings)
{
	struct episode_key key = key_of(q);
	struct queue_event *open = episode_lookup(&key);
	struct queue_event event;
	u32 size;

	if (!open)
		return false;
	event = *open;
	if (event.since_ns != since_ns || bpf_ktime_get_ns() - event.ns < SETTLED_NS ||
	    !is_same_socket(q, &event))
		return false;
	if (HAS_RULES && event.what != UNSURE && settings->unsure)
		keep_levels(q, &event, settings);
	size = unlocked_size(q);
	if (!is_back(q, size, settings))
		return false;
	read_facts(q, &event);
	end(ctx, &key, &event, size);
	return true;
}

static __always_inline int end_if_drained(void *ctx, const struct queue *q, u64 since_ns)
{
	struct settings settings;
	u32 size;

	if (!get_settings(&settings))
		return 0;
	use_rules(q->sk, kind_of(q->protocol, q->direction), &settings);
	if (!ends_here(ctx, q, since_ns, &settings))
		return 0;
	size = size_of(q); /* another CPU may have filled it, and seen an open episode */
	if (is_over(q, size, &settings))
		begin(ctx, q, size, &settings);
	return 0;
}

static __always_inline int end_if_drained_of(void *ctx, const struct sock *sk, u8 protocol, u8 direction,
					     u64 since_ns)
{
	struct queue q = {.sk = sk, .protocol = protocol, .direction = direction};

	return end_if_drained(ctx, &q, since_ns);
}

/* The socket, its protocol, the direction, and the beginning of the episode: it may be another one by now. */
HOOK(look_at_queue)(struct bpf_raw_tracepoint_args *ctx)
{
	const struct sock *sk = (const struct sock *)ctx->args[0];
	u64 protocol = ctx->args[1], direction = ctx->args[2], since_ns = ctx->args[3];

	if (protocol == PROTOCOL_UDP)
		return direction == SEND ? end_if_drained_of(ctx, sk, PROTOCOL_UDP, SEND, since_ns)
					 : end_if_drained_of(ctx, sk, PROTOCOL_UDP, RECV, since_ns);
	return direction == SEND ? end_if_drained_of(ctx, sk, PROTOCOL_TCP, SEND, since_ns)
				 : end_if_drained_of(ctx, sk, PROTOCOL_TCP, RECV, since_ns);
}

#endif
