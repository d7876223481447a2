/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Does this one socket have an open episode? A hook may ask that for every packet, so it looks at a count, in
 * place of searching the table of episodes: what is over elsewhere on the host costs other sockets little.
 */
#ifndef SOCKBPF_PLACE_H
#define SOCKBPF_PLACE_H

#include "maps.h"
#include "sock.h"

/*
 * The place of a socket. Sockets lie at multiples of a power of two: the multiplication spreads them. The
 * negation makes a number of what may be a typed pointer, which the verifier multiplies with nothing.
 */
static __always_inline u32 place_of(u64 address)
{
	asm volatile("%0 = -%0" : "+r"(address));
	return address * 0x9e3779b97f4a7c15ULL >> (64 - PLACE_BITS);
}

/* One episode more or less at the socket's place; see none_open_at. */
#define COUNT_HELD(key, change)                                    \
	do {                                                       \
		u32 place = place_of((key)->address);              \
		u64 *held = held_at(&place);                       \
                                                                   \
		if (held)                                          \
			__sync_fetch_and_add(held, (u64)(change)); \
	} while (0)

/*
 * Is surely no episode of this socket open? An episode is counted before it is in the table and counted off
 * after it has left the table, by user space too: a socket whose episode is in the table is never taken for
 * one without. Another socket at the same place only makes the answer false.
 */
static __always_inline bool none_open_at(u64 address)
{
	u32 place = place_of(address);
	u64 *number = held_at(&place);
	u64 held = number ? *number : 0;

	if (!held)
		return true;
	number = reaped_at(&place);
	return number && *number == held;
}

#endif
