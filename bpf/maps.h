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

/*
 * Rules are judged by sets of bits, one bit for each rule: of a socket's port, say, the set of the rules
 * whose condition about ports holds. Where all its sets have a bit, that rule matches; the first one applies.
 * Of the rules there are two places in each map, so that new ones are there as a whole before they are used.
 * See matching.h.
 */
#define RULE_WORDS 16
#define MOST_RULES (64 * RULE_WORDS)
#define MOST_ROWS 4096
#define MOST_ANSWERS 16384
#define PORTS_IN_PART 256
#define PORT_PARTS 256
#define KINDS 4 /* of queues: protocol and direction, see kind_of */

struct row {
	u64 bit[RULE_WORDS];
	u32 floor[KINDS]; /* of a port: no queue of a socket with this port has a lower threshold */
};

/* Of some ports that follow one another the row of each: BCC takes seconds to compile larger values. */
struct port_rows {
	u16 row[PORTS_IN_PART];
};

struct prefix_key {
	u32 length; /* bits of what follows */
	u32 which;  /* twice the number of the rules, and 1 for remote addresses */
	u8 ip[16];  /* IPv4 is ::ffff:192.0.2.1 here */
};

/* What a fact about a socket is about. */
enum about {
	ABOUT_NETNS = 1,
	ABOUT_USER = 2,
	ABOUT_CGROUP = 3,
	ABOUT_INODE = 4,
};

struct fact_key {
	u64 value;
	u32 about;
	u32 rules;
};

/* What a rule decides; of no rule the first. */
struct decision {
	u32 threshold[2];
	u32 clear[2];
	u32 fill[2];
	u32 clear_fill[2];
};

/* Of a socket with these ports: a UDP socket may get others. */
struct answer_key {
	u64 inode;
	u16 local_port;
	u16 remote_port;
	u32 kind;
	u64 rules;
};

/* What rules have conditions about, besides ports and kinds. */
#define ASK_ADDRESS 1
#define ASK_NETNS 2
#define ASK_USER 4
#define ASK_CGROUP 8
#define ASK_INODE 16

/* The rows that are there in any case, behind one for each kind of queue. */
#define ROW_ALL (KINDS + 0)	   /* all rules */
#define ROW_ANY_NETNS (KINDS + 1)  /* those that have no condition about the network namespace */
#define ROW_ANY_USER (KINDS + 2)   /* about the user */
#define ROW_ANY_CGROUP (KINDS + 3) /* about the cgroup */
#define ROW_ANY_INODE (KINDS + 4)  /* about what only the process that holds the socket tells */

/* Written by user space, read here. */
struct settings {
	u32 threshold[2]; /* by direction, bytes: over is greater than */
	u32 clear[2];	  /* by direction, bytes: back is at or under */
	u32 fill[2]; /* by direction, percent of the buffer: over is besides greater than; 0: not compared */
	u32 clear_fill[2];
	u32 reaped;	 /* episodes that user space deleted */
	u32 own_pid;	 /* whose sockets are not to be reported */
	u32 lookers[2];	 /* threads of own_pid that look at others' sockets; they send on none */
	u32 gate[KINDS]; /* no queue of the kind has a lower threshold: at or under it nothing else is asked
			  */
	u32 gate_fill[KINDS]; /* the least share that one has, if all have one, percent; 0: not compared */
	u32 sees_udp_drain; /* has every drain of a UDP receive queue been seen? Else its growth proves it. */
	u32 rules;	    /* which rules apply, see place_of_rules; 0: there are none */
	u32 rule;	    /* of a copy that a queue is judged by: the rule that applies, from 1; 0: none */
	u32 unsure; /* of such a copy: user space has to say whose the socket is, `threshold` is the gate */
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

#if defined(WITH_RULES) || defined(WITH_ANSWERS)
static inline struct decision *decision_at(u32 *index);
#endif
#ifdef WITH_ANSWERS
static inline u32 *answer_lookup(struct answer_key *key); /* the rule, from 1; 0: none applies */
#endif
#ifdef WITH_RULES
/* NULL where there is no such row; `index` as row_of of matching.h makes it. */
static inline struct row *row_at(u32 *index);
static inline struct port_rows *port_rows_at(u32 *index);
static inline u32 *prefix_lookup(struct prefix_key *key);
static inline u32 *fact_lookup(struct fact_key *key);	   /* of a namespace or a user */
static inline u32 *found_out_lookup(struct fact_key *key); /* of a cgroup or an inode, by user space */
#endif

/* The monitor's own sockets, by inode: an address is another socket's as soon as the socket is freed. */
static inline long mark_own(u64 inode);
static inline bool is_own(u64 inode);

/* See admit_event; `user` is less than USERS_TOLD_APART. */
static inline u64 *paid_by(u32 *user);
static inline void pay(u32 *user, u64 *paid_ns);

static inline long put_event(void *ctx, struct queue_event *event);
static inline long put_crossing(void *ctx, struct crossing_event *made);

/*
 * The socket of a thread's sending call, from its entry to its return. `remember_sending` is false if the
 * thread's last call is still there, whose return was missed, or if the table is full.
 */
static inline bool remember_sending(u64 family, u64 sk);
static inline u64 forget_sending(u64 family);

#endif
