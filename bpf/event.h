/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The wire: what one queue event is, nothing else. sockbpf/record/event.py reads these bytes. */
#ifndef SOCKBPF_EVENT_H
#define SOCKBPF_EVENT_H

enum what {
	OVER = 1,   /* the queue exceeded the threshold: an episode began */
	BACK = 2,   /* it is at or under the clear level, or the socket is gone: it ended */
	UNTOLD = 3, /* as OVER, but in the table alone: its user had too many crossings in that second */
	UNSURE = 4, /* over the least threshold that it may have: user space has to say whose the socket is */
	UNSURE_BACK = 5, /* of an UNSURE: it is back, or is known by now not to be over its own threshold */
};

enum direction {
	SEND = 0,
	RECV = 1,
};

/*
 * Also the value kept for an episode while it is open, so that its end can say who it was after
 * the kernel has unhashed the socket. Times are CLOCK_MONOTONIC, sizes bytes, ports host order.
 * Largest fields first: there is no hole that could carry kernel stack bytes out.
 */
struct queue_event {
	u64 ns;	      /* the instant of `size` */
	u64 since_ns; /* the crossing */
	u64 address;  /* of the struct sock */
	u64 inode;    /* 0: no file holds the socket */
	u64 cgroup;   /* the id of the socket's cgroup; 0: not known */
	u32 size;
	u32 since_size; /* at the crossing */
	u32 peak;
	u32 threshold;
	u32 netns;
	u32 pid;       /* 0: softirq saw it, the owner is not known here */
	u32 uid;       /* of who made the socket; NO_UID: not known */
	u32 filled_to; /* of TCP: where the queue ended when it was last judged, rcv_nxt or write_seq */
	u32 limit;     /* the size of the queue's buffer, bytes; with `charged` as read at `ns` */
	u32 charged; /* what the kernel compares with it before it drops, closes the window or blocks a writer
		      */
	u32 drops;   /* of UDP: datagrams that the socket dropped, ever */
	u32 drops_before; /* at the crossing */
	u16 local_port;
	u16 remote_port;
	u8 what;
	u8 direction;
	u8 protocol;
	u8 family;
	u8 state;	 /* of TCP; 0 else */
	u8 of_buffer;	 /* whether the buffer's fill was compared, not the size */
	u16 rule;	 /* the rule that applied, from 1; 0: none did, or there were none */
	u32 rules;	 /* which rules it is one of: settings.rules */
	u8 local_ip[16]; /* AF_INET: the first four */
	u8 remote_ip[16];
	char comm[16];
};

_Static_assert(sizeof(struct queue_event) == 152, "struct queue_event is a wire format");

/*
 * What of a TCP sender is gone a moment later, behind its OVER and UNSURE: what is under way and what may be.
 * Segments, but for what is said. sockbpf/record/crossing.py reads it.
 */
struct crossing {
	u32 snd_wnd; /* the peer's window, bytes */
	u32 unacked;
	u32 sacked;
	u32 lost;
	u32 retrans; /* sent again and not acknowledged */
	u32 total_retrans;
	u32 cwnd;
	u32 mss;     /* bytes */
	u32 rtt_us8; /* smoothed, eighths of a microsecond */
	u32 notsent; /* bytes */
	u32 wmem;    /* sk_wmem_alloc, bytes; one of them is the socket itself */
	u8 retransmits;
	u8 backoff;
	u8 pending; /* ICSK_TIME_* */
	u8 pad;
};

_Static_assert(sizeof(struct crossing) == 48, "struct crossing is a wire format");

struct crossing_event {
	struct queue_event event;
	struct crossing crossing;
};

#endif
