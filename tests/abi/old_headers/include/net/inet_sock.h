/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
#pragma once

#include <net/sock.h>

struct inet_sock {
	struct sock sk;
	void *pinet6;
};
