// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * What BCC compiles: the maps and the few functions that touch them. BCC rewrites map accesses in this file
 * only, so all of them are here; what is done with them is in episode.h, the hooks in their own headers.
 */
/* What makes programs cheaper and only newer kernels take; the loader tries without if this one does not. */
#if defined(BTF_ID_bpf_rdonly_cast) && !defined(WITHOUT_SHORTCUTS)
#define WITH_SHORTCUTS
#endif

#include "event.h"

#define USERS_TOLD_APART 1024

struct episode_key {
	u64 address;
	u64 direction;
};

/* Written by user space, read here. */
struct settings {
	u32 threshold[2]; /* by direction, bytes: over is greater than */
	u32 clear[2];	  /* by direction, bytes: back is at or under */
	u32 reaped;	  /* episodes that user space deleted */
	u32 own_pid;	  /* whose sockets are not to be reported */
};

/* Written here, read by user space. */
struct tally {
	u32 opened;
	u32 closed;
	u32 lost;	/* the perf buffer had no room */
	u32 full;	/* the table of episodes had no room */
	u32 own;	/* crossings of the monitor's own sockets */
	u32 mptcp;	/* crossings of paths of MPTCP connections */
	u32 unmarked;	/* calls of the monitor's own whose socket could not be marked as its own */
	u32 unreturned; /* sending calls whose return probe did not run */
	u32 untold;	/* crossings that ended before user space could see them in the table */
};

/* A thread inside udp_sendmsg or udpv6_sendmsg: a v4-mapped send is inside both. */
struct sending_call {
	u64 thread;
	u64 family;
};

BPF_ARRAY(settings, struct settings, 1);
BPF_ARRAY(tally, struct tally, 1);
BPF_HASH(episodes, struct episode_key, struct queue_event, MAX_EPISODES);
BPF_HASH(own, u64, u64, 16384);			   /* inode of a socket of ours -> 1 */
BPF_HASH(sending, struct sending_call, u64, 4096); /* its socket, for the return probe */
BPF_ARRAY(paid, u64, USERS_TOLD_APART);		   /* see may_be_told */
BPF_PERF_OUTPUT(events);

/*
 * The one value of a table of one. Its address is a constant of the program where the loader may put it there
 * (5.2, BPF_PSEUDO_MAP_VALUE; it knows the tables by these numbers), and is looked up where not.
 */
#ifdef WITH_SHORTCUTS
#define DIRECT_VALUE 2
static inline __attribute__((returns_nonnull)) struct settings *the_settings(void)
{
	return (struct settings *)bpf_pseudo_fd(DIRECT_VALUE, 1);
}

static inline __attribute__((returns_nonnull)) struct tally *get_tally(void)
{
	return (struct tally *)bpf_pseudo_fd(DIRECT_VALUE, 2);
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

/* By inode: an address is another socket's as soon as the socket is freed. */
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

static inline struct sending_call sending_call(u64 family)
{
	struct sending_call call = {.thread = bpf_get_current_pid_tgid(), .family = family};

	return call;
}

/* False if the thread's last call is still there, whose return was missed, or if the table is full. */
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
#include "tracepoints.h"
#endif
#ifdef WITH_KPROBES
#include "kprobes.h"
#endif
