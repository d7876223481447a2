/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
#pragma once

#include <net/inet_sock.h>

struct udp_sock {
	struct inet_sock inet;
	int pending;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(4, 10, 0)
	int forward_deficit;
#endif
};
