/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The terms of a look at all sockets and what it finds. sockbpf/kernel/look/record.py writes and reads these
 * bytes.
 */
#ifndef SOCKBPF_LOOK_H
#define SOCKBPF_LOOK_H

#include "shortcuts.h"

/* Which sockets a look hands over. */
enum which {
	ALL = 0,
	NOT_EMPTY = 1, /* a queue holds something */
	OVER_ONLY = 2, /* a queue is over its threshold */
};

#define WANTED_BITS 65536

/* Written by user space ahead of each look. */
struct look_terms {
	u64 wanted[WANTED_BITS / 64]; /* bits of inodes whose sockets are handed over in any case */
	u32 threshold[2];	      /* by direction, bytes: over is greater than */
	u32 which;
	u32 besides; /* whether `wanted` counts, and sockets that hold something and that no file holds */
};

/*
 * One socket: 256 of these fill the 8 pages that the kernel gathers for one read. Who it is is said as
 * struct queue_event says it. Sizes are bytes, ports host order; largest fields first, there is no hole.
 */
struct look_record {
	u64 address; /* of the struct sock */
	u64 inode;   /* 0: no file holds the socket */
	u64 cookie;  /* 0: nobody has asked for it yet */
	u64 cgroup;  /* the id of its cgroup; 0: not known */
	u32 recv;
	u32 send;
	u32 rcvbuf;
	u32 rcv_charged; /* what of the buffer is in use, as the kernel counts before it drops */
	u32 sndbuf;
	u32 snd_charged; /* the same before it blocks the writer */
	u32 drops;
	u32 uid;
	u32 netns;
	u32 rcv_nxt; /* from here on of TCP alone; of UDP these two say which datagram is the first */
	u32 copied_seq;
	u32 write_seq;
	u32 snd_una;
	u32 snd_nxt;
	u16 local_port;
	u16 remote_port;
	u8 protocol;
	u8 family;
	u8 state;
	u8 over; /* bit 0: the send queue is over its threshold, bit 1: the receive queue */
	u8 local_ip[16];
	u8 remote_ip[16];
};

_Static_assert(sizeof(struct look_record) == 128, "struct look_record is a wire format");

#endif
