/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Which threshold a queue has where there are rules. Most queues are at or under the gate, the least
 * threshold that any rule gives to their kind, and ask for nothing. The next ask by their ports alone: what a
 * rule says of one port costs the sockets of other ports two look-ups. Only what is over that too is matched.
 *
 * Of what only user space can find out, the process and the path of the cgroup, it writes what it has found
 * into a map. Until then a queue over the gate is UNSURE, unless it is sure which rule applies all the same.
 *
 * Matching takes a loop (Linux 5.3) and a trie (4.11). Before, WITH_ANSWERS, user space matches: once for
 * each socket of which a queue was over the gate, which is UNSURE until the answer is in a map.
 *
 * sockbpf/judge/rules.py says what is meant by a rule; tests/abi compares the two.
 */
#ifndef SOCKBPF_RULES_H
#define SOCKBPF_RULES_H

#include "matching.h"

static __always_inline u32 kind_of(u8 protocol, u8 direction)
{
	return (protocol == PROTOCOL_UDP ? 2 : 0) + direction;
}

#if defined(WITH_RULES) || defined(WITH_ANSWERS)
#define HAS_RULES 1

/* It is not known yet which rule applies: the queue goes by the gate. */
static __always_inline void use_gate(u32 kind, struct settings *settings)
{
	settings->unsure = 1;
	settings->threshold[kind & 1] = settings->clear[kind & 1] = settings->gate[kind];
	settings->fill[kind & 1] = settings->clear_fill[kind & 1] = 0;
}

/* Put what the rule decides, 0 if none applies, in the copy of the settings by which a queue is judged. */
static __always_inline void use_rule(u32 rule, u32 kind, struct settings *settings)
{
	u32 index = place_of_rules(settings->rules) * (MOST_RULES + 1) + rule;
	struct decision *decision = decision_at(&index);

	settings->rule = rule;
	if (decision) {
		settings->threshold[kind & 1] = decision->threshold[kind & 1];
		settings->clear[kind & 1] = decision->clear[kind & 1];
		settings->fill[kind & 1] = decision->fill[kind & 1];
		settings->clear_fill[kind & 1] = decision->clear_fill[kind & 1];
	}
}
#else
#define HAS_RULES 0
#endif

#ifdef WITH_RULES
#define MATCHES_RULES 1

/* Put the levels of this queue in the copy of the settings by which it is judged. */
static __always_inline void use_rules(const struct sock *sk, u32 kind, struct settings *settings)
{
	u32 rules = settings->rules, rule, unsure = 0;
	struct asked asked = {};

	if (!rules || !ask(sk, kind, rules, &asked))
		return;
	rule = first_rule(&asked, &unsure);
	if (unsure)
		use_gate(kind, settings);
	else
		use_rule(rule, kind, settings);
}
#else
#define MATCHES_RULES 0

static __always_inline bool is_below_its_ports(const struct sock *sk, u32 kind, u32 rules, u32 size)
{
	return false;
}

/* Without an inode, not accepted yet or closed, a socket has no answer: user space decides each time. */
static __always_inline void use_rules(const struct sock *sk, u32 kind, struct settings *settings)
{
#ifdef WITH_ANSWERS
	struct answer_key key = {.inode = sock_inode(sk), .kind = kind, .rules = settings->rules};
	u32 *rule;

	if (!settings->rules)
		return;
	key.local_port = READ_FIELD(u16, sk, OFF_skc_num);
	key.remote_port = __builtin_bswap16(READ_FIELD(u16, sk, OFF_skc_dport));
	use_gate(kind, settings);
	rule = answer_lookup(&key);
	if (!rule)
		return;
	settings->unsure = 0;
	use_rule(*rule, kind, settings);
#endif
}
#endif

#endif
