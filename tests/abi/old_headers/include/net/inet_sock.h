#pragma once

#include <net/sock.h>

struct inet_sock {
	struct sock sk;
	void *pinet6;
};
