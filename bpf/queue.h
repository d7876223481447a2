/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* One queue of one socket: how much it holds, and whether by the settings that is over, or back. */
#ifndef SOCKBPF_QUEUE_H
#define SOCKBPF_QUEUE_H

#include "maps.h"
#include "sock.h"

/* A queue of one socket, as a hook names it. */
struct queue {
	const struct sock *sk;
	u8 protocol;
	u8 direction;
	bool caller_owns; /* the hook runs in the context of the system call on this socket */
	bool just_grown;  /* the hook runs behind an addition, of TCP the only one since it ran before */
	u32 leaving;	  /* bytes that the hook knows to leave in a moment and that are still counted */
};

static __always_inline u32 size_of(const struct queue *q)
{
	u32 size = queue_size(q->sk, q->protocol, q->direction);

	return size > q->leaving ? size - q->leaving : 0;
}

/* Is more than `percent` of the queue's buffer in use? */
static __always_inline bool is_filled_beyond(const struct queue *q, u32 percent)
{
	u64 limit = sock_buffer(q->sk, q->direction);

	return (u64)sock_charged(q->sk, q->protocol, q->direction) * 100 > limit * percent;
}

/* `size` is the queue's; that an empty one is charged for something means that the kernel frees it later. */
static __always_inline bool is_over(const struct queue *q, u32 size, const struct settings *settings)
{
	u32 fill = settings->fill[q->direction];

	return size > settings->threshold[q->direction] && (!fill || is_filled_beyond(q, fill));
}

static __always_inline bool is_back(const struct queue *q, u32 size, const struct settings *settings)
{
	if (size <= settings->clear[q->direction])
		return true;
	return settings->fill[q->direction] && !is_filled_beyond(q, settings->clear_fill[q->direction]);
}

static __always_inline u32 filled_to(const struct queue *q)
{
	return q->protocol == PROTOCOL_TCP ? tcp_filled_to(q->sk, q->direction) : 0;
}

/*
 * The least that the queue has held since it was judged before. Hooks that see a queue shrink are attached on
 * demand, so it may have drained unseen; behind the one addition since, TCP's sequence numbers prove it. A
 * UDP queue held the datagram that came last less. What another CPU adds or takes off at the same moment is
 * not told apart from that one: so this is asked only until the hooks are there.
 */
static __always_inline u32 least_of(const struct queue *q, u32 filled_to_before, u32 size,
				    const struct settings *settings)
{
	s32 least = size;

	if (!q->just_grown)
		return size;
	if (q->protocol == PROTOCOL_TCP)
		least = filled_to_before - tcp_drained_to(q->sk, q->direction);
#ifdef OFF_sk_receive_queue
	else if (!settings->sees_udp_drain)
		least -= udp_last_charged(q->sk);
#endif
	return least > 0 ? least : 0;
}

/* What is told of a queue besides its size. */
static __always_inline void read_facts(const struct queue *q, struct queue_event *event)
{
	event->limit = sock_buffer(q->sk, q->direction);
	event->charged = sock_charged(q->sk, q->protocol, q->direction);
	if (q->protocol == PROTOCOL_TCP)
		event->state = READ_FIELD(u8, q->sk, OFF_skc_state);
	else
		event->drops = sock_drops(q->sk);
}

#endif
