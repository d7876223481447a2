/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What the maps hold, and the functions by which all else touches them. They are in monitor.c, because BCC
 * rewrites map accesses in the main file only. sockbpf/kernel/attach/tables.py reads and writes these bytes.
 */
#ifndef SOCKBPF_MAPS_H
#define SOCKBPF_MAPS_H

#include "event.h"
#include "shortcuts.h"

#define USERS_TOLD_APART 1024

/*
 * Open episodes are also counted by a number made of the socket's address: a place. A hook looks at the place
 * first, for a place without an episode says that this socket has none, whatever other sockets have.
 */
#define PLACE_BITS 16
#define PLACES (1 << PLACE_BITS)

struct episode_key {
	u64 address;
	u64 direction;
};

/* Written by user space, read here. */
struct settings {
	u32 threshold[2]; /* by direction, bytes: over is greater than */
	u32 clear[2];	  /* by direction, bytes: back is at or under */
	u32 fill[2]; /* by direction, percent of the buffer: over is besides greater than; 0: not compared */
	u32 clear_fill[2];
	u32 reaped;  /* episodes that user space deleted */
	u32 own_pid; /* whose sockets are not to be reported */
	u32 looker;  /* the thread of own_pid that looks at all sockets; it sends on none */
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

/* The one value of each; NULL is possible only where it is looked up. */
static inline NEVER_NULL struct settings *the_settings(void);
static inline NEVER_NULL struct tally *get_tally(void);
static inline bool get_settings(struct settings *copy);

static inline struct queue_event *episode_lookup(struct episode_key *key);
static inline long episode_insert(struct episode_key *key, struct queue_event *event);
static inline long episode_delete(struct episode_key *key);

/*
 * Of a place (less than PLACES): the episodes that the kernel side opened less those that it closed, and the
 * episodes that user space deleted. Each of the two numbers has one side that writes it.
 */
static inline u64 *held_at(u32 *place);
static inline u64 *reaped_at(u32 *place);

/* The monitor's own sockets, by inode: an address is another socket's as soon as the socket is freed. */
static inline long mark_own(u64 inode);
static inline bool is_own(u64 inode);

/* See admit_event; `user` is less than USERS_TOLD_APART. */
static inline u64 *paid_by(u32 *user);
static inline void pay(u32 *user, u64 *paid_ns);

static inline long put_event(void *ctx, struct queue_event *event);

/*
 * The socket of a thread's sending call, from its entry to its return. `remember_sending` is false if the
 * thread's last call is still there, whose return was missed, or if the table is full.
 */
static inline bool remember_sending(u64 family, u64 sk);
static inline u64 forget_sending(u64 family);

#endif
