// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * What BCC compiles: the maps and the few functions that touch them. BCC rewrites map accesses in this file
 * only, so all of them are here, as maps.h declares them; what is done with them is in episode.h, the hooks
 * in their own headers.
 */
#include "maps.h"

BPF_ARRAY(settings, struct settings, 1);
BPF_ARRAY(tally, struct tally, 1);
BPF_HASH(episodes, struct episode_key, struct queue_event, MAX_EPISODES);
BPF_ARRAY(held, u64, PLACES);
BPF_ARRAY(reaped, u64, PLACES);
BPF_HASH(own, u64, u64, 16384);			   /* inode of a socket of ours -> 1 */
BPF_HASH(sending, struct sending_call, u64, 4096); /* its socket, for the return probe */
BPF_ARRAY(paid, u64, USERS_TOLD_APART);		   /* see admit_event */
BPF_PERF_OUTPUT(events);
#if defined(WITH_RULES) || defined(WITH_ANSWERS)
BPF_ARRAY(decisions, struct decision, 2 * (MOST_RULES + 1));
#endif
#ifdef WITH_ANSWERS
BPF_HASH(answers, struct answer_key, u32, MOST_ANSWERS);
#endif
#ifdef WITH_RULES
BPF_ARRAY(rows, struct row, 2 * MOST_ROWS);
BPF_ARRAY(port_rows, struct port_rows, 2 * 2 * PORT_PARTS); /* by rules, side, port */
BPF_LPM_TRIE(prefixes, struct prefix_key, u32, 65536);
BPF_HASH(facts, struct fact_key, u32, 16384);
BPF_TABLE("lru_hash", struct fact_key, u32, found_out, 16384);
#endif

#ifdef WITH_DIRECT_VALUES
static inline struct settings *the_settings(void)
{
	return DIRECT_VALUE(settings);
}

static inline struct tally *get_tally(void)
{
	return DIRECT_VALUE(tally);
}
#else
static inline struct settings *the_settings(void)
{
	int first = 0;

	return settings.lookup(&first);
}

static inline struct tally *get_tally(void)
{
	int first = 0;

	return tally.lookup(&first);
}
#endif

static inline bool get_settings(struct settings *copy)
{
	struct settings *found = the_settings();

	if (!found)
		return false;
	*copy = *found;
	return true;
}

static inline struct queue_event *episode_lookup(struct episode_key *key)
{
	return episodes.lookup(key);
}

static inline long episode_insert(struct episode_key *key, struct queue_event *event)
{
	return episodes.insert(key, event);
}

static inline long episode_delete(struct episode_key *key)
{
	return episodes.delete(key);
}

static inline u64 *held_at(u32 *place)
{
	return held.lookup(place);
}

static inline u64 *reaped_at(u32 *place)
{
	return reaped.lookup(place);
}

#if defined(WITH_RULES) || defined(WITH_ANSWERS)
static inline struct decision *decision_at(u32 *index)
{
	return decisions.lookup(index);
}
#endif

#ifdef WITH_ANSWERS
static inline u32 *answer_lookup(struct answer_key *key)
{
	return answers.lookup(key);
}
#endif

#ifdef WITH_RULES
static inline struct row *row_at(u32 *index)
{
	return rows.lookup(index);
}

static inline struct port_rows *port_rows_at(u32 *index)
{
	return port_rows.lookup(index);
}

static inline u32 *prefix_lookup(struct prefix_key *key)
{
	return prefixes.lookup(key);
}

static inline u32 *fact_lookup(struct fact_key *key)
{
	return facts.lookup(key);
}

static inline u32 *found_out_lookup(struct fact_key *key)
{
	return found_out.lookup(key);
}
#endif

static inline long mark_own(u64 inode)
{
	u64 mark = 1;

	return inode ? own.update(&inode, &mark) : 0; /* 0: of a socket that is being closed */
}

static inline bool is_own(u64 inode)
{
	return own.lookup(&inode);
}

static inline u64 *paid_by(u32 *user)
{
	return paid.lookup(user);
}

static inline void pay(u32 *user, u64 *paid_ns)
{
	paid.update(user, paid_ns);
}

static inline long put_event(void *ctx, struct queue_event *event)
{
	return events.perf_submit(ctx, event, sizeof(*event));
}

static inline long put_crossing(void *ctx, struct crossing_event *made)
{
	return events.perf_submit(ctx, made, sizeof(*made));
}

static inline struct sending_call sending_call(u64 family)
{
	struct sending_call call = {.thread = bpf_get_current_pid_tgid(), .family = family};

	return call;
}

static inline bool remember_sending(u64 family, u64 sk)
{
	struct sending_call call = sending_call(family);

	if (!sending.insert(&call, &sk))
		return true;
	sending.update(&call, &sk);
	return false;
}

static inline u64 forget_sending(u64 family)
{
	struct sending_call call = sending_call(family);
	u64 *sk = sending.lookup(&call);
	u64 address = sk ? *sk : 0;

	if (sk)
		sending.delete(&call);
	return address;
}

#include "episode.h"
#ifdef WITH_TRACEPOINTS
#include "drained.h"
#include "explain.h"
#include "tracepoints.h"
#endif
#ifdef WITH_KPROBES
#include "kprobes.h"
#endif
