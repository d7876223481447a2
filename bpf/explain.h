/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What the kernel side decides of one queue, when user space asks: this program is attached to nothing, it is
 * run with a socket's address. The tests compare its answers with what is meant by a rule.
 */
#ifndef SOCKBPF_EXPLAIN_H
#define SOCKBPF_EXPLAIN_H

#include "hook.h"

#if HAS_RULES
static __always_inline int rule_of_queue(const struct sock *sk, u8 protocol, u8 direction)
{
	struct settings settings;

	if (!get_settings(&settings))
		return 0;
	use_rules(sk, kind_of(protocol, direction), &settings);
	return settings.unsure ? -1 : settings.rule;
}

/* The socket, the kind of its queue; returns the rule, 0 for none, or -1 if it is not sure yet. */
HOOK(rule_of)(struct bpf_raw_tracepoint_args *ctx)
{
	const struct sock *sk = (const struct sock *)ctx->args[0];
	u64 kind = ctx->args[1];

	if (kind == kind_of(PROTOCOL_TCP, SEND))
		return rule_of_queue(sk, PROTOCOL_TCP, SEND);
	if (kind == kind_of(PROTOCOL_TCP, RECV))
		return rule_of_queue(sk, PROTOCOL_TCP, RECV);
	if (kind == kind_of(PROTOCOL_UDP, SEND))
		return rule_of_queue(sk, PROTOCOL_UDP, SEND);
	return rule_of_queue(sk, PROTOCOL_UDP, RECV);
}
#endif

#endif
