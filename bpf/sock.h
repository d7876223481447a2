/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Reading a socket: how long its queues are, who it is. Every kernel difference is here or in the
 * offsets, OFF_*, which come from BTF (by -D) or from the kernel headers (layout.h).
 */
#ifndef SOCKBPF_SOCK_H
#define SOCKBPF_SOCK_H

#include "event.h"
#include "shortcuts.h"
#ifdef LAYOUT_FROM_HEADERS
#include "layout.h"
#endif

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

/* Fixed numbers of the user space API, absent where no kernel header is included. */
#define FAMILY_INET 2
#define FAMILY_INET6 10
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define TYPE_STREAM 1
#define TYPE_DATAGRAM 2
#define STATE_TIME_WAIT 6
#define STATE_CLOSE 7
#define STATE_LISTEN 10
#define STATE_NEW_SYN_RECV 12

/*
 * The kind of a socket is its type and its protocol: a raw socket can have the protocol number of TCP or UDP
 * and has the queues of neither. The two lie side by side, so one read tells both; the word that is read has
 * a byte of flags in it where the protocol is a bit-field (before 5.6).
 */
#define OFF_KIND (OFF_sk_type < OFF_sk_protocol ? OFF_sk_type : OFF_sk_protocol + SIZE_sk_protocol - 2)
_Static_assert(OFF_sk_type == OFF_sk_protocol + SIZE_sk_protocol || OFF_sk_protocol == OFF_sk_type + 2,
	       "sk_type and sk_protocol lie apart");
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define IN_KIND(offset, size, value) ((u32)(value) << 8 * ((offset)-OFF_KIND))
#else
#define IN_KIND(offset, size, value) ((u32)(value) << 8 * (4 - (size) - ((offset)-OFF_KIND)))
#endif
#define KIND(type, protocol) \
	(IN_KIND(OFF_sk_type, 2, type) | IN_KIND(OFF_sk_protocol, SIZE_sk_protocol, protocol))
#define KIND_MASK KIND(0xffff, SIZE_sk_protocol == 1 ? 0xff : 0xffff)
#define KIND_TCP KIND(TYPE_STREAM, PROTOCOL_TCP)
#define KIND_UDP KIND(TYPE_DATAGRAM, PROTOCOL_UDP)

/* Known where the kernel's headers are included, and only pointed to where they are not. */
struct sock;
struct sk_buff;

static __always_inline u32 sock_kind(const struct sock *sk)
{
	/* Cast to a struct that is one 32 bit number: a typed pointer reads one field and no more. */
	return HOT_FIELD(u32, AS(refcount_struct, (const void *)sk + OFF_KIND), 0) & KIND_MASK;
}

/* net/ipv4/tcp_diag.c: tcp_diag_get_info */
static __always_inline u32 tcp_recv_queue(const struct sock *sk)
{
	const void *tcp = AS(tcp_sock, sk);
	s32 unread = HOT_FIELD(u32, tcp, OFF_tcp_rcv_nxt) - HOT_FIELD(u32, tcp, OFF_tcp_copied_seq);

	return unread > 0 ? unread : 0;
}

/* net/ipv4/tcp_diag.c: tcp_diag_get_info */
static __always_inline u32 tcp_send_queue(const struct sock *sk)
{
	const void *tcp = AS(tcp_sock, sk);

	return HOT_FIELD(u32, tcp, OFF_tcp_write_seq) - HOT_FIELD(u32, tcp, OFF_tcp_snd_una);
}

/* The sequence number at which a TCP queue ends: more moves it up. */
static __always_inline u32 tcp_filled_to(const struct sock *sk, u8 direction)
{
	const void *tcp = AS(tcp_sock, sk);

	return direction == SEND ? HOT_FIELD(u32, tcp, OFF_tcp_write_seq)
				 : HOT_FIELD(u32, tcp, OFF_tcp_rcv_nxt);
}

/* The sequence number at which a TCP queue begins: what is taken off moves it up. */
static __always_inline u32 tcp_drained_to(const struct sock *sk, u8 direction)
{
	const void *tcp = AS(tcp_sock, sk);

	return direction == SEND ? HOT_FIELD(u32, tcp, OFF_tcp_snd_una)
				 : HOT_FIELD(u32, tcp, OFF_tcp_copied_seq);
}

/*
 * How many bytes of the send queue the segment `skb` acknowledges; 0 for an acknowledgement of something old
 * or never sent (net/ipv4/tcp_input.c: tcp_ack).
 */
static __always_inline u32 tcp_acked(const struct sock *sk, const struct sk_buff *skb)
{
	u32 una = READ_FIELD(u32, sk, OFF_tcp_snd_una);
	u32 acked = READ_FIELD(u32, skb, OFF_skb_ack_seq) - una;
	u32 unacked = READ_FIELD(u32, sk, OFF_tcp_snd_nxt) - una;

	return acked <= unacked ? acked : 0;
}

/* include/net/udp.h: udp_rqueue_get */
static __always_inline u32 udp_recv_queue(const struct sock *sk)
{
	const void *udp = AS(udp_sock, sk);
	s32 held = HOT_FIELD(s32, udp, OFF_sk_rmem_alloc);

#ifdef OFF_udp_forward_deficit
	held -= HOT_FIELD(s32, udp, OFF_udp_forward_deficit);
#endif
	return held > 0 ? held : 0;
}

/* The two ends of a list of packets, as include/linux/skbuff.h has them: struct sk_buff_head. */
#define OFF_FIRST 0
#define OFF_LAST 8

/* The packet at this end of a list; 0 where the list is empty. */
static __always_inline u64 skb_at(const void *list, u32 end)
{
	u64 skb = READ_FIELD(u64, list, end);

	return skb == (u64)list ? 0 : skb;
}

#ifdef OFF_sk_receive_queue
/*
 * What the datagram is charged for that was put last into a UDP receive queue, 0 where there is none. A
 * reader moves the whole list to one of its own (net/ipv4/udp.c: __skb_recv_udp). If it was read and freed
 * meanwhile this is anything, but then so was all that lay before it.
 */
static __always_inline u32 udp_last_charged(const struct sock *sk)
{
	u64 last = skb_at((const void *)sk + OFF_sk_receive_queue, OFF_LAST);

#ifdef OFF_udp_reader_queue
	if (!last)
		last = skb_at((const void *)sk + OFF_udp_reader_queue, OFF_LAST);
#endif
	return last ? READ_FIELD(u32, last, OFF_skb_truesize) : 0;
}
#endif

/* What it is at most: what forward_deficit says was read already. */
static __always_inline u32 udp_recv_bound(const struct sock *sk)
{
	return HOT_FIELD(u32, AS(sock, sk), OFF_sk_rmem_alloc);
}

/* include/net/sock.h: sk_wmem_alloc_get; the 1 is the socket's own reference */
static __always_inline u32 udp_send_queue(const struct sock *sk)
{
	s32 held = HOT_FIELD(s32, AS(sock, sk), OFF_sk_wmem_alloc) - 1;

	return held > 0 ? held : 0;
}

static __always_inline u32 queue_size(const struct sock *sk, u8 protocol, u8 direction)
{
	if (protocol == PROTOCOL_TCP)
		return direction == SEND ? tcp_send_queue(sk) : tcp_recv_queue(sk);
	return direction == SEND ? udp_send_queue(sk) : udp_recv_queue(sk);
}

/* What queue_size is at most, for less: nearly always that is enough to know. */
static __always_inline u32 queue_bound(const struct sock *sk, u8 protocol, u8 direction)
{
	if (protocol == PROTOCOL_UDP && direction == RECV)
		return udp_recv_bound(sk);
	return queue_size(sk, protocol, direction);
}

/* The size of a queue's buffer, bytes. */
static __always_inline u32 sock_buffer(const struct sock *sk, u8 direction)
{
	return direction == SEND ? READ_FIELD(u32, sk, OFF_sk_sndbuf) : READ_FIELD(u32, sk, OFF_sk_rcvbuf);
}

/*
 * What of that buffer is in use, as the kernel counts it: before it drops or closes the window
 * (include/net/sock.h: sk_rmem_alloc_get; net/ipv4/tcp_input.c: tcp_try_rmem_schedule), before it blocks a
 * writer (include/net/sock.h: sk_stream_memory_free; net/core/sock.c: sock_alloc_send_pskb).
 */
static __always_inline u32 sock_charged(const struct sock *sk, u8 protocol, u8 direction)
{
	if (direction == RECV)
		return READ_FIELD(u32, sk, OFF_sk_rmem_alloc);
	return protocol == PROTOCOL_TCP ? READ_FIELD(u32, sk, OFF_sk_wmem_queued) : udp_send_queue(sk);
}

/* include/net/sock.h: sk_drops_read */
static __always_inline u32 sock_drops(const struct sock *sk)
{
#ifdef OFF_sk_drop_counters /* 6.18: one for each of two NUMA nodes, where the protocol has them */
	const void *counters = READ_FIELD(const void *, sk, OFF_sk_drop_counters);

	if (counters)
		return READ_FIELD(u32, counters, OFF_drops0) + READ_FIELD(u32, counters, OFF_drops1);
#endif
	return READ_FIELD(u32, sk, OFF_sk_drops);
}

/* The inode number `ls -l /proc/PID/fd` shows for the socket; 0 once no file holds it. */
static __always_inline u64 sock_inode(const struct sock *sk)
{
#ifdef OFF_sk_ino /* 6.18: kept in the sock itself */
	return READ_FIELD(u64, sk, OFF_sk_ino);
#else
	const void *socket = READ_FIELD(const void *, sk, OFF_sk_socket);

	return socket ? READ_FIELD(u64, socket, OFF_socket_inode) : 0;
#endif
}

/* A user that nobody can be: the kernel's INVALID_UID (include/linux/uidgid.h). */
#define NO_UID 0xffffffff

/* Who made the socket, or accepted the connection. */
static __always_inline u32 sock_uid(const struct sock *sk)
{
#ifdef OFF_sk_uid /* 4.10: kept in the sock itself (86741ec25462, "net: core: Add a UID field to struct \
		     sock.") */
	return READ_FIELD(u32, sk, OFF_sk_uid);
#else
	const void *socket = READ_FIELD(const void *, sk, OFF_sk_socket);

	return socket ? READ_FIELD(u32, socket, OFF_socket_uid) : NO_UID;
#endif
}

/* The id of the cgroup that the socket was made in; 0: not known. */
static __always_inline u64 sock_cgroup(const struct sock *sk)
{
#ifdef OFF_sk_cgroup
	const void *cgroup = READ_FIELD(const void *, sk, OFF_sk_cgroup);
#elif defined(OFF_sk_cgroup_word) /* before 5.15 a pointer, or what cgroup v1 keeps there, marked by its \
				     lowest bit */
	u64 word = READ_FIELD(u64, sk, OFF_sk_cgroup_word);
	const void *cgroup = (const void *)(word & 1 ? 0 : word & ~3ULL);
#else
	const void *cgroup = 0;
#endif
#if defined(OFF_cgroup_kn) && defined(OFF_kernfs_id)
	return cgroup ? READ_FIELD(u64, READ_FIELD(const void *, cgroup, OFF_cgroup_kn), OFF_kernfs_id) : 0;
#else
	return 0;
#endif
}

static __always_inline u32 sock_netns(const struct sock *sk)
{
#ifdef OFF_skc_net
	const void *net = READ_FIELD(const void *, sk, OFF_skc_net);

	return READ_FIELD(u32, net, OFF_net_ns_inum);
#else
	return 0;
#endif
}

/*
 * Has a TCP socket queues in its state? A listener counts connections, not bytes; a closed one keeps stale
 * sequence numbers; a minisock is not a struct sock at all: nothing else of it can be read.
 */
static __always_inline bool has_queues_in_its_state(const struct sock *sk)
{
	u8 state = HOT_FIELD(u8, AS(sock, sk), OFF_skc_state);

	return state != STATE_CLOSE && state != STATE_LISTEN && state != STATE_TIME_WAIT &&
	       state != STATE_NEW_SYN_RECV;
}

/* Has the socket queues of this protocol that `ss` would show? Functions of UDP serve UDP-Lite too. */
static __always_inline bool sock_has_queues(const struct sock *sk, u8 protocol)
{
	if (protocol != PROTOCOL_TCP)
		return sock_kind(sk) == KIND_UDP;
	return has_queues_in_its_state(sk) && sock_kind(sk) == KIND_TCP;
}

/*
 * Is this TCP socket a path of an MPTCP connection? What arrives there is moved at once to the connection's
 * own queue, so its queues say nothing of the reader (5.6, net/mptcp).
 */
static __always_inline bool is_mptcp_path(const struct sock *sk, u8 protocol)
{
#ifdef OFF_tcp_is_mptcp
	return protocol == PROTOCOL_TCP && READ_FIELD(u8, sk, OFF_tcp_is_mptcp);
#else
	return false;
#endif
}

/* Who the socket is; false for an address family other than IPv4 and IPv6. */
static __always_inline bool sock_identity(const struct sock *sk, struct queue_event *event)
{
	event->family = READ_FIELD(u16, sk, OFF_skc_family);
	event->local_port = READ_FIELD(u16, sk, OFF_skc_num);
	event->remote_port = __builtin_bswap16(READ_FIELD(u16, sk, OFF_skc_dport));
	event->netns = sock_netns(sk);
	event->inode = sock_inode(sk);
	event->cgroup = sock_cgroup(sk);
	event->uid = sock_uid(sk);
	if (event->family == FAMILY_INET) {
		bpf_probe_read_kernel(event->local_ip, 4, (void *)sk + OFF_skc_rcv_saddr);
		bpf_probe_read_kernel(event->remote_ip, 4, (void *)sk + OFF_skc_daddr);
		return true;
	}
#ifdef OFF_skc_v6_daddr
	if (event->family == FAMILY_INET6) {
		bpf_probe_read_kernel(event->local_ip, 16, (void *)sk + OFF_skc_v6_rcv_saddr);
		bpf_probe_read_kernel(event->remote_ip, 16, (void *)sk + OFF_skc_v6_daddr);
		return true;
	}
#endif
	return false;
}

#endif
