// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Sends small messages to itself over loopback, one thread: `messages tcp|udp COUNT [STANDING]` prints the CPU
 * time of each, ns. What the kernel does for them is done, and counted, in the sending thread. So many bytes of
 * STANDING are in the queue all the time.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SIZE 100

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int made(int type)
{
	int fd = socket(AF_INET, type, 0);

	if (fd < 0)
		fail("socket");
	return fd;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t length = sizeof(address);
	char message[SIZE] = "", got[SIZE];
	int is_tcp, from, to;
	double begun;
	long count, standing;

	if (argc != 3 && argc != 4)
		return 2;
	is_tcp = !strcmp(argv[1], "tcp");
	count = atol(argv[2]);
	standing = argc == 4 ? atol(argv[3]) : 0;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	to = made(is_tcp ? SOCK_STREAM : SOCK_DGRAM);
	if (bind(to, (void *)&address, length) || getsockname(to, (void *)&address, &length))
		fail("bind");
	if (is_tcp && listen(to, 1))
		fail("listen");
	from = made(is_tcp ? SOCK_STREAM : SOCK_DGRAM);
	if (connect(from, (void *)&address, length))
		fail("connect");
	if (is_tcp && (to = accept(to, NULL, NULL)) < 0)
		fail("accept");
	for (long i = 0; i < standing; i += SIZE)
		if (send(from, message, SIZE, 0) != SIZE)
			fail("standing");
	begun = seconds();
	for (long i = 0; i < count; i++)
		if (send(from, message, SIZE, 0) != SIZE || recv(to, got, SIZE, MSG_WAITALL) != SIZE)
			fail("message");
	printf("%.1f\n", (seconds() - begun) * 1e9 / count);
	return 0;
}
