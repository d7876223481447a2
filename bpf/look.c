// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * A look at all sockets of one network namespace, by BPF iterators (5.9, with BTF): each socket is judged
 * here and only what is wanted is handed over. What the kernel does for each socket around these programs
 * takes longer than they do, as long as they read a few fields.
 */
#include "look.h"
#include "event.h"
#include "sock.h"

BPF_ARRAY(terms, struct look_terms, 1);

/* include/linux/bpf.h: struct bpf_iter_meta, as far as it is read */
struct iterator {
	struct seq_file *seq;
};

/* net/ipv4/tcp_ipv4.c: struct bpf_iter__tcp; net/ipv4/udp.c: struct bpf_iter__udp begins alike */
struct visit {
	struct iterator *iterator;
	const struct sock *sk; /* NULL once all have been shown */
};

static __always_inline void read_who(const struct sock *sk, struct look_record *record)
{
	struct queue_event who = {};

	sock_identity(sk, &who);
	record->inode = who.inode;
	record->cgroup = who.cgroup;
	record->uid = who.uid;
	record->netns = who.netns;
	record->local_port = who.local_port;
	record->remote_port = who.remote_port;
	record->family = who.family;
	__builtin_memcpy(record->local_ip, who.local_ip, sizeof(record->local_ip));
	__builtin_memcpy(record->remote_ip, who.remote_ip, sizeof(record->remote_ip));
}

static __always_inline void read_buffers(const struct sock *sk, struct look_record *record)
{
	record->rcvbuf = sock_buffer(sk, RECV);
	record->rcv_charged = sock_charged(sk, record->protocol, RECV);
	record->sndbuf = sock_buffer(sk, SEND);
	record->snd_charged = sock_charged(sk, record->protocol, SEND);
	record->drops = sock_drops(sk);
}

/* The first datagram of a queue; `sent` is its UDP header and the first bytes of its payload. */
struct datagram {
	u64 skb;
	u64 data;
	u64 sent[3];
};

static __always_inline u64 mixed(u64 mark, u64 word)
{
	mark = (mark ^ word) * 0x9e3779b97f4a7c15ULL; /* 2^64 divided by the golden ratio, odd */
	return mark ^ mark >> 32;
}

/*
 * Which datagram is the first of a UDP receive queue: a number that stays while that datagram does; 0 where
 * there is none. The memory of a datagram that was read soon serves for another one, at the same place: so
 * what was sent is mixed in, and what the socket owes the kernel for those that were read.
 */
static __always_inline u64 udp_first(const struct sock *sk)
{
	struct datagram first = {};
	u64 mark = 0;

#ifdef OFF_udp_reader_queue
	first.skb = skb_at((const void *)sk + OFF_udp_reader_queue, OFF_FIRST);
#endif
	if (!first.skb)
		first.skb = skb_at((const void *)sk + OFF_sk_receive_queue, OFF_FIRST);
	if (!first.skb)
		return 0;
	first.data = READ_FIELD(u64, first.skb, OFF_skb_data);
	/* The header lies ahead of the data since 4.7 (e6afc8ace6dd, "udp: remove headers from UDP packets
	 * before queueing"). */
	bpf_probe_read_kernel(first.sent, sizeof(first.sent), (void *)first.data - 8);
#ifdef OFF_udp_forward_deficit
	mark = READ_FIELD(u32, sk, OFF_udp_forward_deficit);
#endif
	mark = mixed(mixed(mark, first.skb), first.data);
	mark = mixed(mixed(mixed(mark, first.sent[0]), first.sent[1]), first.sent[2]);
	return mark ? mark : 1;
}

static __always_inline void read_progress(const struct sock *sk, struct look_record *record)
{
	if (record->protocol != PROTOCOL_TCP) {
		u64 first = udp_first(sk);

		record->rcv_nxt = first >> 32;
		record->copied_seq = first;
		return;
	}
	record->rcv_nxt = READ_FIELD(u32, sk, OFF_tcp_rcv_nxt);
	record->copied_seq = READ_FIELD(u32, sk, OFF_tcp_copied_seq);
	record->write_seq = READ_FIELD(u32, sk, OFF_tcp_write_seq);
	record->snd_una = READ_FIELD(u32, sk, OFF_tcp_snd_una);
	record->snd_nxt = READ_FIELD(u32, sk, OFF_tcp_snd_nxt);
}

/*
 * Is it one of those that are handed over besides? A bit stands for its inode, and for others; a socket that
 * no file holds, of a connection that was closed or not accepted, has none to be known by.
 */
static __always_inline bool is_wanted(const struct look_terms *terms, const struct sock *sk, bool holds)
{
	u64 inode = sock_inode(sk);
	u32 bit = inode & (WANTED_BITS - 1);

	return inode ? terms->wanted[bit / 64] >> bit % 64 & 1 : holds;
}

/* Of nearly all UDP sockets the bound is 0, and what makes it exact lies far from it. */
static __always_inline u32 recv_queue(const struct sock *sk, u8 protocol)
{
	if (protocol == PROTOCOL_UDP && !udp_recv_bound(sk))
		return 0;
	return queue_size(sk, protocol, RECV);
}

static __always_inline int look_at(struct seq_file *seq, const struct sock *sk, u8 protocol,
				   const struct look_terms *terms)
{
	struct look_record record = {.protocol = protocol};
	bool holds, wanted;

	if (protocol == PROTOCOL_TCP && !has_queues_in_its_state(sk))
		return 0;
	record.recv = recv_queue(sk, protocol);
	record.send = queue_size(sk, protocol, SEND);
	record.over = (record.send > terms->threshold[SEND]) | (record.recv > terms->threshold[RECV]) << 1;
	holds = record.recv || record.send;
	wanted = terms->which == ALL || (terms->which == OVER_ONLY ? record.over : holds);
	if (!wanted && !(terms->besides && is_wanted(terms, sk, holds)))
		return 0;
	/* Asked last: nearly all sockets are none of these, and each question is one more line of the cache.
	 */
	if (!sock_has_queues(sk, protocol) || is_mptcp_path(sk, protocol))
		return 0;
	record.address = (u64)sk;
	record.cookie = READ_FIELD(u64, sk, OFF_skc_cookie);
	record.state = READ_FIELD(u8, sk, OFF_skc_state);
	read_who(sk, &record);
	read_buffers(sk, &record);
	read_progress(sk, &record);
	/* What does not fit is shown again at the next read: no record is ever cut. */
	bpf_seq_write(seq, &record, sizeof(record));
	return 0;
}

static __always_inline int look(struct visit *visit, u8 protocol)
{
	const struct sock *sk = visit->sk;
	int first = 0;
	struct look_terms *found;

	if (!sk)
		return 0;
	found = terms.lookup(&first);
	return found ? look_at(visit->iterator->seq, sk, protocol, found) : 0;
}

int look_tcp(struct visit *visit)
{
	return look(visit, PROTOCOL_TCP);
}

int look_udp(struct visit *visit)
{
	return look(visit, PROTOCOL_UDP);
}
