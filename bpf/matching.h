/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which rule applies to a queue, by sets of rules: see maps.h. rules.h says when it is asked. */
#ifndef SOCKBPF_MATCHING_H
#define SOCKBPF_MATCHING_H

#include "maps.h"
#include "sock.h"

#if defined(WITH_RULES) || defined(WITH_ANSWERS)
/*
 * `settings.rules` says in one word, which is read at once, all that a judgement needs to go by one list of
 * rules alone: a number that no other list has, what of a socket the rules ask for, and in the lowest bit the
 * place of the rules in the maps.
 */
static __always_inline u32 place_of_rules(u32 rules)
{
	return rules & 1;
}
#endif

#ifdef WITH_RULES
static __always_inline u32 asked_by_rules(u32 rules)
{
	return rules >> 1 & 31;
}

static __always_inline struct row *row_of(u32 rules, u32 row)
{
	u32 index = place_of_rules(rules) * MOST_ROWS + row;

	return row_at(&index);
}

/* The row of a port, NULL if there is none; `side` is 0 for the local port and 1 for the remote one. */
static __always_inline struct row *row_of_port(u32 rules, u32 side, u16 port)
{
	u32 index = (place_of_rules(rules) * 2 + side) * PORT_PARTS + port / PORTS_IN_PART;
	struct port_rows *rows = port_rows_at(&index);

	return rows ? row_of(rules, rows->row[port % PORTS_IN_PART]) : 0;
}

static __always_inline struct row *row_of_local_port(const struct sock *sk, u32 rules)
{
	return row_of_port(rules, 0, HOT_FIELD(u16, AS(sock, sk), OFF_skc_num));
}

static __always_inline struct row *row_of_remote_port(const struct sock *sk, u32 rules)
{
	return row_of_port(rules, 1, __builtin_bswap16(HOT_FIELD(u16, AS(sock, sk), OFF_skc_dport)));
}

/* Is a queue of this size surely not over, by a port of its socket alone? */
static __always_inline bool is_below_its_ports(const struct sock *sk, u32 kind, u32 rules, u32 size)
{
	struct row *row;
	u32 floor;

	if (!rules)
		return false;
	row = row_of_local_port(sk, rules);
	floor = row ? row->floor[kind] : 0;
	row = row_of_remote_port(sk, rules);
	if (row && row->floor[kind] > floor)
		floor = row->floor[kind];
	return size <= floor;
}

static __always_inline struct row *row_of_address(const struct sock *sk, u32 rules, bool is_remote)
{
	struct prefix_key key = {.length = 32 + 128, .which = 2 * rules + is_remote};
	u16 family = READ_FIELD(u16, sk, OFF_skc_family);
	u32 *row;

	if (family == FAMILY_INET) {
		key.ip[10] = key.ip[11] = 0xff;
		bpf_probe_read_kernel(&key.ip[12], 4,
				      (void *)sk + (is_remote ? OFF_skc_daddr : OFF_skc_rcv_saddr));
	}
#ifdef OFF_skc_v6_daddr
	if (family == FAMILY_INET6)
		bpf_probe_read_kernel(key.ip, 16,
				      (void *)sk + (is_remote ? OFF_skc_v6_daddr : OFF_skc_v6_rcv_saddr));
#endif
	row = prefix_lookup(&key);
	return row ? row_of(rules, *row) : 0;
}

static __always_inline struct row *row_of_fact(u64 value, u32 about, u32 rules, u32 otherwise)
{
	struct fact_key key = {.value = value, .about = about, .rules = rules};
	u32 *row = fact_lookup(&key);

	return row_of(rules, row ? *row : otherwise);
}

/* A set of rules, and a larger one of those that may hold too as long as something is not found out. */
struct found {
	struct row *surely, *maybe;
};

/*
 * By what user space has found out; of what has no number nothing is to be found out. `otherwise` is the row
 * of the rules that do not ask.
 */
static __always_inline struct found row_found_out(u64 value, u32 about, u32 rules, u32 otherwise,
						  struct row *all)
{
	struct fact_key key = {.value = value, .about = about, .rules = rules};
	struct found found = {.surely = row_of(rules, otherwise), .maybe = all};
	u32 *row;

	if (!value) {
		found.maybe = found.surely;
		return found;
	}
	row = found_out_lookup(&key);
	if (row)
		found.surely = found.maybe = row_of(rules, *row);
	return found;
}

/* What of a socket the rules ask for: a set of rules of each. */
struct asked {
	struct row *kind, *local, *remote, *local_ip, *remote_ip, *netns, *user;
	struct found cgroup, inode;
};

/*
 * False if a row is not there, which cannot be. Each is tested as soon as it is looked up: the verifier goes
 * both ways from there, and on one of them no further.
 */
static __always_inline bool ask(const struct sock *sk, u32 kind, u32 rules, struct asked *asked)
{
	u32 ask = asked_by_rules(rules);
	struct row *all = row_of(rules, ROW_ALL);

	if (!all)
		return false;
	asked->local = row_of_local_port(sk, rules);
	if (!asked->local)
		return false;
	asked->remote = row_of_remote_port(sk, rules);
	if (!asked->remote)
		return false;
	asked->kind = row_of(rules, kind);
	if (!asked->kind)
		return false;
	asked->local_ip = asked->remote_ip = asked->netns = asked->user = all;
	asked->cgroup.surely = asked->cgroup.maybe = asked->inode.surely = asked->inode.maybe = all;
	if (ask & ASK_ADDRESS) {
		asked->local_ip = row_of_address(sk, rules, false);
		if (!asked->local_ip)
			return false;
		asked->remote_ip = row_of_address(sk, rules, true);
		if (!asked->remote_ip)
			return false;
	}
	if (ask & ASK_NETNS) {
		asked->netns = row_of_fact(sock_netns(sk), ABOUT_NETNS, rules, ROW_ANY_NETNS);
		if (!asked->netns)
			return false;
	}
	if (ask & ASK_USER) {
		asked->user = row_of_fact(sock_uid(sk), ABOUT_USER, rules, ROW_ANY_USER);
		if (!asked->user)
			return false;
	}
	if (ask & ASK_CGROUP) {
		asked->cgroup = row_found_out(sock_cgroup(sk), ABOUT_CGROUP, rules, ROW_ANY_CGROUP, all);
		if (!asked->cgroup.surely)
			return false;
	}
	if (ask & ASK_INODE) {
		asked->inode = row_found_out(sock_inode(sk), ABOUT_INODE, rules, ROW_ANY_INODE, all);
		if (!asked->inode.surely)
			return false;
	}
	return true;
}

/*
 * The number of the only bit that is set, by counting those below it. The barrier keeps the compiler from
 * seeing what this is: LLVM 14 has no code for it on this machine, and crashes.
 */
static __always_inline u32 number_of(u64 bit)
{
	u64 below = bit - 1;

	below -= below >> 1 & 0x5555555555555555ULL;
	asm volatile("" : "+r"(below));
	below = (below & 0x3333333333333333ULL) + (below >> 2 & 0x3333333333333333ULL);
	below = (below + (below >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
	return (below * 0x0101010101010101ULL >> 56) & 63;
}

/*
 * The rule that applies, from 1, or 0 if none does; `unsure` is set if that depends on what is not found out
 * yet.
 */
static __always_inline u32 first_rule(const struct asked *asked, u32 *unsure)
{
	u32 word;

#pragma nounroll
	for (word = 0; word < RULE_WORDS; word++) {
		u64 bits = asked->kind->bit[word] & asked->local->bit[word] & asked->remote->bit[word] &
			   asked->local_ip->bit[word] & asked->remote_ip->bit[word] &
			   asked->netns->bit[word] & asked->user->bit[word] & asked->cgroup.maybe->bit[word] &
			   asked->inode.maybe->bit[word];

		if (!bits)
			continue;
		bits &= -bits;
		*unsure = !(bits & asked->cgroup.surely->bit[word] & asked->inode.surely->bit[word]);
		return 64 * word + number_of(bits) + 1;
	}
	return 0;
}
#endif

#endif
