/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which crossings are reported at once, and which stand in the table of episodes alone. */
#ifndef SOCKBPF_ADMIT_H
#define SOCKBPF_ADMIT_H

#include "maps.h"
#include "sock.h"

/*
 * One user's crossings are reported at once as long as they are not more than one in this time, or so many in
 * a row after a while with fewer; of root all are. Nobody shall fill the buffer that everybody's events go
 * through. The others stand in the table alone, where user space looks each second.
 */
#define PER_CROSSING_NS 5000000LL
#define CROSSINGS_IN_A_ROW 2000

/* Whose words are counted together: of a user namespace's range of ids all, or one user would be many. */
static __always_inline u32 user_of(u32 uid)
{
	u32 range = uid >> 16;

	return (range ? range : uid) & (USERS_TOLD_APART - 1);
}

/*
 * Count this crossing among those that are reported at once; false if its user has had too many. Kept is the
 * instant at which all that was reported would have come at the steady rate: the generic cell rate algorithm
 * of ITU-T I.371.
 */
static __always_inline bool admit_event(const struct queue_event *event)
{
	u32 user = user_of(event->uid);
	u64 now = event->ns, *paid, paid_ns = 0;

	if (!event->uid)
		return true;
	paid = paid_by(&user);
	if (paid)
		paid_ns = *paid;
	if ((s64)(paid_ns - now) < 0)
		paid_ns = now;
	if ((s64)(paid_ns - now) >= CROSSINGS_IN_A_ROW * PER_CROSSING_NS)
		return false;
	paid_ns += PER_CROSSING_NS; /* another CPU may do so too: one more or less is no matter */
	pay(&user, &paid_ns);
	return true;
}

#endif
