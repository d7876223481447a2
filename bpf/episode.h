/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The state machine of one queue, below or over, and what of it user space hears: that an episode began and
 * that it ended. In between the table keeps size and peak, user space looks when it wants to know.
 *
 * What was looked up in a map is used up before the next call of a helper: kept longer it may be spilled
 * before it was tested, and before 4.10 the verifier knows the register that was tested but no copy of it
 * (57a09bf0a416, "bpf: Detect identical PTR_TO_MAP_VALUE_OR_NULL registers").
 */
#ifndef SOCKBPF_EPISODE_H
#define SOCKBPF_EPISODE_H

#include "admit.h"
#include "crossing.h"
#include "maps.h"
#include "place.h"
#include "queue.h"
#include "rules.h"

#define ALREADY_THERE 17 /* EEXIST */

/* How often user space looks at the table of open episodes. */
#define LOOKED_AT_NS 1000000000ULL

/*
 * One more of this. What follows the addition differs from field to field: else the compiler makes one of
 * several additions, to an address that it computes, and before 4.9 a value of a map can be reached at fixed
 * places only (484611357c19, "bpf: allow access into map value arrays").
 */
#define COUNT(field)                                                               \
	do {                                                                       \
		struct tally *counts = get_tally();                                \
                                                                                   \
		if (counts)                                                        \
			__sync_fetch_and_add(&counts->field, 1);                   \
		asm volatile("" : : "i"(__builtin_offsetof(struct tally, field))); \
	} while (0)

static __always_inline struct episode_key key_of(const struct queue *q)
{
	struct episode_key key = {.address = (u64)q->sk, .direction = q->direction};

	return key;
}

/*
 * Is no episode open on the whole host? What the kernel side opened and closed it counts itself, what user
 * space deleted user space counts: each number has one writer, so none is lost.
 */
static __always_inline bool none_open(u32 reaped)
{
	struct tally *tally = get_tally();

	return !tally || tally->opened == tally->closed + reaped;
}

static __always_inline void submit(void *ctx, struct queue_event *event)
{
	if (put_event(ctx, event))
		COUNT(lost);
}

/* The beginning of an episode, with what of it is gone a moment later. */
static __always_inline void submit_beginning(void *ctx, const struct queue *q, struct crossing_event *begun)
{
#ifdef WITH_CROSSING
	if (q->protocol == PROTOCOL_TCP && q->direction == SEND) {
		read_crossing(q->sk, &begun->crossing);
		if (put_crossing(ctx, begun))
			COUNT(lost);
		return;
	}
#endif
	submit(ctx, &begun->event);
}

/* Its threshold in bytes, and the rule that it is of. */
static __always_inline void say_threshold(const struct queue *q, struct queue_event *event,
					  const struct settings *settings)
{
	u32 fill = settings->fill[q->direction];

	event->rules = HAS_RULES ? settings->rules : 0;
	event->rule = HAS_RULES ? settings->rule : 0;
	event->of_buffer = fill != 0;
	event->threshold = fill ? (u64)event->limit * fill / 100 : settings->threshold[q->direction];
}

static __always_inline void begin(void *ctx, const struct queue *q, u32 size, const struct settings *settings)
{
	struct episode_key key = key_of(q);
	struct crossing_event begun = {};
	struct queue_event *event = &begun.event;
	bool is_admitted;
	long refused;

	if (!sock_has_queues(q->sk, q->protocol) || !sock_identity(q->sk, event))
		return;
	if (is_own(event->inode)) {
		COUNT(own);
		return;
	}
	if (is_mptcp_path(q->sk, q->protocol)) {
		COUNT(mptcp);
		return;
	}
	event->direction = q->direction;
	event->protocol = q->protocol;
	event->address = key.address;
	event->ns = event->since_ns = bpf_ktime_get_ns();
	event->size = event->since_size = event->peak = size;
	read_facts(q, event);
	event->drops_before = event->drops;
	say_threshold(q, event, settings);
	event->filled_to = filled_to(q);
	if (q->caller_owns) {
		event->pid = bpf_get_current_pid_tgid() >> 32;
		bpf_get_current_comm(event->comm, sizeof(event->comm));
	}
	is_admitted = admit_event(event);
	event->what = HAS_RULES && settings->unsure ? UNSURE : is_admitted ? OVER : UNTOLD;
	COUNT_HELD(&key, 1);
	refused = episode_insert(&key, event);
	if (refused) {
		COUNT_HELD(&key, -1);
		if (refused != -ALREADY_THERE) /* another CPU was first */
			COUNT(full);
		return;
	}
	COUNT(opened);
	if (is_admitted)
		submit_beginning(ctx, q, &begun);
}

/* `event` is what the table held; 4.4 cannot submit a map value itself. */
static __always_inline void end(void *ctx, struct episode_key *key, struct queue_event *event, u32 size)
{
	if (episode_delete(key)) /* another CPU was first */
		return;
	COUNT_HELD(key, -1);
	COUNT(closed);
	event->ns = bpf_ktime_get_ns();
	event->size = size;
	if (event->what == UNTOLD && event->ns - event->since_ns < LOOKED_AT_NS) {
		COUNT(untold);
		return;
	}
	event->what = HAS_RULES && event->what == UNSURE ? UNSURE_BACK : BACK;
	submit(ctx, event);
}

/*
 * A UDP socket can be freed unseen where only tracepoints are to be had; its memory may then be another's.
 * The end of a TCP socket is always seen, and an orphan rightly has no inode.
 */
static __always_inline bool is_same_socket(const struct queue *q, const struct queue_event *open)
{
	return q->protocol == PROTOCOL_TCP || sock_inode(q->sk) == open->inode;
}

/*
 * Whose the socket is has been found out since the episode began: it goes on if the queue is over its own
 * threshold, or else ends. True if an episode is open afterwards.
 */
static __always_inline bool become_sure(void *ctx, const struct queue *q, struct episode_key *key,
					struct queue_event *event, u32 least, u32 *size,
					const struct settings *settings)
{
	struct queue_event *open;

	read_facts(q, event);
	if (is_back(q, least, settings) || !is_over(q, *size, settings)) {
		end(ctx, key, event, least);
		*size = size_of(q); /* another CPU may have filled it, and seen an open episode */
		return false;
	}
	event->what = OVER;
	say_threshold(q, event, settings);
	event->ns = bpf_ktime_get_ns();
	event->size = *size;
	event->filled_to = filled_to(q);
	if (*size > event->peak)
		event->peak = *size;
	open = episode_lookup(key);
	if (open)
		*open = *event;
	submit(ctx, event);
	return true;
}

/* Whose the socket is has to be found out: until then its episode goes by the threshold it crossed. */
static __always_inline void keep_levels(const struct queue *q, const struct queue_event *event,
					struct settings *settings)
{
	settings->threshold[q->direction] = event->of_buffer ? 0 : event->threshold;
	settings->clear[q->direction] = event->of_buffer ? 0 : event->threshold;
}

/*
 * Keep the size in the queue's open episode, or end the episode if it is over and read the size again; true
 * if an episode is open afterwards.
 */
static __always_inline bool follow(void *ctx, const struct queue *q, struct episode_key *key, u32 *size,
				   struct settings *settings)
{
	struct queue_event *open = episode_lookup(key);
	struct queue_event event;
	u32 least;
	u64 now;

	if (!open)
		return false;
	event = *open;
	if (!is_same_socket(q, &event)) {
		end(ctx, key, &event, 0);
		return false;
	}
	least = least_of(q, event.filled_to, *size, settings);
	if (MATCHES_RULES && event.what == UNSURE && !settings->unsure)
		return become_sure(ctx, q, key, &event, least, size, settings);
	if (HAS_RULES && (event.what == UNSURE || settings->unsure))
		keep_levels(q, &event, settings);
	if (is_back(q, least, settings)) {
		read_facts(q, &event);
		end(ctx, key, &event, least);
		*size = size_of(q); /* another CPU may have filled it, and seen an open episode */
		return false;
	}
	read_facts(q, &event);
	event.filled_to = filled_to(q);
	now = bpf_ktime_get_ns();
	open = episode_lookup(key);
	if (open) {
		open->ns = now;
		open->limit = event.limit;
		open->charged = event.charged;
		open->drops = event.drops;
		open->state = event.state;
		open->filled_to = event.filled_to;
		open->size = *size;
		if (*size > open->peak)
			open->peak = *size;
	}
	return true;
}

static __always_inline void end_if_open(void *ctx, struct episode_key *key, u32 size)
{
	struct queue_event *open = episode_lookup(key);
	struct queue_event event;

	if (!open)
		return;
	event = *open;
	end(ctx, key, &event, size);
}

/*
 * Would judging this queue change nothing? Every packet asks, so no more is read than decides: whatever else
 * judging takes comes after it.
 */
static __always_inline bool is_quiet(const struct queue *q)
{
	u32 bound = queue_bound(q->sk, q->protocol, q->direction);
	u32 kind = kind_of(q->protocol, q->direction);
	struct settings *settings = the_settings();
	u32 gate, fill, reaped, rules;

	if (!settings)
		return true;
	gate = settings->gate[kind];
	fill = settings->gate_fill[kind];
	reaped = settings->reaped;
	rules = settings->rules;
	if (bound > gate && !is_below_its_ports(q->sk, kind, rules, bound) &&
	    (!fill || is_filled_beyond(q, fill)))
		return false;
	return none_open(reaped) || none_open_at((u64)q->sk);
}

static __always_inline bool is_looker(const struct settings *settings, u32 thread)
{
	return thread == settings->lookers[0] || thread == settings->lookers[1];
}

/*
 * Mark the socket as the monitor's own if this is a call of the monitor itself; true if it is. Whatever
 * socket a looker is at is another's: the iterator of TCP locks and releases each that it shows, from 5.15
 * on (net/ipv4/tcp_ipv4.c: bpf_iter_tcp_seq_show), and an exact request for tcp_info releases one that was in
 * use (net/ipv4/tcp.c: tcp_get_info).
 */
static __always_inline bool mark_if_own(const struct sock *sk)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct settings *settings = the_settings();

	if (!settings || settings->own_pid != thread >> 32)
		return false;
	if (!is_looker(settings, thread) && mark_own(sock_inode(sk)))
		COUNT(unmarked);
	return true;
}

/* Judge a queue that a hook saw change: nothing, a new episode, a new size or peak, an end. */
static __always_inline void judge(void *ctx, const struct queue *q)
{
	struct episode_key key;
	struct settings settings;
	u32 size;

	if (is_quiet(q) || !get_settings(&settings))
		return;
	key = key_of(q);
	size = size_of(q);
	use_rules(q->sk, kind_of(q->protocol, q->direction), &settings);
	if (follow(ctx, q, &key, &size, &settings) || !is_over(q, size, &settings))
		return;
	begin(ctx, q, size, &settings);
	size = size_of(q); /* another CPU may have emptied it, and seen no episode to end */
	if (is_back(q, size, &settings))
		end_if_open(ctx, &key, size);
}

/* The socket has no queues any more: end the episodes of both. */
static __always_inline void end_both(void *ctx, const struct sock *sk)
{
	struct episode_key key = {.address = (u64)sk, .direction = SEND};
	struct settings settings;

	if (!get_settings(&settings) || none_open(settings.reaped) || none_open_at(key.address))
		return;
	end_if_open(ctx, &key, 0);
	key.direction = RECV;
	end_if_open(ctx, &key, 0);
}

#endif
