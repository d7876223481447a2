/*
 * The state machine of one queue, below or over, and what of it user space hears: that an episode began and
 * that it ended. In between the table keeps size and peak, user space looks when it wants to know.
 */
#ifndef SOCKBPF_EPISODE_H
#define SOCKBPF_EPISODE_H

#include "sock.h"

#define ALREADY_THERE 17 /* EEXIST */

/* A queue of one socket, as a hook names it. */
struct queue {
	const void *sk;
	u8 protocol;
	u8 direction;
	bool caller_owns; /* the hook runs in the context of the system call on this socket */
	u32 leaving;	  /* bytes that the hook knows to leave in a moment and that are still counted */
};

static __always_inline u32 size_of(const struct queue *q)
{
	u32 size = queue_size(q->sk, q->protocol, q->direction);

	return size > q->leaving ? size - q->leaving : 0;
}

static __always_inline struct episode_key key_of(const struct queue *q)
{
	struct episode_key key = {.address = (u64)q->sk, .direction = q->direction};

	return key;
}

/*
 * Is no episode open on the whole host? What the kernel side opened and closed it counts itself, what user
 * space deleted user space counts: each number has one writer, so none is lost.
 */
static __always_inline bool none_open(const struct settings *settings, const struct tally *tally)
{
	return tally->opened == tally->closed + settings->reaped;
}

static __always_inline void submit(void *ctx, struct queue_event *event, struct tally *tally)
{
	if (put_event(ctx, event))
		__sync_fetch_and_add(&tally->lost, 1);
}

static __always_inline void begin(void *ctx, const struct queue *q, u32 size, const struct settings *settings,
				  struct tally *tally)
{
	struct episode_key key = key_of(q);
	struct queue_event event = {};
	long refused;

	if (!sock_has_queues(q->sk, q->protocol) || !sock_identity(q->sk, &event))
		return;
	if (is_own(q->sk, event.inode)) {
		__sync_fetch_and_add(&tally->own, 1);
		return;
	}
	event.what = OVER;
	event.direction = q->direction;
	event.protocol = q->protocol;
	event.address = key.address;
	event.ns = event.since_ns = bpf_ktime_get_ns();
	event.size = event.since_size = event.peak = size;
	event.threshold = settings->threshold[q->direction];
	if (q->caller_owns) {
		event.pid = bpf_get_current_pid_tgid() >> 32;
		bpf_get_current_comm(event.comm, sizeof(event.comm));
	}
	refused = episode_insert(&key, &event);
	if (refused == -ALREADY_THERE) /* another CPU was first */
		return;
	if (refused) {
		__sync_fetch_and_add(&tally->full, 1);
		return;
	}
	__sync_fetch_and_add(&tally->opened, 1);
	submit(ctx, &event, tally);
}

static __always_inline void end(void *ctx, struct episode_key *key, const struct queue_event *open, u32 size,
				struct tally *tally)
{
	struct queue_event event = *open; /* 4.4 cannot submit a map value */

	if (episode_delete(key)) /* another CPU was first */
		return;
	__sync_fetch_and_add(&tally->closed, 1);
	event.what = BACK;
	event.ns = bpf_ktime_get_ns();
	event.size = size;
	submit(ctx, &event, tally);
}

/*
 * A UDP socket can be freed unseen where only tracepoints are to be had; its memory may then be another's.
 * The end of a TCP socket is always seen, and an orphan rightly has no inode.
 */
static __always_inline bool is_same_socket(const struct queue *q, const struct queue_event *open)
{
	return q->protocol == PROTOCOL_TCP || sock_inode(q->sk) == open->inode;
}

/* Would judging this queue change nothing? For hooks that must read more before they can judge it. */
static __always_inline bool is_quiet(const struct queue *q)
{
	struct settings *settings = get_settings();
	struct tally *tally = get_tally();

	if (!settings || !tally)
		return true;
	return size_of(q) <= settings->threshold[q->direction] && none_open(settings, tally);
}

/* Judge a queue that a hook saw change: nothing, a new episode, a new size or peak, an end. */
static __always_inline void judge(void *ctx, const struct queue *q)
{
	struct settings *settings = get_settings();
	struct tally *tally = get_tally();
	struct episode_key key = key_of(q);
	struct queue_event *open;
	u32 size;

	if (!settings || !tally)
		return;
	if (q->caller_owns && bpf_get_current_pid_tgid() >> 32 == settings->own_pid) {
		mark_own(q->sk, sock_inode(q->sk));
		return;
	}
	size = size_of(q);
	if (size <= settings->threshold[q->direction] && none_open(settings, tally))
		return;

	open = episode_lookup(&key);
	if (open && !is_same_socket(q, open)) {
		end(ctx, &key, open, 0, tally);
		open = 0;
	}
	if (open) {
		open->ns = bpf_ktime_get_ns();
		open->size = size;
		if (size > open->peak)
			open->peak = size;
		if (size > settings->clear[q->direction])
			return;
		end(ctx, &key, open, size, tally);
		size = size_of(q); /* another CPU may have filled it, and seen an open episode */
	}
	if (size <= settings->threshold[q->direction])
		return;
	begin(ctx, q, size, settings, tally);
	size = size_of(q); /* another CPU may have emptied it, and seen no episode to end */
	if (size > settings->clear[q->direction])
		return;
	open = episode_lookup(&key);
	if (open)
		end(ctx, &key, open, size, tally);
}

/* The socket has no queues any more: end what is open. */
static __always_inline void gone(void *ctx, const void *sk)
{
	struct settings *settings = get_settings();
	struct tally *tally = get_tally();
	struct episode_key key = {.address = (u64)sk, .direction = SEND};
	struct queue_event *open;

	if (!settings || !tally || none_open(settings, tally))
		return;
	open = episode_lookup(&key);
	if (open)
		end(ctx, &key, open, 0, tally);
	key.direction = RECV;
	open = episode_lookup(&key);
	if (open)
		end(ctx, &key, open, 0, tally);
}

#endif
